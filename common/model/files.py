"""Conversion of a user's files and condition texts to model inputs, and of samples to files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Literal, Self, TypeVar

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.model.latent_model import LatentModel

Model = TypeVar("Model", bound=LatentModel)  # the modality's model, whose sizes and settings decide how a file is read
Columns = dict[str, list[Any]]  # a column of N entries by name, units in the name


class FileFormat(Generic[Model]):
    """How examples of a modality are read from files and written to them. A checkpoint names it.

    Attributes:
        suffix: of what `write` writes by default.
        learned: what the checkpoint's training learned from its data by name, as in `ConditionalDataModule`.
    """

    suffix: str = ""
    learned: Mapping[str, Any] = MappingProxyType({})

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

    def below(self, folder: Path) -> list[Path]:
        """The files below a folder, at any depth, that this format reads, sorted.

        Raises:
            FileNotFoundError: if there are none.
            ValueError: if this format reads no folders.
        """
        raise ValueError(f"{folder} is a folder: name a file")

    def files(self, paths: Sequence[Path]) -> list[Path]:
        """The files of some inputs, in which a folder stands for the files below it. Errors as in `below`."""
        return [file for path in paths for file in (self.below(path) if path.is_dir() else [path])]

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


OnLong = Literal["error", "truncate", "skip"]
Work = Callable[[Batch], Tensor]  # examples -> new examples, or a figure of each


@dataclass(frozen=True)
class RowOptions:
    """How rows of files are read.

    Attributes:
        column: column of the examples in a table; None takes `usual`, or the only column that can be meant.
        usual: columns that are tried in turn where none is named.
        on_long: what is done with rows that are too long for the model: "error" refuses the file and names them,
            "truncate" cuts them, "skip" leaves them unread. The number of rows remains.
    """

    column: str | None = None
    usual: Sequence[str] = ()
    on_long: OnLong = "error"


@dataclass(frozen=True)
class Worked:
    """What has become of the rows of some files.

    Attributes:
        count: number of rows.
        notes: which of them were not read, a line each.
    """

    count: int
    notes: list[str]


@dataclass(frozen=True)
class Scores:
    """Scores of the rows of some files.

    Attributes:
        count: number of rows.
        parts: columns of consecutive rows, computed when they are asked for; NaN for a row that was not read.
        notes: which rows were not read, a line each.
    """

    count: int
    parts: Iterator[Columns]
    notes: list[str]


class RowFormat(FileFormat[Model]):
    """A format whose files have many examples, a row each: they are read, worked on and written a part at a time.

    The memory that the model takes does not grow with the number of rows.

    Attributes:
        options: how the files are read.
    """

    options: RowOptions = RowOptions()

    def reading(self, options: RowOptions) -> Self:
        """This format with other options."""
        other = copy(self)
        other.options = options
        return other

    def rewrite(
        self,
        model: Model,
        paths: Sequence[Path],
        condition: Fields,
        out: Path,
        work: Work,
        seed: int | None = None,
    ) -> Worked:
        """Writes what becomes of each row of some files, in their order; other columns of a table are kept.

        Args:
            model: the model.
            paths: the files.
            condition: their condition, each field [1, ...].
            out: the file to write; `-` is the standard output.
            work: makes new examples from a batch.
            seed: where `work` draws at random, each row is worked on alone, under this seed and the row's position.

        Raises:
            ValueError: naming the files and the rows at fault, before anything is written.
        """
        raise NotImplementedError(f"{type(self).__name__} does not rewrite files")

    def scored(
        self,
        model: Model,
        paths: Sequence[Path],
        condition: Fields,
        texts: Mapping[str, str],
        nll: Work,
    ) -> Scores:
        """The scores of each row of some files, in their order, as `score_table` names them.

        Args:
            model: the model.
            paths: the files.
            condition: their condition, each field [1, ...].
            texts: the condition as texts by name.
            nll: the NLL of each example of a batch, nats, [B].

        Raises:
            ValueError: naming the files and the rows at fault, before any is scored.
        """
        raise NotImplementedError(f"{type(self).__name__} does not score rows")


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
        ValueError: for a text without an equals sign, or a name that is given twice.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"a condition is written name=value; got {pair!r}")
        if name in texts:
            raise ValueError(f"the condition {name} is given twice, {name}={texts[name]} and {pair}: leave out one")
        texts[name] = value
    return texts
