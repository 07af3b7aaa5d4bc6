"""What a training shows while it runs: a bar in a terminal, one line an epoch in a file."""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, ProgressBar, TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from common.training.model_summary import ParameterCounts

COLUMNS = 80
INTERVAL = 0.1  # seconds between two drawings of a bar


def console(configured: Sequence[Callback], bar: bool = True, summary: bool = True) -> list[Callback]:
    """The suite's progress and model summary, as far as no other is configured.

    Args:
        configured: the configured callbacks.
        bar: whether progress is shown at all.
        summary: whether the model is summarised at all.
    """
    chosen: list[Callback] = []
    if bar and not any(isinstance(callback, ProgressBar) for callback in configured):
        chosen.append(Progress())
    if summary and not any(isinstance(callback, ModelSummary) for callback in configured):
        chosen.append(ParameterCounts())
    return chosen


class Progress(TQDMProgressBar):
    """A bar of at most 80 columns with loss and validation ELBO; without a terminal, one line for each epoch."""

    BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"

    def __init__(self) -> None:
        super().__init__()
        self._drawn = 0.0  # time
        self._started = 0.0
        self._steps = 0
        self._loss: Any = 0.0  # of the last step
        self._losses: Any = 0.0  # sum over the steps of this epoch
        self._validated = False

    @property
    def is_enabled(self) -> bool:
        """Whether there are bars."""
        return super().is_enabled and sys.stdout.isatty()

    def _line(self, text: str) -> None:
        if self._enabled and not self.is_enabled:
            print(text, flush=True)

    def _bar(self, description: str, leave: bool, position: int = 0) -> Tqdm:
        return Tqdm(
            desc=description,
            position=position,
            disable=self.is_disabled,
            leave=leave,
            ncols=min(COLUMNS, shutil.get_terminal_size().columns),
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
        )

    def init_sanity_tqdm(self) -> Tqdm:
        """A bar that disappears."""
        return self._bar(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Tqdm:
        """The bar of every epoch."""
        return self._bar(self.train_description, leave=True)

    def init_validation_tqdm(self) -> Tqdm:
        """A bar below that of the epoch, where there is one."""
        alone = self.trainer.state.fn == "validate"
        return self._bar(self.validation_description, leave=alone, position=int(not alone))

    def init_test_tqdm(self) -> Tqdm:
        """A bar that stays."""
        return self._bar(self.test_description, leave=True)

    def init_predict_tqdm(self) -> Tqdm:
        """A bar that stays."""
        return self._bar(self.predict_description, leave=True)

    def _should_update(self, current: int, total: int | float | None) -> bool:
        """A few times a second, and at the end: reading a metric waits for the device."""
        now = time.monotonic()
        due = self.is_enabled and (current == total or now - self._drawn >= INTERVAL)
        self._drawn = now if due else self._drawn
        return due

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float | dict]:
        """Loss and validation ELBO, with five digits."""
        shown = {"loss": self._loss} if self._steps else {}
        if "val/elbo" in trainer.progress_bar_metrics:
            shown["val elbo"] = trainer.progress_bar_metrics["val/elbo"]
        return {title: f"{float(value):.5g}" for title, value in shown.items()}

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        """Prints above the bar, or as usual where there is none."""
        if self.is_enabled:
            super().print(*args, sep=sep, **kwargs)
        elif self._enabled:
            print(*args, sep=sep, **kwargs)

    def _epoch(self, trainer: Trainer) -> str:
        """The present epoch, from 1."""
        last = trainer.max_epochs
        return f"{trainer.current_epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "")

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Starts the bar anew, and the sums of the line."""
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description(f"Epoch {self._epoch(trainer)}")
        self._started, self._steps, self._losses, self._validated = time.monotonic(), 0, 0.0, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar on, and adds the loss to the sum."""
        self._steps += 1
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            self._loss = loss.detach() * trainer.accumulate_grad_batches
            self._losses = self._losses + self._loss
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends the bar of the validation, and notes that the epoch has one."""
        super().on_validation_end(trainer, pl_module)
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without a terminal, one line."""
        super().on_train_epoch_end(trainer, pl_module)
        if self._steps == 0:  # a finished training goes on
            self._line(f"epoch {self._epoch(trainer)} was finished: nothing is left to train")
            return
        plural = "" if self._steps == 1 else "s"
        parts = [f"{self._steps} step{plural}", f"train loss {float(self._losses) / max(self._steps, 1):.5g}"]
        if self._validated and "val/elbo" in trainer.callback_metrics:
            parts.append(f"val elbo {float(trainer.callback_metrics['val/elbo']):.5g}")
        self._line(f"epoch {self._epoch(trainer)}: {', '.join(parts)}, {time.monotonic() - self._started:.1f} s")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Without a terminal, one line."""
        super().on_test_start(trainer, pl_module)
        self._line("testing")
