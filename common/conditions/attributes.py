"""What a condition can be: raw fields, and the attributes that say what their values mean.

A missing value is -1 for a category and NaN for a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.configurable import Configurable

Fields = dict[str, Tensor]


OBSERVED = "observed"  # the field that holds the observed part of x itself, NaN where it is hidden


SOURCE = "source"  # the field that holds another version of x; its own conditions are `source_<name>`


@dataclass(frozen=True)
class Attribute(Configurable):
    """What a condition field can be: `Categorical` or `Continuous`."""

    def parse(self, text: str) -> float:
        """The raw value that a person's text stands for. Raises ValueError, which lists what is valid."""
        raise NotImplementedError

    def tensor(self, values: Sequence[float]) -> Tensor:
        """Raw values as a tensor of the right type."""
        raise NotImplementedError

    def missing(self, field: Tensor) -> Tensor:
        """True where a raw value is missing."""
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

    @staticmethod
    def fit(values: Tensor) -> "Continuous":
        """Statistics of the training split's values; missing ones do not count."""
        known = values[~values.isnan()].double()
        if len(known) == 0:
            raise ValueError("a continuous attribute has no value in the training split")
        std = known.std(correction=0).item() or 1.0
        return Continuous(known.mean().item(), std, known.min().item(), known.max().item())
