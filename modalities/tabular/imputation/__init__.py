"""Filling hidden cells, and the imputer for scikit-learn."""
