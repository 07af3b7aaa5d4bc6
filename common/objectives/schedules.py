"""Schedules: pure functions of the global step, and a learning-rate schedule that knows the length of the run."""

import math
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from common.configurable import Configurable


class Schedule(Configurable):
    """A number that depends only on the global step (optimiser steps taken so far)."""

    def __call__(self, step: int) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The same value throughout."""

    value: float = 1.0

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class Linear(Schedule):
    """Linear from `start` to `end` over `steps` steps after the first `delay` steps, then constant.

    Source: KL annealing, Bowman et al. 2016, "Generating Sentences from a Continuous Space", section 3.1.
    """

    start: float = 0.0
    end: float = 1.0
    steps: int = 1000
    delay: int = 0

    def __call__(self, step: int) -> float:
        elapsed = step - self.delay
        done = float(elapsed >= 0) if self.steps <= 0 else min(max(elapsed / self.steps, 0.0), 1.0)
        return self.start + (self.end - self.start) * done


@dataclass(frozen=True)
class Cyclical(Schedule):
    """Rises from `start` to `end` in the first `rise` of each period and stays there until the next.

    Source: Fu et al. 2019, "Cyclical Annealing Schedule", equation 6 (M cycles, proportion R = `rise`).

    Attributes:
        start: value at the beginning of each period.
        end: value after the rise, and permanently after the last cycle.
        period: steps per cycle.
        rise: share of a period that the rise takes, in (0, 1].
        cycles: number of cycles; None repeats without end.
    """

    start: float = 0.0
    end: float = 1.0
    period: int = 1000
    rise: float = 0.5
    cycles: int | None = None

    def __call__(self, step: int) -> float:
        if self.cycles is not None and step >= self.cycles * self.period:
            return self.end
        position = (step % self.period) / (self.rise * self.period)
        return self.start + (self.end - self.start) * min(position, 1.0)


def as_schedule(value: "float | Schedule") -> Schedule:
    """A schedule as it is; a number as a constant schedule."""
    return value if isinstance(value, Schedule) else Constant(float(value))


class WarmupCosine(LRScheduler):
    """Linear warm-up, then a half cosine from the optimiser's learning rate down to `floor` of it.

    Args:
        optimizer: the optimiser.
        warmup: share of the run spent warming up, in [0, 1).
        floor: final learning rate as a share of the highest.
        total_steps: optimiser steps in the run. 0 makes `ConditionalELBO` take it from the trainer.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.02, floor: float = 0.0, total_steps: int = 0) -> None:
        self.warmup = warmup
        self.floor = floor
        self.total_steps = total_steps
        self.follows_run = total_steps == 0
        super().__init__(optimizer)

    def set_total_steps(self, total_steps: int) -> None:
        """Sets the length of the run and the learning rates of the present step."""
        self.total_steps = total_steps
        self._last_lr = self.get_lr()
        for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            group["lr"] = rate

    def factor(self, step: int) -> float:
        """Share of the highest learning rate at a step."""
        total = max(self.total_steps, 1)
        rise = self.warmup * total
        if step < rise:
            return (step + 1) / (rise + 1)
        done = min((step - rise) / max(total - rise, 1), 1.0)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * done))

    def get_lr(self) -> list[float | Tensor]:
        """Learning rate of each parameter group, at the present step."""
        return [base * self.factor(self.last_epoch) for base in self.base_lrs]
