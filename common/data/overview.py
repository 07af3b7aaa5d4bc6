"""What was read, in a few lines: a person sees it before anything is trained on it."""

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical
from common.data.datamodule import ConditionalDataModule

SHOWN = 12  # most categories of a condition that are listed


def overview(data: ConditionalDataModule, processes: int = 1, accumulated: int = 1) -> str:
    """Examples, splits, the conditions with the counts of their training examples, and what a step takes in all.

    Args:
        data: the data.
        processes: processes that train.
        accumulated: batches of a process whose gradients are accumulated.
    """
    examples = data.examples
    shape = " x ".join(map(str, examples.x.shape[1:]))
    splits = ", ".join(f"{len(rows):,} {name}" for name, rows in examples.splits.items())
    if data.scores_all:
        splits = f"{len(data.scored):,}"
    lines = [f"{type(data).__name__}: {splits} examples of {shape} (fingerprint {data.fingerprint})"]
    train, test = examples.splits["train"], examples.splits["test"]
    # What is only scored, and what a checkpoint's model is tested on, says nothing of that model's training.
    trains = not data.scores_all and (data.terms is None or data.terms.extend)
    for name, attribute in data.attributes.items():
        field = examples.fields[name]
        gaps = _gaps(attribute, field, train, test) if trains else ""
        lines.append(f"  condition {name}: {_values(attribute, field[train])}{gaps}")
    notes = data.details()
    if not data.scores_all and (repeated := data.repeated("test")):
        notes.append(f"{repeated:,} test examples are in train as well")
    if processes * accumulated > 1 and not data.scores_all:
        size, unit = data.batch_size, data.batch_unit
        parts = [f"{count} {what}" for count, what in ((processes, "processes"), (accumulated, "batches")) if count > 1]
        said = ", ".join([f"{size:,} a batch", *parts])
        notes.append(f"a step of the optimiser takes {size * processes * accumulated:,} {unit}: {said}")
    return "\n".join([*lines, *(f"  {line}" for line in notes)])


def _gaps(attribute: Attribute, field: Tensor, train: Tensor, test: Tensor) -> str:
    """Categories that no training example has, and those of which no figure of the test says anything."""
    if not isinstance(attribute, Categorical):
        return ""
    trained, tested = set(field[train].tolist()), set(field[test].tolist())
    never = [value for position, value in enumerate(attribute.values) if position not in trained]
    only = [value for position, value in enumerate(attribute.values) if position in trained - tested]
    parts = [("never in training", never), ("in no test example", only if len(test) else [])]
    return "".join(f"; {said}: {_listed(names)}" for said, names in parts if names)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


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
    return f"{_listed(texts)}{without}"
