"""Conversion of a user's files and condition texts to model inputs, and of samples to files."""

from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.model.latent_model import LatentModel

Model = TypeVar("Model", bound=LatentModel)  # the modality's model, whose sizes and settings decide how a file is read


class FileFormat(Generic[Model]):
    """How examples of a modality are read from files and written to them. It is stateless: a checkpoint names it."""

    def read(self, model: Model, path: Path) -> Tensor:
        """Examples [N, ...] of a user's file as the model reads them; NaN where unobserved.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the file, and the line or row at fault.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read files")

    def write(self, model: Model, samples: Tensor, path: Path) -> None:
        """Writes samples [N, ...] of the model to a file; the suffix chooses the format.

        Raises:
            ValueError: for an unsupported suffix.
        """
        raise NotImplementedError(f"{type(self).__name__} does not write files")

    def read_batch(self, model: Model, paths: list[Path], condition: Fields) -> Batch:
        """The examples of some files as a batch under one condition; values that are NaN are unobserved.

        Raises:
            ValueError: naming a file whose examples differ in size from those of the first.
        """
        examples = [self.read(model, path) for path in paths]
        for path, example in zip(paths, examples, strict=True):
            if example.shape[1:] != examples[0].shape[1:]:
                raise ValueError(f"{path} differs in size from {paths[0]}: give one file at a time")
        x = torch.cat(examples)
        missing = x.isnan()
        mask = ~missing if missing.any() else None
        fields = {name: field.expand(len(x), *field.shape[1:]) for name, field in condition.items()}
        return Batch(x.masked_fill(missing, 0.0), fields, mask)


def condition_fields(model: LatentModel, pairs: list[str]) -> Fields:
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
