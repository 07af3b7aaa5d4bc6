"""The condition encoder of tables: the condition is the observed part of the row."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common.conditions.attributes import OBSERVED, Fields, as_fields
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.lazy import pd
from common.nn.transplant import taken
from modalities.tabular.columns import Column
from modalities.tabular.networks.features import Features, input_places


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

    def adapted(self, old: ObservedCellsEncoder) -> dict[str, Tensor]:
        """The inputs of the features that an older encoder has. See `common.nn.transplant`."""
        if not (self.reads_observed and old.reads_observed):
            return {}
        places = input_places(self.features, old.features)
        mine, before = (encoder.state_dict()["network.0.weight"] for encoder in (self, old))
        return {"network.0.weight": taken(mine, before, places, dim=1)}

    @property
    def names(self) -> list[str]:
        """The columns, and `observed`; nothing where the cells are not shown."""
        return [*(column.name for column in self.columns), OBSERVED] if self.reads_observed else []

    def parse(self, condition: Mapping[str, Any], further: Container[str] = ()) -> Fields:
        """The field `observed` [B, F] of some columns' cells, in units and names of the table; NaN elsewhere.

        Args:
            condition: cells by column, one for all B rows or B of them; or `observed` itself, as a tensor.
            further: as in the base class.

        Raises:
            ValueError: for an unknown column, or a value that it cannot have.
        """
        self.check_names(condition, further)
        columns = [column for column in self.columns if column.name in condition and column.name != OBSERVED]
        if not (columns and self.reads_observed):
            return super().parse(condition, further)
        names = [column.name for column in columns]
        fields = super().parse({name: value for name, value in condition.items() if name not in names}, further)
        cells = {column.name: column.encode(_series(condition[column.name]), "the condition") for column in columns}
        unknown = {OBSERVED: torch.full((1, len(self.columns)), float("nan"))}
        given = {name: torch.from_numpy(codes).float() for name, codes in cells.items()}
        rows = as_fields({**unknown, **fields, **given}, torch.device("cpu"))
        observed = rows[OBSERVED].clone()
        for position, column in enumerate(self.columns):
            if column in columns:
                observed[:, position] = rows[column.name]
        return {**fields, OBSERVED: observed}


def _series(value: Any) -> pd.Series:
    """One cell, or a list or tensor of cells."""
    if isinstance(value, Tensor):
        value = value.flatten().tolist()
    return pd.Series(list(value) if isinstance(value, list | tuple | np.ndarray) else [value], dtype=object)
