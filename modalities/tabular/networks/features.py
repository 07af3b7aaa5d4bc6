"""Features: a row's cells as standardised numbers, suitable for a linear model."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modalities.tabular.columns import Column

TINY = 1e-30


class Features(nn.Module):
    """x [..., F], NaN where missing -> features [..., W].

    A column becomes one standardised number (its logarithm if it is positive or a count); a categorical column becomes
    one number for each category.

    Args:
        columns: the table's columns.
    """

    column: Tensor
    code: Tensor
    location: Tensor
    scale: Tensor
    logarithm: Tensor
    logarithm_of_count: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)
        entries = [entry for position, column in enumerate(columns) for entry in _entries(position, column)]
        position, code, location, scale = (list(part) for part in zip(*entries, strict=True))
        kinds = [columns[p].kind for p in position]
        for name, value in {
            "column": torch.tensor(position),
            "code": torch.tensor(code, dtype=torch.float32),
            "location": torch.tensor(location, dtype=torch.float32),
            "scale": torch.tensor(scale, dtype=torch.float32),
            "logarithm": torch.tensor([kind == "positive" for kind in kinds]),
            "logarithm_of_count": torch.tensor([kind == "count" for kind in kinds]),
        }.items():
            self.register_buffer(name, value, persistent=False)

    @property
    def width(self) -> int:
        """W."""
        return len(self.column)

    def names(self) -> list[tuple[str, str]]:
        """Column and value of each feature; the value is empty where the whole column is one feature."""
        columns = [self.columns[position] for position in self.column.tolist()]
        codes = [int(code) for code in self.code.tolist()]
        return [(c.name, c.values[code] if code >= 0 else "") for c, code in zip(columns, codes, strict=True)]

    def slices(self) -> list[slice]:
        """The features of each column."""
        counts = torch.bincount(self.column, minlength=len(self.columns)).cumsum(0).tolist()
        return [slice(start, stop) for start, stop in zip([0, *counts[:-1]], counts, strict=True)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features, zero where missing, and the mask of known ones, both [..., W]."""
        value = x[..., self.column]
        known = ~value.isnan()
        value = torch.where(known, value, 0.0)
        value = torch.where(self.logarithm, value.clamp_min(TINY).log(), value)
        value = torch.where(self.logarithm_of_count, value.clamp_min(0.0).log1p(), value)
        value = torch.where(self.code >= 0, (value == self.code).float(), value)
        return torch.where(known, (value - self.location) / self.scale, 0.0), known

    def invert(self, features: Tensor) -> Tensor:
        """Cells x [..., F] from features; a discrete column gets the nearest or likeliest code."""
        value = features * self.scale + self.location
        cells = []
        for column, own in zip(self.columns, self.slices(), strict=True):
            part = value[..., own]
            if column.kind == "categorical":
                cells.append(part.argmax(-1).to(value.dtype))
            elif column.discrete:
                cells.append(part[..., 0].round().clamp(0, len(column.values) - 1))
            elif column.kind == "count":
                cells.append(part[..., 0].clamp_max(30.0).expm1().clamp_min(0.0))
            else:
                cells.append(part[..., 0].clamp_max(30.0).exp() if column.kind == "positive" else part[..., 0])
        return torch.stack(cells, dim=-1)


def feature_places(new: Features, old: Features) -> dict[int, int]:
    """Position of each feature of `new` that `old` has -> its position in `old`, by column and value."""
    before = {name: position for position, name in enumerate(old.names())}
    return {position: before[name] for position, name in enumerate(new.names()) if name in before}


def input_places(new: Features, old: Features) -> dict[int, int]:
    """The same for an input of the features and their mask, [2 W]."""
    places = feature_places(new, old)
    return places | {new.width + position: old.width + before for position, before in places.items()}


def _entries(position: int, column: Column) -> list[tuple[int, float, float, float]]:
    """Column, code (-1: none), location and scale of each feature of a column."""
    if column.kind == "categorical":
        return [(position, code, share, _deviation(share)) for code, share in enumerate(column.shares)]
    if column.kind in ("continuous", "positive"):  # x is in units of the training split already
        return [(position, -1, 0.0, 1.0 if column.kind == "continuous" else column.scale)]
    return [(position, -1, column.location, column.scale)]


def _deviation(share: float) -> float:
    """Standard deviation of an indicator with this share, which is clamped to [0.01, 0.99]."""
    share = min(max(share, 0.01), 0.99)
    return (share * (1 - share)) ** 0.5
