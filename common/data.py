"""ConditionalDataModule: examples and their conditions as tensors in memory, indexed by batch.

Tensors may be memory-mapped, so that a collection larger than memory goes the same way.
"""

import hashlib
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock
from lightning.pytorch import LightningDataModule
from torch import Tensor

from common.batch import Batch
from common.conditions import Attribute, Fields
from common.metrics.control import Judge

Split = Literal["train", "val", "test"]


def data_root() -> Path:
    """Where data sets lie: $SUITE_DATA, or `data` in the working directory."""
    return Path(os.environ.get("SUITE_DATA", "data"))


def cache_root() -> Path:
    """Where decoded data and judges are kept: $SUITE_CACHE, or `~/.cache/cvae-suite`."""
    path = Path(os.environ.get("SUITE_CACHE", Path.home() / ".cache" / "cvae-suite"))
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass(frozen=True)
class Table:
    """A data set: N examples, their raw condition fields, and who belongs to which split.

    Attributes:
        x: [N, ...].
        fields: raw values by name, each [N]; -1 or NaN where missing.
        attributes: what each field is. Statistics in them come from the training split.
        splits: rows of each split.
    """

    x: Tensor
    fields: Fields
    attributes: dict[str, Attribute]
    splits: dict[Split, Tensor]

    def restrict(self, names: list[str]) -> "Table":
        """The table with only some of its attributes; fields that are no attributes stay.

        Raises:
            ValueError: for an unknown name.
        """
        unknown = [name for name in names if name not in self.attributes]
        if unknown:
            raise ValueError(f"no condition named {', '.join(unknown)}; the data has: {', '.join(self.attributes)}")
        others = {name: field for name, field in self.fields.items() if name not in self.attributes}
        fields = {name: self.fields[name] for name in names} | others
        return Table(self.x, fields, {name: self.attributes[name] for name in names}, self.splits)

    def fingerprint(self) -> str:
        """Hash of conditions, splits and up to 10,000 examples spread over the table."""
        digest = hashlib.sha256(repr((self.x.shape, self.attributes)).encode())
        rows = torch.arange(0, len(self.x), max(1, len(self.x) // 10_000))
        for tensor in [*self.fields.values(), *self.splits.values(), self.x[rows]]:
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def random_split(
    count: int, shares: tuple[float, float], seed: int, groups: Tensor | None = None
) -> dict[Split, Tensor]:
    """Rows of train, val and test; `shares` are those of val and test.

    Args:
        count: number of rows.
        shares: of val and test, between 0 and 1.
        seed: seed of the permutation.
        groups: [count]; given, each of its values is split in the same proportion (stratified).
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.zeros(count, dtype=torch.int64) if groups is None else groups
    parts: dict[Split, list[Tensor]] = {"train": [], "val": [], "test": []}
    for group in groups.unique():
        rows = (groups == group).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        val, test = (round(len(rows) * share) for share in shares)
        parts["val"].append(rows[:val])
        parts["test"].append(rows[val : val + test])
        parts["train"].append(rows[val + test :])
    # In random order, so that the first examples of a split stand for all of it.
    joined = {name: torch.cat(rows) for name, rows in parts.items()}
    return {name: rows[torch.randperm(len(rows), generator=generator)] for name, rows in joined.items()}


def hashed_split(names: list[str], shares: tuple[float, float]) -> dict[Split, Tensor]:
    """Rows of train, val and test by a hash of each name: files added later move no other file.

    Raises:
        ValueError: if a split gets no row.
    """
    position = torch.tensor([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in names])
    val, test = shares
    masks = {
        "val": position < val,
        "test": (position >= val) & (position < val + test),
        "train": position >= val + test,
    }
    order = position.argsort(stable=True)  # files are sorted by class or name: their hashes are not
    splits: dict[Split, Tensor] = {name: order[mask[order]] for name, mask in masks.items()}  # type: ignore[misc]
    for name, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"{len(names)} examples leave none for {name}: give more data or larger shares")
    return splits


class TensorLoader:
    """Batches of a table's rows. Training shuffles anew each epoch; evaluation gives each example once.

    Each process takes its own rows. In training all processes make the same number of full batches; in evaluation
    they make the same number of batches, whose sizes may differ by one: nothing is padded or left out.
    """

    def __init__(
        self, table: Table, rows: Tensor, batch_size: int, shuffle: bool, seed: int, rank: int, world: int
    ) -> None:
        self.table, self.rows, self.batch_size = table, rows, batch_size
        self.shuffle, self.seed, self.rank, self.world = shuffle, seed, rank, world
        self.epoch = 0
        self.sampler, self.batch_sampler = self, None  # Lightning tells loader.sampler which epoch it is

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return max(1, len(self.rows) // self.world // self.batch_size)
        return -(-len(self.rows) // (self.world * self.batch_size))

    def positions(self) -> list[Tensor]:
        """Positions in the split, batch by batch."""
        if not self.shuffle:
            return list(torch.arange(len(self.rows))[self.rank :: self.world].tensor_split(len(self)))
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.rows), generator=generator)
        own = order[self.rank : len(order) - len(order) % self.world : self.world]
        return list(own.split(self.batch_size))[: len(self)]

    def __iter__(self) -> Iterator[Batch]:
        for position in self.positions():
            rows = self.rows[position]
            condition = {name: field[rows] for name, field in self.table.fields.items()}
            yield Batch(self.table.x[rows], condition, index=position)


class ConditionalDataModule(LightningDataModule):
    """Base of the DataModules. A subclass supplies `load`, and `transform` where batches need work on the device.

    Args:
        batch_size: examples a batch and process.
        seed: seed of splits and shuffling.
        condition: names of the condition fields to keep; None keeps all that the data has.
    """

    def __init__(self, batch_size: int = 128, seed: int = 0, condition: list[str] | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.condition = condition
        self.unseen_rows: Tensor | None = None

    @abstractmethod
    def load(self) -> Table:
        """The whole data set. Called once a process, one process at a time."""

    def transform(self, batch: Batch, training: bool) -> Batch:
        """What a batch still needs, on the device."""
        return batch

    def judge(self) -> Judge | None:
        """A frozen judge of this data's conditions, where the modality has one."""
        return None

    @cached_property
    def whole(self) -> Table:
        """All of the data, loaded when first asked for."""
        with FileLock(cache_root() / f"load-{type(self).__name__}.lock"):
            table = self.load()
        return table if self.condition is None else table.restrict(self.condition)

    @cached_property
    def table(self) -> Table:
        """What is trained and tested on: all of the data, or what `take` left of it."""
        return self.whole

    def take(self, part: Callable[[Table], Table], unseen: Tensor | None = None) -> None:
        """Trains on a part of the data. Attributes, judge and fingerprint stay those of the whole.

        Args:
            part: makes the table of the part, whose test split must be that of the whole.
            unseen: True for rows of the table that show a combination of conditions which training never sees.
        """
        self.table = part(self.whole)
        self.unseen_rows = unseen

    def unseen(self, split: Split) -> Tensor | None:
        """True for examples of a split [N] whose combination of conditions training never sees; None without any."""
        return None if self.unseen_rows is None else self.unseen_rows[self.table.splits[split]]

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
        return len(self.table.splits["train"])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the whole data and its splits."""
        return self.whole.fingerprint()

    def conditions(self, split: Split) -> Fields:
        """Raw condition fields of a split."""
        rows = self.table.splits[split]
        return {name: field[rows] for name, field in self.table.fields.items()}

    def loader(self, split: Split, shuffle: bool = False) -> TensorLoader:
        """Batches of a split for this process."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        rows = self.table.splits[split]
        return TensorLoader(self.table, rows, self.batch_size, shuffle, self.seed, rank, world)

    def batch(self, split: Split, count: int) -> Batch:
        """The first examples of a split, ready for a model."""
        loader = TensorLoader(self.table, self.table.splits[split][:count], count, False, self.seed, 0, 1)
        return self.transform(next(iter(loader)), training=False)

    def train_dataloader(self) -> TensorLoader:
        """Shuffled training batches."""
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> TensorLoader:
        """Validation batches."""
        return self.loader("val")

    def test_dataloader(self) -> TensorLoader:
        """Test batches."""
        return self.loader("test")

    def predict_dataloader(self) -> TensorLoader:
        """Test batches."""
        return self.loader("test")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Lightning's hook: `transform` on the device."""
        training = self.trainer is not None and self.trainer.training
        return self.transform(batch, training) if isinstance(batch, Batch) else batch
