"""The noise of a training step depends on the seed, the step and the process alone.

A resumed training therefore draws what it would have drawn, and nothing that draws in between, such as pictures or a
validation, changes a training.
"""

import os

import torch
from lightning.pytorch import Trainer

MASK = 2**64 - 1


def seed_step(seed: int | None, trainer: Trainer) -> int:
    """Seeds torch's generators for the next training batch.

    Args:
        seed: seed of the training's noise; None takes the one that `seed_everything` has set, or torch's.
        trainer: the trainer, which knows the batch and the process.

    Returns:
        The seed.
    """
    if seed is None:
        seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed()))
    batch = trainer.fit_loop.epoch_loop.batch_progress.total.ready
    seed_batch(seed, batch, trainer.global_rank, trainer.strategy.root_device)
    return seed


def seed_batch(seed: int, batch: int, process: int, device: torch.device) -> None:
    """Seeds torch's generators for a batch of a process.

    Args:
        seed: of the training's noise.
        batch: number of the batch in the training.
        process: number of the process.
        device: where the batch is computed.
    """
    number = mixed(mixed(mixed(seed) + batch) + process)
    # torch.manual_seed also asks for devices that the training does not use: a millisecond a step.
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
    elif device.type != "cpu":
        torch.manual_seed(number)


def mixed(number: int) -> int:
    """A 64-bit number of which every bit depends on all bits of another (SplitMix64, Steele, Lea and Flood 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & MASK
    return number ^ (number >> 31)
