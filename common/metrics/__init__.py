"""Metrics that more than one modality uses."""
