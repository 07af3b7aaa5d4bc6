"""What a configuration says of optimiser and learning rate, made into what Lightning asks for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter

from common.objectives.schedules import WarmupCosine


@dataclass(frozen=True)
class Factories:
    """Makers of optimiser and scheduler; those of a command line hold its parser, which no copy can take along.

    Attributes:
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser; None keeps the rate.
    """

    optimizer: OptimizerCallable
    scheduler: LRSchedulerCallable | None

    def make(self, parameters: Iterator[Parameter], total_steps: Callable[[], int]) -> OptimizerLRScheduler:
        """Optimiser and scheduler; one that knows a last step goes by steps, any other by epochs.

        Args:
            parameters: what is trained.
            total_steps: steps of the training; asked only by a `WarmupCosine` that was given none.
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
