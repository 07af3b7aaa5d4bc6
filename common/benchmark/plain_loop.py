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
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from common.batch import Batch
from common.configurable import from_config, to_config, trusted
from common.data.datamodule import ConditionalDataModule
from common.data.loader import TensorLoader
from common.objectives.schedules import WarmupCosine
from common.training.optimizers import ask_no_driver, fused
from common.training.restore import restore
from common.training.step import training_loss
from common.training.step_seed import seed_batch


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


class PlainLoop:
    """A model in training, from the weights of a checkpoint.

    Args:
        path: the checkpoint.
        mixed: whether batches mix sentences of all lengths.
        latent_dim: another size of z, with new weights.
        sizes: other values of attributes of the data, such as its size of a batch.
    """

    def __init__(self, path: Path, mixed: bool = False, latent_dim: int | None = None, **sizes: int) -> None:
        restored = restore(path)
        self.model, self.data = restored.model.train(), restored.data()
        if latent_dim is not None:
            model = to_config(self.model)
            model["init_args"]["latent_dim"] = latent_dim
            self.model = from_config(model).train()
        for name, value in sizes.items():
            setattr(self.data, name, value)
        self.arguments, trainer = restored.configuration["model"], restored.configuration["trainer"]
        self.loader = unbucketed(self.data) if mixed else self.data.loader("train", shuffle=True)
        self.parameters = [weight for weight in self.model.parameters() if weight.requires_grad]
        ask_no_driver()
        self.optimizer = fused(built(self.arguments["optimizer"], self.parameters))
        self.clip, self.decay = trainer.get("gradient_clip_val"), restored.configuration.get("averaging")
        self.averages = [] if self.decay is None else [weight.detach().clone() for weight in self.parameters]
        self.scheduler: Any = None
        self.step = 0

    def schedule(self, steps: int) -> None:
        """Begins the schedule of the learning rate, of a training of so many steps."""
        self.scheduler = built(self.arguments.get("scheduler"), self.optimizer)
        if isinstance(self.scheduler, WarmupCosine):
            self.scheduler.set_total_steps(steps)

    def take(self, batch: Batch) -> Tensor:
        """One step, and its loss."""
        loss, _ = training_loss(
            self.model, self.model.objective, self.model.auxiliary, batch, self.step, self.data.train_size
        )
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip is not None:
            clip_grad_norm_(self.parameters, self.clip, foreach=True)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        if self.decay is not None:
            torch._foreach_lerp_(self.averages, [weight.detach() for weight in self.parameters], 1 - self.decay)
        self.step += 1
        return loss.detach()


def train(path: Path, epochs: int, most: int | None, mixed: bool) -> list[float]:
    """Examples per second of each epoch but the first.

    Args:
        path: checkpoint of the run.
        epochs: number of epochs.
        most: batches of an epoch; None takes all.
        mixed: whether batches mix sentences of all lengths.
    """
    loop, rates = PlainLoop(path, mixed), []
    loop.schedule(epochs * min(len(loop.loader), most if most is not None else len(loop.loader)))
    for epoch in range(epochs):
        begun, examples = time.perf_counter(), 0
        loop.loader.set_epoch(epoch)
        for batch in batches(loop.data, loop.loader, most):
            loop.take(batch)
            examples += len(batch)
        rates.append(examples / (time.perf_counter() - begun))
    return rates[1:]


def losses(path: Path, steps: int, seed: int = 0, record: Path | None = None) -> list[float]:
    """The losses of the first steps of a training that the suite seeds with `seed`: with its batches and its noise.

    Args:
        path: the checkpoint that the training starts from.
        steps: number of steps.
        seed: of the training.
        record: file for the first weights, and for the images, digits and normal noise of each step, from which a loop
            outside of the suite can take the same steps.
    """
    loop = PlainLoop(path)
    loop.schedule(steps)
    found: list[float] = []
    weights = [weight.detach().clone() for weight in loop.parameters]
    inputs: list[tuple[Tensor, ...]] = []
    epoch = 0
    while len(found) < steps:
        loop.loader.set_epoch(epoch)
        for batch in loop.loader:
            if len(found) < steps:
                seed_batch(seed, len(found), 0, torch.device("cpu"))
                ready = loop.data.transform(batch, training=True)
                with torch.random.fork_rng(devices=[]):  # what the step is going to draw first
                    noise = torch.randn(len(batch), loop.model.latent_prior.latent_dim or 0)
                inputs.append((ready.x, *ready.condition.values(), noise))
                found.append(loop.take(ready).item())
        epoch += 1
    if record is not None:
        torch.save({"weights": weights, "inputs": inputs}, record)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt", type=Path, help="a checkpoint of the run")
    parser.add_argument("--epochs", type=int, default=4, help="epochs, the first of which is not counted (default: 4)")
    parser.add_argument("--batches", type=int, help="batches of an epoch (default: all)")
    parser.add_argument("--unbucketed", action="store_true", help="random batches of sentences")
    parser.add_argument("--losses", type=int, metavar="STEPS", help="prints the losses of the first steps in place")
    parser.add_argument("--record", type=Path, metavar="FILE", help="with --losses: weights, batches and noise")
    arguments = parser.parse_args()
    if arguments.losses is not None:
        print(json.dumps(losses(arguments.ckpt, arguments.losses, record=arguments.record)))
        return
    print(json.dumps(train(arguments.ckpt, arguments.epochs, arguments.batches, arguments.unbucketed)))


if __name__ == "__main__":
    main()
