"""Raw condition fields, and the attributes that describe their values.

A missing value is -1 for a category and NaN for a number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.configurable import Configurable

Fields = dict[str, Tensor]

OBSERVED = "observed"  # the field that holds the observed part of x itself, NaN where it is hidden
SOURCE = "source"  # the field that holds the tokens of a source sentence


@dataclass(frozen=True)
class Attribute(Configurable):
    """The type of a condition field: `Categorical` or `Continuous`."""

    def parse(self, text: str) -> float:
        """The raw value of a user's text. Raises ValueError, which lists the valid values."""
        raise NotImplementedError

    def tensor(self, values: Sequence[float]) -> Tensor:
        """Raw values as a tensor of the right type."""
        raise NotImplementedError

    def missing(self, field: Tensor) -> Tensor:
        """True where a raw value is missing."""
        raise NotImplementedError

    def without(self, field: Tensor, rows: Tensor) -> Tensor:
        """The raw values [B], missing where `rows` [B] is true."""
        raise NotImplementedError


@dataclass(frozen=True)
class Categorical(Attribute):
    """One of several named values, stored as its position; -1 is missing. Two values make a binary attribute."""

    values: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(str(value) for value in self.values))

    def parse(self, text: str) -> int:
        """Position of a named value."""
        if text not in self.values:
            raise ValueError(f"{text!r} is not one of {', '.join(self.values)}")
        return self.values.index(text)

    def tensor(self, values: Sequence[float]) -> Tensor:
        """Positions as int64."""
        return torch.tensor(values, dtype=torch.int64)

    def missing(self, field: Tensor) -> Tensor:
        """True at -1."""
        return field < 0

    def without(self, field: Tensor, rows: Tensor) -> Tensor:
        """-1 in the rows."""
        return field.masked_fill(rows, -1)


@dataclass(frozen=True)
class Continuous(Attribute):
    """A number; NaN is missing. Mean, deviation and range are those of the training split."""

    mean: float = 0.0
    std: float = 1.0
    low: float = float("-inf")
    high: float = float("inf")

    def parse(self, text: str) -> float:
        """The number."""
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number (seen in training: {self.low:g} to {self.high:g})") from None

    def tensor(self, values: Sequence[float]) -> Tensor:
        """Numbers as float32."""
        return torch.tensor(values, dtype=torch.float32)

    def missing(self, field: Tensor) -> Tensor:
        """True at NaN."""
        return field.isnan()

    def without(self, field: Tensor, rows: Tensor) -> Tensor:
        """NaN in the rows."""
        return field.float().masked_fill(rows, float("nan"))

    @staticmethod
    def fit(values: Tensor) -> "Continuous":
        """Statistics of the training split's values; missing ones do not count."""
        known = values[~values.isnan()].double()
        if len(known) == 0:
            raise ValueError("a continuous attribute has no value in the training split")
        std = known.std(correction=0).item() or 1.0
        return Continuous(known.mean().item(), std, known.min().item(), known.max().item())


def as_fields(condition: Mapping[str, object], device: torch.device) -> Fields:
    """Raw fields as tensors of one length on a device, from numbers, lists or tensors; a single one is repeated."""
    fields = {name: torch.as_tensor(value, device=device) for name, value in condition.items()}
    fields = {name: field.unsqueeze(0) if field.dim() == 0 else field for name, field in fields.items()}
    size = max(map(len, fields.values()), default=1)
    return {name: field.expand(size, *field.shape[1:]) for name, field in fields.items()}
