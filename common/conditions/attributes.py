"""Raw condition fields, and the attributes that describe their values.

A missing value is -1 for a category and NaN for a number.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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

    def field(self, texts: Sequence[str]) -> Tensor:
        """The raw field of B texts. Raises ValueError as `parse`."""
        return self.tensor([self.parse(text) for text in texts])

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
    """One of several named values, stored as its position; -1 is missing. Two values make a binary attribute.

    A field may also hold mixtures, the shares [B, K] of the K values: their embeddings are mixed.

    Attributes:
        values: the names.
        untrained: names of which no example was trained on, so that nothing can be generated of them.
    """

    values: Sequence[str]
    untrained: Sequence[str] = dataclasses.field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(str(value) for value in self.values))
        object.__setattr__(self, "untrained", tuple(self.untrained))

    def parse(self, text: str) -> int:
        """Position of a named value."""
        trained = ", ".join(value for value in self.values if value not in self.untrained)
        if text not in self.values:
            raise ValueError(f"{text!r} is not one of {trained}")
        if text in self.untrained:
            raise ValueError(f"{text!r} was in no training example, so that the model knows nothing of it: {trained}")
        return self.values.index(text)

    def tensor(self, values: Sequence[float]) -> Tensor:
        """Positions as int64."""
        return torch.tensor(values, dtype=torch.int64)

    def field(self, texts: Sequence[str]) -> Tensor:
        """Positions [B], or shares [B, K] where one of the texts is a mixture, `calm:0.7,loud:0.3`."""
        if all(text in self.values or ":" not in text for text in texts):
            return super().field(texts)
        return torch.tensor([self._shares(text) for text in texts])

    def _shares(self, text: str) -> list[float]:
        shares: dict[str, float] = {}
        for part in [f"{text}:1"] if text in self.values else text.split(","):
            name, _, share = part.strip().rpartition(":")
            self.parse(name)
            try:
                number = float(share)
            except ValueError:
                number = float("nan")
            if not 0 <= number <= 1 or name in shares:
                raise ValueError(f"{text!r}: a mixture has each value once with a share from 0 to 1, as in a:0.7,b:0.3")
            shares[name] = number
        if abs(sum(shares.values()) - 1) > 1e-3:
            raise ValueError(f"{text!r}: the shares of a mixture sum to 1, not to {sum(shares.values()):g}")
        return [shares.get(value, 0.0) for value in self.values]

    def missing(self, field: Tensor) -> Tensor:
        """True at -1; a mixture is not missing."""
        return field < 0 if field.dim() == 1 else field.new_zeros(len(field), dtype=torch.bool)

    def check(self, field: Tensor) -> None:
        """Refuses what is neither a position nor -1, nor shares of the values."""
        if field.dim() == 2 and field.shape[1] == len(self.values):
            if ((field < 0) | ((field.sum(1, keepdim=True) - 1).abs() > 1e-3)).any():
                raise ValueError("the shares of a mixture are from 0 to 1 and sum to 1")
            return
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
        """The number; one outside of the range of training is warned of."""
        seen = f"seen in training: {self.low:g} to {self.high:g}"
        try:
            number = torch.tensor(float(text), dtype=torch.float32).item()  # as the range, and the field, are stored
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{text!r} is not a number ({seen})")
        if not self.low <= number <= self.high:
            warnings.warn(f"the condition {text} lies outside of what the model knows ({seen})", stacklevel=2)
        return number

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


def with_untrained(
    attributes: Mapping[str, Attribute], trained: Fields, known: Mapping[str, Attribute] | None = None
) -> dict[str, Attribute]:
    """The attributes, whose categories say which of them no training example has.

    Args:
        attributes: the attributes.
        trained: raw fields of the training examples.
        known: attributes of a model whose weights the training starts from; what they learned counts as trained.
    """
    result = dict(attributes)
    for name, attribute in attributes.items():
        if not isinstance(attribute, Categorical):
            continue
        positions, before = set(trained[name].tolist()), (known or {}).get(name)
        learned = set(before.values) - set(before.untrained) if isinstance(before, Categorical) else set()
        missing = [value for number, value in enumerate(attribute.values) if number not in positions]
        result[name] = replace(attribute, untrained=[value for value in missing if value not in learned])
    return result


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
