"""The condition encoder of tables: the condition is the observed part of the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from common.conditions.attributes import OBSERVED, Fields
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.lazy import pd
from modalities.tabular.columns import Column
from modalities.tabular.networks.features import Features


class ObservedCellsEncoder(ConditionEncoder):
    """The observed cells of a row: an embedding of them as a vector, and the cells themselves, NaN where hidden.

    The embedding feeds prior and decoder (the skip memory of VAEAC); the likelihood is clamped at the cells.
    Source: Ivanov, Figurnov and Vetrov 2019, "Variational Autoencoder with Arbitrary Conditioning", section 4.

    Args:
        columns: the table's columns. On the command line they come from the data.
        width: size of the embedding.
        show: false removes the condition from prior and decoder: p(z) and p(x | z) as in MIWAE.
    """

    def __init__(self, columns: Sequence[Column], width: int = 64, show: bool = True) -> None:
        super().__init__({})
        self.columns = list(columns)
        self.dim = width if show else 0
        self.reads_observed = show
        self.features = Features(columns)
        if show:
            inputs = 2 * self.features.width
            self.network = nn.Sequential(nn.Linear(inputs, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, fields: Fields) -> Condition:
        """The condition of B rows; without the field, that of one row with no observed cell."""
        observed = fields.get(OBSERVED)
        if observed is None:
            observed = torch.full((1, len(self.columns)), float("nan"), device=self.features.scale.device)
        if not self.reads_observed:
            return Condition(observed.new_zeros(len(observed), 0))
        values, known = self.features(observed)
        return Condition(self.network(torch.cat([values, known.float()], dim=-1)), observed)

    def parse(self, texts: Mapping[str, str]) -> Fields:
        """The field `observed` [1, F] of cells that are written `column=value`, NaN elsewhere.

        Raises:
            ValueError: for an unknown column, or a value that it cannot have.
        """
        if not texts:
            return {}
        positions = {column.name: position for position, column in enumerate(self.columns)}
        row = np.full((1, len(self.columns)), np.nan, dtype=np.float32)
        for name, text in texts.items():
            if name not in positions:
                raise ValueError(f"unknown column {name!r}; this model knows: {', '.join(positions)}")
            cell = pd.Series([text], dtype=object)
            row[:, positions[name]] = self.columns[positions[name]].encode(cell, "the condition")
        return {OBSERVED: torch.from_numpy(row)}
