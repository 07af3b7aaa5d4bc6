"""Imputation of hidden cells, and the imputer for scikit-learn."""
