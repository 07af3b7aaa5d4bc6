"""Tables: the observed part of a row as the condition of the rest."""

from typing import TYPE_CHECKING, Any

from modalities.tabular.condition import ObservedCellsEncoder
from modalities.tabular.model import TabularCVAE

if TYPE_CHECKING:
    from modalities.tabular.imputation.imputer import CVAEImputer

__all__ = ["CVAEImputer", "ObservedCellsEncoder", "TabularCVAE"]


def __getattr__(name: str) -> Any:
    """Imports the imputer on first use, because it imports scikit-learn."""
    if name == "CVAEImputer":
        from modalities.tabular.imputation.imputer import CVAEImputer

        return CVAEImputer
    raise AttributeError(f"module {__name__} has no attribute {name}")
