"""The configured optimiser and learning-rate scheduler, in the form that Lightning expects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter

from common.objectives.schedules import WarmupCosine


@dataclass(frozen=True)
class Factories:
    """Factories of optimiser and scheduler; those from a command line hold its parser, which cannot be copied.

    Attributes:
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser; None keeps the rate.
    """

    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None

    def make(self, parameters: Iterator[Parameter], total_steps: Callable[[], int]) -> OptimizerLRScheduler:
        """Optimiser and scheduler; a scheduler with `total_steps` steps with every batch, others with every epoch.

        Args:
            parameters: the parameters to train.
            total_steps: returns the steps of the training; called only for a `WarmupCosine` without a total.
        """
        optimizer = self.optimizer(parameters)
        if self.scheduler is None:
            return optimizer
        scheduler = self.scheduler(optimizer)
        if isinstance(scheduler, WarmupCosine) and scheduler.total_steps == 0:
            scheduler.set_total_steps(total_steps())
        interval = "step" if hasattr(scheduler, "total_steps") else "epoch"
        config = {"scheduler": scheduler, "interval": interval, "monitor": "val/elbo"}
        return {"optimizer": optimizer, "lr_scheduler": config}  # type: ignore[return-value]

    def __deepcopy__(self, memo: dict[int, Any]) -> "Factories":
        return self
