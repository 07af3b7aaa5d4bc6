"""ConditionalDataModule: examples and their conditions as tensors in memory, indexed by batch.

Tensors may be memory-mapped, so that collections larger than memory work as well.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Fields
from common.data.examples import Examples, Split
from common.data.loader import TensorLoader
from common.paths import cache_root, locked


class ConditionalDataModule(LightningDataModule):
    """Base of the DataModules. A subclass supplies `load`, and `transform` where batches need work on the device.

    Args:
        batch_size: examples per batch and process.
        seed: seed of splits and shuffling.
        condition: names of the condition fields to keep; None keeps all that the data has.
    """

    def __init__(self, batch_size: int = 128, seed: int = 0, condition: list[str] | None = None) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.seed = seed
        self.condition = condition
        self.unseen_rows: Tensor | None = None

    def load(self) -> Examples:
        """The whole data set. Called once per process, by one process at a time."""
        raise NotImplementedError(f"{type(self).__name__} must define load()")

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Completes a batch on the device, for example by scaling."""
        return batch

    @cached_property
    def whole(self) -> Examples:
        """All of the data, loaded when first used."""
        with locked(cache_root() / f"load-{type(self).__name__}"):
            examples = self.load()
        return examples if self.condition is None else examples.restrict(self.condition)

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

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the whole data and its splits."""
        return self.whole.fingerprint()

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
