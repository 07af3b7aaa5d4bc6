"""A part of a data set for training, and permuted conditions as a control: what studies vary."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples

Combination = dict[str, str]  # field -> value


@dataclass(frozen=True)
class Subset:
    """A part of the training data. Test examples do not change, in number and order.

    Attributes:
        examples: training examples to keep of each combination of categories; None keeps all.
        hold_out: combinations of values, such as {genre: jig, instrument: flute}, to exclude from training and
            validation; figures of test examples with one are also reported separately, as `test/unseen/...`.
        shuffle: conditions to permute among the examples of each split: a negative control without information.
        seed: seed of the choice and of the permutation.
    """

    examples: int | None = None
    hold_out: list[Combination] = field(default_factory=list)
    shuffle: list[str] = field(default_factory=list)
    seed: int = 0

    def __call__(self, examples: Examples) -> Examples:
        """The data with fewer training and validation rows, or with permuted conditions.

        Raises:
            ValueError: for an unknown field or value, or if nothing is left to train on.
        """
        held_out = self.held_out(examples)
        splits = dict(examples.splits)
        for name in ("train", "val"):
            splits[name] = splits[name][~held_out[splits[name]]]
        if examples.views is not None:  # z must not be inferred from held-out examples either
            splits["train"] = splits["train"][~held_out[examples.views[splits["train"]]]]
        if self.examples is not None:
            splits["train"] = self._few(examples, splits["train"])
        for name, rows in splits.items():
            if len(rows) == 0:
                raise ValueError(f"the subset leaves no example for {name}: hold out less, or raise subset.examples")
        return replace(examples, splits=splits, fields=self._permuted(examples))

    def take_from(self, data: ConditionalDataModule) -> None:
        """Restricts a DataModule to this part of its training data; a part that keeps everything changes nothing."""
        if self != Subset(seed=self.seed):
            data.take(self, self.held_out(data.whole) if self.hold_out else None)

    def held_out(self, examples: Examples) -> Tensor:
        """True for rows of the data [N] with a held-out combination."""
        held_out = torch.zeros(len(examples.x), dtype=torch.bool)
        for combination in self.hold_out:
            matches = torch.ones_like(held_out)
            for name, value in combination.items():
                attribute = _categories(examples.attributes, name)
                matches &= examples.fields[name] == attribute.parse(value)
            held_out |= matches
        return held_out

    def _few(self, examples: Examples, rows: Tensor) -> Tensor:
        """At most `examples` training rows of each combination of categories."""
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))]
        labels = [examples.fields[name][order] for name, a in examples.attributes.items() if isinstance(a, Categorical)]
        if not labels:
            return order[: self.examples]
        _, member = torch.unique(torch.stack(labels, dim=1), dim=0, return_inverse=True)
        rank = torch.zeros_like(member)
        for group in range(int(member.max()) + 1):
            own = member == group
            rank[own] = torch.arange(int(own.sum()))
        return order[rank < (self.examples or 0)]

    def _permuted(self, examples: Examples) -> Fields:
        for name in self.shuffle:
            if name not in examples.attributes:
                raise ValueError(
                    f"no condition named {name} to shuffle; the data has: {', '.join(examples.attributes)}"
                )
        fields = dict(examples.fields)
        generator = torch.Generator().manual_seed(self.seed)
        for rows in examples.splits.values():
            # One permutation for all conditions, which preserves their joint frequencies.
            permuted = rows[torch.randperm(len(rows), generator=generator)]
            for name in self.shuffle:
                fields[name] = fields[name].clone() if fields[name] is examples.fields[name] else fields[name]
                fields[name][rows] = examples.fields[name][permuted]
        return fields


def _categories(attributes: dict[str, Attribute], name: str) -> Categorical:
    attribute = attributes.get(name)
    if not isinstance(attribute, Categorical):
        known = [other for other, a in attributes.items() if isinstance(a, Categorical)]
        raise ValueError(f"{name} is no categorical condition of this data; it has: {', '.join(known) or 'none'}")
    return attribute
