"""Conversion of a user's files and condition texts to model inputs, and of samples to files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.model.latent_model import LatentModel

Model = TypeVar("Model", bound=LatentModel)  # the modality's model, whose sizes and settings decide how a file is read
Columns = dict[str, list[Any]]  # a column of N entries by name, units in the name


class FileFormat(Generic[Model]):
    """How examples of a modality are read from files and written to them. It is stateless: a checkpoint names it."""

    suffix: str = ""  # of what `write` writes by default

    def read(self, model: Model, path: Path) -> Tensor:
        """Examples [N, ...] of a user's file as the model reads them; NaN where unobserved.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: naming the file, and the line or row at fault.
        """
        raise NotImplementedError(f"{type(self).__name__} does not read files")

    def write(self, model: Model, samples: Tensor, path: Path) -> None:
        """Writes samples [..., *example] to a file, as `model.sample` returns them; the suffix chooses the format.

        Raises:
            ValueError: for an unsupported suffix.
        """
        raise NotImplementedError(f"{type(self).__name__} does not write files")

    def rows(self, model: Model, path: Path, x: Tensor) -> Columns:
        """Where in its file each of the examples [N, ...] stands; nothing where a file is one example."""
        return {}

    def scores(self, model: Model, path: Path, batch: Batch, nll: Tensor) -> Columns:
        """The NLL of the N examples of a file, [N], nats, and what follows from it."""
        return {"nll_nats": nll.double().tolist()}

    def score_table(self, model: Model, path: Path, batch: Batch, nll: Tensor, condition: Mapping[str, str]) -> Columns:
        """Scores of the N examples of a file: the file and the place in it, the condition, the NLL and what it implies.

        Args:
            model: the model.
            path: the file.
            batch: its examples, as `read_batch` gives them.
            nll: [N], nats.
            condition: the condition of all of them, as texts by name.
        """
        places = {"file": [str(path)] * len(batch), **self.rows(model, path, batch.x)}
        scores = self.scores(model, path, batch, nll)
        taken = places.keys() | scores.keys()
        names = {name: f"condition/{name}" if name in taken else name for name in condition}
        return {**places, **{names[name]: [text] * len(batch) for name, text in condition.items()}, **scores}

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


def examples(samples: Tensor, dimensions: int) -> Tensor:
    """Samples [..., *example] as [N, *example], the order kept; an example has so many dimensions."""
    return samples.reshape(-1, *samples.shape[samples.dim() - dimensions :])


def condition_fields(model: LatentModel, pairs: list[str]) -> Fields:
    """Raw fields, each [1, ...], from `name=value` texts.

    Raises:
        ValueError: for a text without an equals sign, or an unknown name or value; the message lists the valid ones.
    """
    return model.condition.parse(condition_texts(pairs))


def condition_texts(pairs: list[str]) -> dict[str, str]:
    """Values by name from `name=value` texts.

    Raises:
        ValueError: for a text without an equals sign.
    """
    texts = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"a condition is written name=value; got {pair!r}")
        texts[name] = value
    return texts
