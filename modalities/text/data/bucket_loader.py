"""Batches of sentences of similar length, by the number of their tokens."""

import torch
from torch import Tensor

from common.batch import Batch
from common.data.examples import Examples
from common.data.loader import TensorLoader


class BucketLoader(TensorLoader):
    """Batches of sentences of similar length: as many as fit into a number of tokens, padding included.

    Sentences of equal length and the batches come in random order; without shuffling it is the same in every epoch, so
    that the first batches of an evaluation represent all. The number and the sizes of the batches depend on the lengths
    alone and are the same in every epoch.

    Args:
        examples: padded sentences.
        rows: rows of the split.
        lengths: number of tokens of each example.
        tokens: tokens per batch and process.
        shuffle: as in `TensorLoader`.
        seed: as in `TensorLoader`.
        rank: as in `TensorLoader`.
        world: as in `TensorLoader`.
    """

    def __init__(
        self,
        examples: Examples,
        rows: Tensor,
        lengths: Tensor,
        tokens: int,
        shuffle: bool,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        super().__init__(examples, rows, 1, shuffle, seed, rank, world)
        self.lengths = lengths[rows]
        self.sizes = _batch_sizes(self.lengths.sort().values, tokens, 1 if shuffle else world)
        if len(self.sizes if shuffle else rows) < world:
            raise ValueError(f"{len(rows)} sentences in batches of {tokens} tokens are too few for {world} processes")

    @property
    def padding(self) -> float:
        """Share of padding among the tokens of all batches."""
        longest = [int(part[-1]) for part in self.lengths.sort().values.split(self.sizes)]
        return 1 - int(self.lengths.sum()) / sum(map(int.__mul__, longest, self.sizes))

    def __len__(self) -> int:
        return len(self.sizes) // self.world if self.shuffle else len(self.sizes)

    def heaviest(self) -> list[Batch]:
        """The batches of most sentences, of most tokens, and of the longest sentences."""
        parts = self.positions()
        lengths = [int(self.lengths[part].max()) for part in parts]
        measures = [
            [len(part) * (length**power) for part, length in zip(parts, lengths, strict=True)] for power in (0, 1)
        ]
        return [self.at(parts[number]) for number in sorted({row.index(max(row)) for row in (*measures, lengths)})]

    def positions(self) -> list[Tensor]:
        """Positions in the split, batch by batch."""
        epoch = self.epoch if self.shuffle else 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        shuffled = torch.randperm(len(self.rows), generator=generator)
        parts = shuffled[self.lengths[shuffled].argsort(stable=True)].split(self.sizes)
        order = torch.randperm(len(parts), generator=generator).tolist()
        if self.shuffle:
            return [parts[number] for number in order[self.rank :: self.world][: len(self)]]
        return [parts[number][self.rank :: self.world] for number in order]


def _batch_sizes(lengths: Tensor, tokens: int, minimum: int) -> list[int]:
    """Sizes of consecutive batches of ascending lengths: at most `tokens` tokens, but at least `minimum` sentences."""
    sizes: list[int] = []
    start = 0
    while start < len(lengths):
        size = min(minimum, len(lengths) - start)
        while start + size < len(lengths) and (size + 1) * int(lengths[start + size]) <= tokens:
            size += 1
        sizes.append(size)
        start += size
    if len(sizes) > 1 and sizes[-1] < minimum:
        last = sizes.pop()
        sizes[-1] += last
    return sizes
