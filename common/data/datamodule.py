"""ConditionalDataModule: examples and their conditions as tensors in memory, indexed by batch.

Tensors may be memory-mapped, so that collections larger than memory work as well.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Fields, with_untrained
from common.configurable import to_config
from common.data.examples import Examples
from common.data.loader import TensorLoader
from common.data.splits import Split, everything, given_split, hashed_split, some_rows
from common.data.terms import Terms, name_map, renamed
from common.paths import cache_root, locked
from common.process_memory import release_memory


class ConditionalDataModule(LightningDataModule):
    """Base of the DataModules. A subclass supplies `load`, and `transform` where batches need work on the device.

    Args:
        batch_size: examples per batch and process.
        seed: seed of splits and shuffling.
        condition: names of the condition fields to keep; None keeps all that the data has.
        map: other names for conditions and categories, `old=new` or a list of these: `Yes=yes`, or `answer:Yes=yes`
            where several conditions have the category. Categories that get one name become one.
        limit: most examples to read, spread over all, for a trial; None reads all.

    Attributes:
        learned: names of what is learned from the training data, which a checkpoint stores for its model.
        terms: a checkpoint's terms, in which the data are read; None learns them from the training data.
        batch_unit: what `batch_size` counts.
        batch_option: the option that gives `batch_size`, below the `init_args` of the data.
        limits_itself: whether `load` reads no more than `limit`, so that the rest costs nothing.
        scores_all: whether every example is scored, so that the data need no splits.
    """

    learned: tuple[str, ...] = ("attributes",)
    batch_unit: str = "examples"
    batch_option: str = "batch_size"
    limits_itself: bool = False

    def __init__(
        self,
        batch_size: int = 128,
        seed: int = 0,
        condition: list[str] | None = None,
        map: list[str] | str | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"a batch has at least 1 example; got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self.condition = condition
        self.names = name_map(map)
        if limit is not None and limit < 3:
            raise ValueError(f"data.limit {limit} leaves nothing to train, validate and test on: give at least 3")
        self.limit = limit
        self.terms: Terms | None = None
        self.scores_all = False
        self.unseen_rows: Tensor | None = None

    def adopt(self, terms: Terms) -> None:
        """Reads the data in a checkpoint's terms. It precedes the first use of the data.

        Raises:
            RuntimeError: if the data were loaded before.
        """
        if "whole" in self.__dict__:
            raise RuntimeError("adopt(terms) must be called before the data are loaded")
        self.terms = terms

    def known(self, name: str) -> Any:
        """What the checkpoint's model learned under a name of `learned`; None without a checkpoint."""
        return None if self.terms is None else self.terms.learned.get(name)

    def describe(self) -> dict[str, Any]:
        """What the data taught the model, and the data's fingerprint, as plain data for a checkpoint."""
        learned = {name: to_config(getattr(self, name)) for name in self.learned}
        return {"fingerprint": self.fingerprint, "content": self.content, "learned": learned}

    def load(self) -> Examples:
        """The whole data set. Called once per process, by one process at a time."""
        raise NotImplementedError(f"{type(self).__name__} must define load()")

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Completes a batch on the device, for example by scaling."""
        return batch

    @property
    def sources(self) -> list[Path]:
        """Files and folders that the data are read from, for messages: first what a person would correct."""
        return []

    @cached_property
    def whole(self) -> Examples:
        """All of the data, loaded when first used.

        Raises:
            ValueError: naming what the data were read from.
        """
        try:
            return self._read()
        except ValueError as error:
            names = [str(path) for path in self.sources]
            if not names or any(name in str(error) for name in names):
                raise
            raise ValueError(f"{names[0]}: {error}") from error

    def _read(self) -> Examples:
        with locked(cache_root() / f"load-{type(self).__name__}"):
            examples = self.load()
        release_memory()  # of the names, rows and labels that were read
        if self.limit is not None and not self.limits_itself:
            examples = examples.few(self.limit)
        if self.names:
            examples = renamed(examples, self.names)
        if self.condition is not None:
            examples = examples.restrict(self.condition)
        if self.terms is not None:
            examples, notes = self.terms.applied(examples)
            for note in notes:
                rank_zero_info(f"data in the checkpoint's terms: {note}")
        if self.terms is not None and not self.terms.extend:
            return examples
        trained = {name: field[examples.splits["train"]] for name, field in examples.fields.items()}
        return replace(examples, attributes=with_untrained(examples.attributes, trained, self.known("attributes")))

    def wanted(self, present: Iterable[str]) -> list[str] | None:
        """Which columns of the data become conditions, by the names that they have there; None takes all.

        Raises:
            ValueError: if `condition` names one that is not there.
        """
        if self.condition is None:
            return None
        sources = {self.names.get(name, name): name for name in present}
        unknown = [name for name in self.condition if name not in sources]
        if unknown:
            raise ValueError(f"no condition named {', '.join(unknown)}; the data has: {', '.join(sources)}")
        return [sources[name] for name in self.condition]

    def split(
        self,
        names: list[str],
        shares: tuple[float, float],
        fields: Fields | None = None,
        given: Sequence[Split] | None = None,
    ) -> dict[Split, Tensor]:
        """Rows of train, val and test: as the data give them, or by a hash of each name.

        Where everything is scored, all rows are test rows.

        Args:
            names: name of each row; rows of one name stay together.
            shares: shares of val and test that the data do not give.
            fields: conditions of the rows; each category has a row in train.
            given: split of each row, if the data define one.
        """
        if self.scores_all:
            return everything(len(names))
        labels = [field for field in (fields or {}).values() if not field.is_floating_point()]
        if given is not None:
            return given_split(given, names, shares, labels)
        return hashed_split(names, shares, labels)

    @cached_property
    def examples(self) -> Examples:
        """The data to train and test on: all of it, or the part that `take` selected."""
        return self.whole

    def take(self, part: Callable[[Examples], Examples], unseen: Tensor | None = None) -> None:
        """Trains on a part of the data. Attributes and fingerprint remain those of the whole data.

        Args:
            part: selects the part, whose test split must be that of the whole data.
            unseen: True for rows of the data with a combination of conditions that is held out of training.
        """
        self.examples = part(self.whole)
        self.unseen_rows = unseen

    def unseen(self, split: Split) -> Tensor | None:
        """True for examples of a split [N] with a held-out combination of conditions; None if none is held out."""
        return None if self.unseen_rows is None else self.unseen_rows[self.examples.splits[split]]

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The condition fields: what the condition encoder is built from."""
        return self.whole.attributes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return tuple(self.whole.x.shape[1:])

    @property
    def train_size(self) -> int:
        """Number of training examples."""
        return len(self.examples.splits["train"])

    @property
    def whole_batch(self) -> int:
        """The `batch_size` at which the training examples are one batch."""
        return self.train_size

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the whole data and its splits."""
        return self.whole.fingerprint()

    @cached_property
    def content(self) -> str:
        """Hash of the examples and their conditions, whatever their splits."""
        return self.whole.content()

    def details(self) -> list[str]:
        """What else was read, or left out and why, a line each."""
        return list(self.whole.notes)

    def repeated(self, split: Split) -> int:
        """How many examples of a split are in the training split as well."""
        return self.examples.repeated(split)

    def conditions(self, split: Split) -> Fields:
        """Raw condition fields of a split."""
        rows = self.examples.splits[split]
        return {name: field[rows] for name, field in self.examples.fields.items()}

    def loader(self, split: Split, shuffle: bool = False) -> TensorLoader:
        """Batches of a split for this process."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        rows = self.examples.splits[split]
        return TensorLoader(self.examples, rows, self.batch_size, shuffle, self.seed, rank, world)

    def batch(self, split: Split, count: int) -> Batch:
        """The first examples of a split, ready for a model."""
        loader = TensorLoader(self.examples, self.examples.splits[split][:count], count, False, self.seed, 0, 1)
        return self.transform(next(iter(loader)), training=False)

    def some(self, split: Split, count: int | None) -> Batch:
        """At most `count` examples of a split, drawn at random (`some_rows`), in their order, ready for a model."""
        rows = self.examples.splits[split]
        loader = TensorLoader(self.examples, rows, self.batch_size, False, self.seed, 0, 1)
        return self.transform(loader.at(some_rows(len(rows), count).sort().values), training=False)

    def train_dataloader(self) -> TensorLoader:
        """Shuffled training batches."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> TensorLoader:
        """Validation batches."""
        return self.loader("val")

    def test_dataloader(self) -> TensorLoader:
        """Test batches."""
        return self.loader("test")

    @cached_property
    def scored(self) -> Tensor:
        """Rows of all examples, ascending."""
        return torch.cat(list(self.examples.splits.values())).unique()

    def predict_dataloader(self) -> TensorLoader:
        """Batches of all examples, in their order."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return TensorLoader(self.examples, self.scored, self.batch_size, False, self.seed, rank, world)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Lightning's hook: `transform` on the device."""
        training = self.trainer is not None and self.trainer.training
        return self.transform(batch, training) if isinstance(batch, Batch) else batch
