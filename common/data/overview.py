"""What was read, in a few lines: a person sees it before anything is trained on it."""

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical
from common.data.datamodule import ConditionalDataModule

SHOWN = 12  # most categories of a condition that are listed


def overview(data: ConditionalDataModule) -> str:
    """Examples, splits, and the conditions with the counts of their training examples."""
    examples = data.examples
    shape = " x ".join(map(str, examples.x.shape[1:]))
    splits = ", ".join(f"{len(rows):,} {name}" for name, rows in examples.splits.items())
    if data.scores_all:
        splits = f"{len(data.scored):,}"
    lines = [f"{type(data).__name__}: {splits} examples of {shape} (fingerprint {data.fingerprint})"]
    train = examples.splits["train"]
    for name, attribute in data.attributes.items():
        lines.append(f"  condition {name}: {_values(attribute, examples.fields[name][train])}")
    return "\n".join([*lines, *(f"  {line}" for line in data.details())])


def _values(attribute: Attribute, field: Tensor) -> str:
    """The values of a condition in training."""
    missing = attribute.missing(field)
    known, without = field[~missing], f"; {int(missing.sum()):,} without" if missing.any() else ""
    if not isinstance(attribute, Categorical):
        if len(known) == 0:
            return f"a number, never given{without}"
        low, mean, high = known.min().item(), known.double().mean().item(), known.max().item()
        return f"a number from {low:g} to {high:g}, mean {mean:.4g}{without}"
    counts = torch.bincount(known.long(), minlength=len(attribute.values)).tolist()
    texts = [f"{value} {count:,}" for value, count in zip(attribute.values, counts, strict=True)]
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    empty = [value for value, count in zip(attribute.values, counts, strict=True) if count == 0]
    never = f"; never in training: {', '.join(empty[:SHOWN])}" if empty else ""
    return f"{', '.join(texts[:SHOWN])}{more}{without}{never}"
