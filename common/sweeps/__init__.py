"""Searches for good options: specifications in W&B's syntax, trials by Optuna, several workers, tables and figures."""
