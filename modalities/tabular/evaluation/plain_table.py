"""A table as most imputers use it: numbers without logarithms, and an indicator for each category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.lazy import pd
from modalities.tabular.columns import Column, encode_table
from modalities.tabular.imputation.filled import decoded
from modalities.tabular.networks.features import Features
from modalities.tabular.schema import fit_columns


def plain_columns(table: pd.DataFrame, columns: Sequence[Column]) -> list[Column]:
    """The columns of a table with all numbers continuous."""
    schema = {c.name: {"kind": c.kind, "values": list(c.values)} if c.discrete else "continuous" for c in columns}
    return fit_columns(table, schema)


@dataclass(frozen=True)
class PlainTable:
    """Standardised numbers without logarithms, and an indicator for each category."""

    columns: list[Column]
    layout: Features
    features: torch.Tensor
    known: torch.Tensor

    @staticmethod
    def of(table: pd.DataFrame, columns: Sequence[Column]) -> PlainTable:
        """The table with all numbers continuous."""
        plain = plain_columns(table, columns)
        layout = Features(plain)
        features, known = layout(torch.from_numpy(encode_table(table, plain)))
        return PlainTable(plain, layout, features.double(), known)

    def incomplete(self) -> np.ndarray:
        """Features with NaN where missing."""
        return self.features.masked_fill(~self.known, float("nan")).numpy()

    def restore(self, features: np.ndarray) -> np.ndarray:
        """Features in the units of the columns, codes where discrete."""
        return decoded(self.layout.invert(torch.from_numpy(features)).numpy(), self.columns)
