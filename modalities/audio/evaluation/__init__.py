"""Evaluation of audio models: metrics, judges, baselines, spectrograms and sounds."""
