"""The condition encoder of tables: the condition is the observed part of the row."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from common.conditions.attributes import OBSERVED, Fields
from common.conditions.encoders import ConditionEncoder
from modalities.tabular.columns import Column
from modalities.tabular.networks.features import Features


class ObservedEncoder(ConditionEncoder):
    """Observed cells -> [B, dim]: an embedding of them, and behind it the cells themselves, NaN where hidden.

    The embedding feeds prior and decoder (the skip memory of VAEAC); the cells tell the likelihood what is known.
    Source: Ivanov, Figurnov and Vetrov 2019, "Variational Autoencoder with Arbitrary Conditioning", section 4.

    Args:
        columns: the table's columns. In a configuration they come from the data.
        width: size of the embedding.
        show: false hides every cell from prior and decoder: p(z) and p(x | z) as in MIWAE.
    """

    def __init__(self, columns: Sequence[Column], width: int = 64, show: bool = True) -> None:
        super().__init__({})
        self.columns = list(columns)
        self.width = width if show else 0
        self.show = self.reads_observed = show
        self.dim = self.width + len(self.columns)
        self.features = Features(columns)
        if show:
            inputs = 2 * self.features.width
            self.network = nn.Sequential(nn.Linear(inputs, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim]; a row without any observed cell [1, dim] where the field is absent."""
        device = self.features.scale.device
        observed = fields.get(OBSERVED)
        if observed is None:
            observed = torch.full((1, len(self.columns)), float("nan"), device=device)
        if not self.show:
            return torch.full_like(observed, float("nan"))
        values, known = self.features(observed)
        return torch.cat([self.network(torch.cat([values, known.float()], dim=-1)), observed], dim=-1)

    def split(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, width] and observed cells [B, F]."""
        return c[..., : self.width], c[..., self.width :]

    def parse(self, texts: Mapping[str, str]) -> Fields:
        """A row [1, F] with the cells that a person names as `column=value`.

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
