"""Evaluation of imputations: metrics, the report of a tabular model, baselines, and the benchmark."""
