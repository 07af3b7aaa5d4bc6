"""Where the time of a training step goes, what its arithmetic would take at least, and how it grows.

    python -m common.benchmark.profile RUN/checkpoints/last.ckpt

Prints one object, as JSON: the step's milliseconds, its floors, the shares of the operations, and the milliseconds by
size of batch, number of samples of z and size of z.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from common.batch import Batch
from common.benchmark.estimates import products_a_second
from common.benchmark.plain_loop import PlainLoop

SHOWN = 8  # operations
FACTORS = (0.25, 0.5, 1, 2, 4)
# Passes over as many numbers as there are weights: read forwards and backwards, gradients written, read for their norm,
# scaled, and AdamW reads four and writes three; averages are read and written.
PASSES, PASSES_OF_AVERAGES = 13, 3


def batches_of(loop: PlainLoop, count: int) -> list[Batch]:
    """Training batches, ready for a step."""
    return [loop.data.transform(batch, training=True) for batch in islice(cycle(loop.loader), count)]


def milliseconds(loop: PlainLoop, steps: int = 12, first: int = 3) -> float:
    """The median of a step, after the first ones."""
    taken = []
    for batch in batches_of(loop, first + steps):
        begun = time.perf_counter()
        loop.take(batch)
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken[first:])


def shares(loop: PlainLoop, steps: int = 5) -> dict[str, float]:
    """The operations that take most of a step, and their shares of its time."""
    batches = batches_of(loop, steps)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for batch in batches:
            loop.take(batch)
    times = {event.key: event.self_cpu_time_total for event in recorded.key_averages()}
    longest = sorted(times, key=lambda key: -times[key])[:SHOWN]
    return {key: times[key] / sum(times.values()) for key in longest}


def floors(loop: PlainLoop) -> dict[str, float]:
    """Milliseconds that the products of a step, and its passes over weights, gradients and moments, take at least."""
    counter = FlopCounterMode(display=False)
    (batch,) = batches_of(loop, 1)
    with counter:
        loop.take(batch)
    passes = PASSES + (0 if loop.decay is None else PASSES_OF_AVERAGES)
    numbers = passes * sum(weight.numel() for weight in loop.parameters)
    source, target = torch.empty(2, 2**26)
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - begun)
    rate = 2 * source.numel() / min(seconds)
    return {
        "gigaflops": counter.get_total_flops() / 1e9,
        "products": 1000 * counter.get_total_flops() / products_a_second(),
        "passes": 1000 * numbers / rate,
    }


def growth(
    path: Path, size: str = "batch_size", factors: Sequence[float] = FACTORS
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of a step by size of batch, samples of z, and size of z, where a model can have other ones.

    Args:
        path: the checkpoint.
        size: option of the data for the size of a batch.
        factors: sizes, as multiples of the configured ones.
    """
    found: dict[str, list[tuple[float, float]]] = {"batch": [], "samples": [], "latent_dim": []}
    usual = PlainLoop(path)
    for factor in factors:
        number = max(1, round(getattr(usual.data, size) * factor))
        found["batch"].append((number, milliseconds(PlainLoop(path, **{size: number}))))
    for samples in (1, 2, 4, 8):
        loop = PlainLoop(path)
        try:
            loop.model.objective = replace(loop.model.objective, num_samples=samples)
            found["samples"].append((samples, milliseconds(loop)))
        except ValueError:  # of an objective that reads one sample
            break
    for factor in factors:
        dim = round((usual.model.latent_prior.latent_dim or 1) * factor)
        try:
            found["latent_dim"].append((dim, milliseconds(PlainLoop(path, latent_dim=dim))))
        except (ValueError, RuntimeError):  # of networks that fix it
            continue
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path, help="a checkpoint")
    parser.add_argument("--size", default="batch_size", help="option of the data for the size of a batch")
    given = parser.parse_args()
    loop = PlainLoop(given.ckpt)
    result: dict[str, Any] = {"milliseconds": milliseconds(loop), "shares": shares(loop), "floors": floors(loop)}
    print(json.dumps({**result, "growth": growth(given.ckpt, given.size)}))


if __name__ == "__main__":
    main()
