"""Batches of a split, the same for any number of processes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from common.batch import Batch
from common.data.examples import Examples


class TensorLoader:
    """Batches of some rows of a data set. Training shuffles them in each epoch; evaluation returns each example once.

    Each process takes its own rows. In training all processes make the same number of full batches; in evaluation
    they make the same number of batches, whose sizes may differ by one: nothing is padded or left out.
    """

    def __init__(
        self, examples: Examples, rows: Tensor, batch_size: int, shuffle: bool, seed: int, rank: int, world: int
    ) -> None:
        self.examples, self.rows, self.batch_size = examples, rows, batch_size
        self.shuffle, self.seed, self.rank, self.world = shuffle, seed, rank, world
        self.epoch = 0
        self.first = 0  # number of the first batch of the next pass: a resumed training goes on within an epoch
        self.sampler, self.batch_sampler = self, None  # Lightning passes the epoch to loader.sampler

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

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the trainer knows the position. That the method exists tells Lightning that the loader resumes."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `state_dict`."""

    def heaviest(self) -> list[Batch]:
        """The batches of an epoch that may take most memory: one where all have the same size."""
        return [self.at(self.positions()[0])]

    def at(self, position: Tensor) -> Batch:
        """The batch of some positions in the split."""
        rows, views = self.rows[position], self.examples.views
        view = None if views is None or not self.shuffle else self.examples.batch(views[rows])
        return self.examples.batch(rows).replace(index=position, view=view)

    def __iter__(self) -> Iterator[Batch]:
        first, self.first = self.first, 0
        for position in self.positions()[first:]:
            yield self.at(position)
