"""Imputation of hidden cells, the imputer for scikit-learn, and pooled analyses of imputed tables."""

from modalities.tabular.imputation.pooling import Pooled, pool

__all__ = ["Pooled", "pool"]
