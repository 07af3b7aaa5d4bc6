"""What a person writes on the command line of a script, as fields and batches."""

from pathlib import Path

import torch

from common.batch import Batch
from common.conditions.attributes import Fields
from common.training.module import ConditionalELBO


def condition_fields(model: ConditionalELBO, pairs: list[str]) -> Fields:
    """Raw fields, each [1, ...], from `name=value` texts.

    Raises:
        ValueError: for a text without an equals sign, or an unknown name or value; the message lists the valid ones.
    """
    texts = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"a condition is written name=value; got {pair!r}")
        texts[name] = value
    return model.condition.parse(texts)


def read_batch(model: ConditionalELBO, paths: list[Path], condition: Fields) -> Batch:
    """The examples of some files as a batch under one condition; values that are NaN are unobserved.

    Raises:
        ValueError: naming a file whose examples differ in size from those of the first.
    """
    examples = [model.read(path) for path in paths]
    for path, example in zip(paths, examples, strict=True):
        if example.shape[1:] != examples[0].shape[1:]:
            raise ValueError(f"{path} differs in size from {paths[0]}: give one file at a time")
    x = torch.cat(examples)
    missing = x.isnan()
    mask = ~missing if missing.any() else None
    fields = {name: field.expand(len(x), *field.shape[1:]) for name, field in condition.items()}
    return Batch(x.masked_fill(missing, 0.0), fields, mask)
