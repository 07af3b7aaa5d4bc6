"""Examples by name: where they come from, and their conditions."""

from typing import Any

from torch import Tensor

from common.conditions.attributes import Categorical
from common.data.datamodule import ConditionalDataModule
from common.data.splits import Split

NAMED = 3  # most examples that a message names


def named_examples(data: Any, split: Split, positions: Tensor) -> str:
    """The first of some examples by what they come from (file, row ...) and their conditions.

    Args:
        data: a DataModule; one that is not of the suite gives positions alone.
        split: the split.
        positions: positions in the split, [N].
    """
    texts = [f"position {position}" for position in positions[:NAMED].tolist()]
    if isinstance(data, ConditionalDataModule):
        texts = [_named(data, row) for row in data.examples.splits[split][positions[:NAMED]].tolist()]
    return "; ".join(texts) + (f"; and {len(positions) - NAMED} more" if len(positions) > NAMED else "")


def _named(data: ConditionalDataModule, row: int) -> str:
    parts = [f"{name} {column[row]}" for name, column in data.examples.origin.items()] or [f"example {row}"]
    for name, attribute in data.attributes.items():
        value = data.examples.fields[name][row].item()
        known = isinstance(attribute, Categorical) and value >= 0
        parts.append(f"{name}={attribute.values[int(value)]}" if known else f"{name}={value:g}")  # type: ignore[attr-defined]
    return " ".join(parts)
