"""Imputed tables in the units of their columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from modalities.tabular.columns import Column


@dataclass(frozen=True)
class Filled:
    """A filled table in the units of the columns (codes of discrete ones), each [N, F] float64.

    Attributes:
        point: single imputation.
        low: lower ends of intervals; None if the method has no intervals.
        high: upper ends of intervals.
        log_likelihood: log p(hidden cells | observed cells) of each row in nats [N], from the true table [N, F] and
            the hidden cells [N, F]; numbers are in the units of the columns. None if the method has no density.
        estimator: how that is estimated.
    """

    point: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    log_likelihood: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    estimator: str = "exact"


def by_importance(samples: int, conditional: bool) -> str:
    """How log p(hidden | observed) is estimated by a model: as one bound, or as a difference of two, which is none."""
    bounds = "a lower bound" if conditional else "log p(all) - log p(observed), a difference of lower bounds"
    return f"importance sampling, {samples} samples, {bounds}"


def in_table_units(nats: np.ndarray, cells: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """Log-probabilities [N] of encoded cells [N, F], converted to those of the cells in the units of the columns."""
    return nats - cells @ np.array([column.log_unit for column in columns])


def decoded(x: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """Encoded values [..., F] in the units of the columns."""
    return np.stack([column.decode(x[..., i]) for i, column in enumerate(columns)], axis=-1)
