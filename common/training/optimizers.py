"""The configured optimiser and learning-rate scheduler, in the form that Lightning expects."""

import inspect
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter
from torch.optim import Optimizer

from common.objectives.schedules import WarmupCosine


@dataclass(frozen=True)
class Factories:
    """Factories of optimiser and scheduler; those from a command line hold its parser, which cannot be copied.

    Attributes:
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser; None keeps the rate.
        rate: replaces the optimiser's learning rate, for a finder of it.
    """

    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None
    rate: float | None = None

    def make(
        self, parameters: Iterator[Parameter], total_steps: Callable[[], int], fuse: bool = True
    ) -> OptimizerLRScheduler:
        """Optimiser and scheduler; a scheduler with `total_steps` steps with every batch, others with every epoch.

        Args:
            parameters: the parameters to train.
            total_steps: returns the steps of the training; called only for a `WarmupCosine` without a total.
            fuse: whether the optimiser may take a step in one kernel, see `fused`.
        """
        ask_no_driver()
        optimizer = self.optimizer(parameters)
        if fuse:
            optimizer = fused(optimizer)
        if self.rate is not None:
            for group in optimizer.param_groups:
                group["lr"] = self.rate
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, WarmupCosine) and scheduler.follows_run:
            scheduler.set_total_steps(total_steps())
        interval = "step" if hasattr(scheduler, "total_steps") else "epoch"
        config = {"scheduler": scheduler, "interval": interval, "monitor": "val/elbo"}
        return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]

    @staticmethod
    def lengthen(scheduler: Any, total_steps: int, step: int) -> str | None:
        """Gives the scheduler of a resumed training the present length of the run.

        Args:
            scheduler: the scheduler with its stored state.
            total_steps: the present length.
            step: steps taken so far.

        Returns:
            What was changed, in a sentence; None if nothing was.
        """
        if not (isinstance(scheduler, WarmupCosine) and scheduler.follows_run) or scheduler.total_steps == total_steps:
            return None
        before, rate = scheduler.total_steps, scheduler.get_last_lr()[0]
        scheduler.set_total_steps(total_steps)
        return (
            f"the run has {total_steps:,} steps in place of {before:,}: from step {step:,} on, the learning rate is "
            f"that of a run of this length ({scheduler.get_last_lr()[0]:.3g} in place of {float(rate):.3g})"
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "Factories":
        return self


def fused(optimizer: Optimizer) -> Optimizer:
    """The optimiser with its step in one kernel, where torch has that for it and a person has not chosen otherwise."""
    settings = optimizer.defaults
    kind = type(optimizer)
    chosen = settings.get("fused", False) is not None or settings.get("foreach") is not None
    # A person's own class may have other arguments, or a step of its own.
    if not kind.__module__.startswith("torch.optim.") or chosen:
        return optimizer
    if settings.get("differentiable") or settings.get("capturable"):
        return optimizer
    groups = [{**group, "fused": True} for group in optimizer.param_groups]
    known = {name: settings[name] for name in inspect.signature(kind).parameters if name in settings}
    try:
        return kind(groups, **{**known, "fused": True})
    except RuntimeError:  # of devices and types of parameters that have no such kernel
        return optimizer


def ask_no_driver() -> None:
    """Where there is no CUDA, torch's optimisers, which ask for it at every step, do not look for its driver.

    Lightning has them load the driver's library to find out, which takes up to a third of a millisecond.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def check_factories(model: Mapping[str, Any]) -> None:
    """Refuses a function as the optimiser or the scheduler of a configuration; jsonargparse checks classes.

    Args:
        model: the parsed options of the model.

    Raises:
        ValueError: naming the option and the function.
    """
    for name, base in (("optimizer", "torch.optim.Optimizer"), ("scheduler", "LRScheduler")):
        value = model.get(name)
        if callable(value) and not isinstance(value, type):
            raise ValueError(f"model.{name}: {value.__module__}.{value.__qualname__} is no subclass of {base}")


def total_steps(trainer: Trainer) -> int:
    """Optimiser steps of the whole training, those before a resume included.

    Raises:
        ValueError: if the training has no length in steps or epochs.
    """
    if trainer.max_epochs in (None, -1) and trainer.max_steps == -1:
        raise ValueError("the schedule needs the length of the training: set trainer.max_epochs or trainer.max_steps")
    whole = int(trainer.estimated_stepping_batches)
    if not trainer.global_step or trainer.max_epochs in (None, -1):
        return whole
    # The epochs to come may have another number of batches than those before the resume.
    batches = float(trainer.num_training_batches)
    epochs: Any = trainer.fit_loop.epoch_progress.current
    whole_epochs, rest = (trainer.max_epochs or 0) - epochs.processed, 0.0
    if done := batches_done(trainer):
        whole_epochs, rest = whole_epochs - 1, max(batches - done, 0.0)
    # The last batch of an epoch ends an accumulation, whatever its number.
    a_step = trainer.accumulate_grad_batches
    to_come = max(whole_epochs, 0) * math.ceil(batches / a_step) + math.ceil(rest / a_step)
    steps = trainer.global_step + to_come
    return steps if trainer.max_steps == -1 else min(steps, trainer.max_steps)


def batches_done(trainer: Trainer) -> int:
    """Batches of the present epoch that a training has had before it was stopped; 0 between two epochs."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    batches: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(batches.processed) if epochs.started > epochs.processed else 0
