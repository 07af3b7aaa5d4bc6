"""Trains a modality with noise that depends on the step and the batch alone, whichever process has the batch.

    python tests/scripts/noise_by_batch.py MODALITY one|two OPTIONS

`one` gives one process the batches of two, in turn: with `accumulate_grad_batches: 2` a step has the batches that two
processes have at the same time.
"""

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from common.data.loader import TensorLoader
from common.training.module import ConditionalELBO
from modalities.text.data.bucket_loader import BucketLoader


def seed_by_batch():
    """Seeds all that a training step draws by the step and the first example of the batch."""
    prepare = ConditionalELBO.on_before_batch_transfer

    def prepared(model, batch, number):
        batch = prepare(model, batch, number)
        if model.trainer.training:
            torch.manual_seed(1_000 * model.global_step + int(batch.index[0]))
        return batch

    ConditionalELBO.on_before_batch_transfer = prepared


def take_turns(kind):
    """Has the training loader of one process yield the batches of two; the first process's is the last of a step."""
    positions, length = kind.positions, kind.__len__

    def of_two(loader, method, rank):
        loader.rank, loader.world = rank, 2
        found = method(loader)
        loader.rank, loader.world = 0, 1
        return found

    def in_turn(loader):
        if not loader.shuffle:
            return positions(loader)
        parts = [of_two(loader, positions, rank) for rank in (1, 0)]
        return [part for pair in zip(*parts, strict=True) for part in pair]

    def doubled(loader):
        return 2 * of_two(loader, length, 0) if loader.shuffle and loader.world == 1 else length(loader)

    kind.positions, kind.__len__ = in_turn, doubled


if __name__ == "__main__":
    modality, processes = sys.argv[1:3]
    seed_by_batch()
    if processes == "one":
        take_turns(TensorLoader)
        take_turns(BucketLoader)
    importlib.import_module(f"scripts.train_{modality}").main(sys.argv[3:])
