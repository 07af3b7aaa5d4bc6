"""A part of a data set for training, and conditions that say nothing: what studies of data and conditions vary."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.data.table import Table

Combination = dict[str, str]  # field -> value


@dataclass(frozen=True)
class Subset:
    """A part of the training data. Test examples stay as they are, in number and order.

    Attributes:
        examples: training examples kept of each combination of categories; None keeps all.
        hold_out: combinations of values, such as {genre: jig, instrument: flute}, that training and validation never
            see; figures of the test examples that show one are reported apart, as `test/unseen/...`.
        shuffle: conditions dealt out anew among the examples of each split: a negative control that is worth nothing.
        seed: of the choice and of the dealing.
    """

    examples: int | None = None
    hold_out: list[Combination] = field(default_factory=list)
    shuffle: list[str] = field(default_factory=list)
    seed: int = 0

    def __call__(self, table: Table) -> Table:
        """The table with fewer training and validation rows, or other conditions.

        Raises:
            ValueError: for an unknown field or value, or if nothing is left to train on.
        """
        held_out = self.held_out(table)
        splits = dict(table.splits)
        for name in ("train", "val"):
            splits[name] = splits[name][~held_out[splits[name]]]
        if self.examples is not None:
            splits["train"] = self._few(table, splits["train"])
        for name, rows in splits.items():
            if len(rows) == 0:
                raise ValueError(f"the subset leaves no example for {name}: hold out less, or raise subset.examples")
        return replace(table, splits=splits, fields=self._dealt(table))

    def take_from(self, data: Any) -> None:
        """Lets a DataModule train on this part of its data alone; nothing changes where everything is kept."""
        if self != Subset(seed=self.seed):
            data.take(self, self.held_out(data.whole) if self.hold_out else None)

    def held_out(self, table: Table) -> Tensor:
        """True for rows of the table [N] that show a combination held out."""
        held_out = torch.zeros(len(table.x), dtype=torch.bool)
        for combination in self.hold_out:
            shown = torch.ones_like(held_out)
            for name, value in combination.items():
                attribute = _categories(table.attributes, name)
                shown &= table.fields[name] == attribute.parse(value)
            held_out |= shown
        return held_out

    def _few(self, table: Table, rows: Tensor) -> Tensor:
        """At most `examples` training rows of each combination of categories."""
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))]
        labels = [table.fields[name][order] for name, a in table.attributes.items() if isinstance(a, Categorical)]
        if not labels:
            return order[: self.examples]
        _, member = torch.unique(torch.stack(labels, dim=1), dim=0, return_inverse=True)
        rank = torch.zeros_like(member)
        for group in range(int(member.max()) + 1):
            own = member == group
            rank[own] = torch.arange(int(own.sum()))
        return order[rank < (self.examples or 0)]

    def _dealt(self, table: Table) -> Fields:
        for name in self.shuffle:
            if name not in table.attributes:
                raise ValueError(f"no condition named {name} to shuffle; the data has: {', '.join(table.attributes)}")
        fields = dict(table.fields)
        generator = torch.Generator().manual_seed(self.seed)
        for rows in table.splits.values():
            # One permutation for all of them: what they say together stays as frequent as it is.
            dealt = rows[torch.randperm(len(rows), generator=generator)]
            for name in self.shuffle:
                fields[name] = fields[name].clone() if fields[name] is table.fields[name] else fields[name]
                fields[name][rows] = table.fields[name][dealt]
        return fields


def _categories(attributes: dict[str, Attribute], name: str) -> Categorical:
    attribute = attributes.get(name)
    if not isinstance(attribute, Categorical):
        known = [other for other, a in attributes.items() if isinstance(a, Categorical)]
        raise ValueError(f"{name} is no categorical condition of this data; it has: {', '.join(known) or 'none'}")
    return attribute
