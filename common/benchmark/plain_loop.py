"""A hand-written loop that trains a checkpoint's model on its own data: what the arithmetic costs without a trainer.

    python -m common.benchmark.plain_loop RUN/checkpoints/last.ckpt --epochs 4

It clips, averages and schedules as the run was configured to, and prints the examples per second of each epoch but the
first. With `--unbucketed` sentences come in random batches, each padded to its longest sentence.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_

from common.batch import Batch
from common.configurable import trusted
from common.data.datamodule import ConditionalDataModule
from common.data.loader import TensorLoader
from common.objectives.schedules import WarmupCosine
from common.training.optimizers import ask_no_driver, fused
from common.training.restore import restore
from common.training.step import training_loss


def built(part: Any, *arguments: Any) -> Any:
    """The optimiser or scheduler that a configuration names; None where it names none."""
    if part is None:
        return None
    path, options = (part, {}) if isinstance(part, str) else (part["class_path"], part.get("init_args") or {})
    return trusted(path)(*arguments, **options)


def batches(data: ConditionalDataModule, loader: TensorLoader, most: int | None) -> Iterator[Batch]:
    """Training batches of an epoch, at most so many."""
    for number, batch in enumerate(loader):
        if number == most:
            return
        yield data.transform(batch, training=True)


def unbucketed(data: ConditionalDataModule) -> TensorLoader:
    """As many batches as the loader with buckets makes, of random sentences."""
    rows = data.examples.splits["train"]
    size = round(len(rows) / len(data.loader("train", shuffle=True)))
    return TensorLoader(data.examples, rows, size, True, data.seed, 0, 1)


def train(path: Path, epochs: int, most: int | None, mixed: bool) -> list[float]:
    """Examples per second of each epoch but the first.

    Args:
        path: checkpoint of the run.
        epochs: number of epochs.
        most: batches of an epoch; None takes all.
        mixed: whether batches mix sentences of all lengths.
    """
    restored = restore(path)
    model, data, configuration = restored.model.train(), restored.data(), restored.configuration
    loader = unbucketed(data) if mixed else data.loader("train", shuffle=True)
    parameters = [weight for weight in model.parameters() if weight.requires_grad]
    arguments, trainer = configuration["model"], configuration["trainer"]
    ask_no_driver()
    optimizer = fused(built(arguments["optimizer"], parameters))
    scheduler = built(arguments.get("scheduler"), optimizer)
    if isinstance(scheduler, WarmupCosine):
        scheduler.set_total_steps(epochs * min(len(loader), most if most is not None else len(loader)))
    clip, decay = trainer.get("gradient_clip_val"), configuration.get("averaging")
    averages = None if decay is None else [weight.detach().clone() for weight in parameters]
    rates, step = [], 0
    for epoch in range(epochs):
        begun, examples = time.perf_counter(), 0
        loader.set_epoch(epoch)
        for batch in batches(data, loader, most):
            loss, _ = training_loss(model, model.objective, model.auxiliary, batch, step)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                clip_grad_norm_(parameters, clip, foreach=True)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            if averages is not None and decay is not None:
                torch._foreach_lerp_(averages, [weight.detach() for weight in parameters], 1 - decay)
            step, examples = step + 1, examples + len(batch)
        rates.append(examples / (time.perf_counter() - begun))
    return rates[1:]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path, help="a checkpoint of the run")
    parser.add_argument("--epochs", type=int, default=4, help="epochs, the first of which is not counted (default: 4)")
    parser.add_argument("--batches", type=int, help="batches of an epoch (default: all)")
    parser.add_argument("--unbucketed", action="store_true", help="random batches of sentences")
    arguments = parser.parse_args()
    print(json.dumps(train(arguments.ckpt, arguments.epochs, arguments.batches, arguments.unbucketed)))


if __name__ == "__main__":
    main()
