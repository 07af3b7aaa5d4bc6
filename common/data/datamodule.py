"""ConditionalDataModule: examples and their conditions as tensors in memory, indexed by batch.

Tensors may be memory-mapped, so that a collection larger than memory goes the same way.
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

from filelock import FileLock
from lightning.pytorch import LightningDataModule
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Fields
from common.conditions.classifier import Judge
from common.data.loader import TensorLoader
from common.data.table import Split, Table
from common.paths import cache_root


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
