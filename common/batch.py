"""Batch: what a DataModule passes to a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """B examples with their conditions.

    Attributes:
        x: data, [B, ...].
        condition: raw fields by name, each [B, ...]; a missing category is -1, a missing number NaN.
        mask: True where x is observed, same shape as x; None means that all of x is.
        index: position of each example in its split, [B]. Evaluation draws its noise from it, so that neither the
            batch size nor the number of processes changes a figure. None stands for 0 ... B-1.
        view: another version of the same examples with its own condition; in training, z is inferred from it.
    """

    x: Tensor
    condition: dict[str, Tensor]
    mask: Tensor | None = None
    index: Tensor | None = None
    view: "Batch | None" = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def positions(self) -> Tensor:
        """`index`, or 0 ... B-1 where there is none."""
        return torch.arange(len(self), device=self.x.device) if self.index is None else self.index

    def shown(self, fill: float = 0.0) -> "Batch":
        """The batch with `fill` in place of every unobserved value, for networks to read."""
        return self if self.mask is None else self.replace(x=torch.where(self.mask, self.x, fill))

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with `function` applied to each of its tensors."""

        def apply(value: Tensor | None) -> Tensor | None:
            return None if value is None else function(value)

        condition = {name: function(value) for name, value in self.condition.items()}
        view = None if self.view is None else self.view.map(function)
        return Batch(function(self.x), condition, apply(self.mask), apply(self.index), view)

    def __getitem__(self, rows: slice | Tensor) -> "Batch":
        return self.map(lambda tensor: tensor[rows])

    def replace(self, **changes: "Tensor | dict[str, Tensor] | Batch | None") -> "Batch":
        """A copy with some attributes changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> "Batch":
        """The batch on a device."""
        return self.map(lambda tensor: tensor.to(device))


def as_batch(batch: Any, names: Sequence[str]) -> Batch:
    """A batch of a plain DataLoader: x, (x, y) or (x, y1, y2 ...), in which y may be a dictionary or a column a name.

    Args:
        batch: what the loader made.
        names: names of the model's conditions.

    Raises:
        TypeError: if it is none of these.
        ValueError: if it has another number of conditions.
    """
    parts: list[Any] = list(batch) if isinstance(batch, list | tuple) else [batch]
    if not parts or not isinstance(parts[0], Tensor):
        raise TypeError(f"a batch is a Batch, x, or (x, y) of tensors; got {type(batch).__name__}")
    x, *conditions = parts
    if x.dtype == torch.uint8:
        raise ValueError("x has whole numbers from 0 to 255: give it as the model's numbers, such as x.float() / 255")
    if len(conditions) == 1 and isinstance(conditions[0], dict):
        unknown = [name for name in conditions[0] if name not in names]
        if unknown:
            raise ValueError(
                f"the model's conditions are {', '.join(names) or 'none'}; a batch of the DataLoader has {unknown[0]}"
            )
        return Batch(x, conditions[0])
    if len(conditions) == 1 and conditions[0].dim() == 2 and len(names) == conditions[0].shape[1]:
        conditions = list(conditions[0].unbind(1))
    if names and len(conditions) != len(names):
        raise ValueError(
            f"the model's conditions are {', '.join(names)}; a batch of the DataLoader has {len(conditions)}"
        )
    return Batch(x, dict(zip(names, conditions, strict=False)))
