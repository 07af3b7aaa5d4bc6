"""Metrics, judge, baselines and report of text models."""
