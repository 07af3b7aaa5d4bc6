"""Raw condition fields, and the attributes that describe their values.

A missing value is -1 for a category and NaN for a number.
"""

from collections.abc import Sequence
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

    def check(self, field: Tensor) -> None:
        """Raises ValueError where a raw value [B] cannot be one; the message lists the valid ones."""

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

    def check(self, field: Tensor) -> None:
        """Refuses what is neither a position nor -1."""
        wrong = field[~((field.long() == field) & (field >= -1) & (field < len(self.values)))]
        if len(wrong):
            raise ValueError(
                f"{wrong[0].item():g} is no position (0 to {len(self.values) - 1}; -1 is missing) among "
                f"{', '.join(self.values)}"
            )

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


def as_field(value: object) -> Tensor:
    """A raw field [B, ...] from a number, a list of numbers or a tensor; a single one becomes [1].

    Raises:
        ValueError: for anything else.
    """
    try:
        field = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"{value!r} is neither text nor a number, nor a list of one of them, nor a tensor") from None
    return field.unsqueeze(0) if field.dim() == 0 else field


def as_fields(fields: Fields, device: torch.device, size: int | None = None) -> Fields:
    """Raw fields of one length on a device; a single one is repeated.

    Args:
        fields: each [1, ...] or [B, ...].
        device: the device.
        size: B; None takes that of the longest field.

    Raises:
        ValueError: if the fields differ in length.
    """
    size = max(map(len, fields.values()), default=1) if size is None else size
    for name, field in fields.items():
        if len(field) not in (1, size):
            raise ValueError(f"condition {name} has {len(field)} values, for {size} examples: give one, or {size}")
    return {name: field.to(device).expand(size, *field.shape[1:]) for name, field in fields.items()}
