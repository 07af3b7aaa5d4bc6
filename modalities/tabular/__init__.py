"""Tables: the observed part of a row as the condition of the rest."""

from modalities.tabular.condition import ObservedEncoder
from modalities.tabular.imputation.imputer import CVAEImputer
from modalities.tabular.model import TabularCVAE

__all__ = ["CVAEImputer", "ObservedEncoder", "TabularCVAE"]
