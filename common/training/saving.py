"""What a training saves, and when: best.ckpt, and last.ckpt, from which it goes on as if it had never stopped."""

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from common.paths import written_whole
from common.training.tracking.metrics_csv import MetricsCSV

PARTIAL = re.compile(r"\.\d+\.partial$")  # how `common.paths.written_whole` names what it has not finished
METRICS = "metrics_rows"  # key of a checkpoint: rows of metrics.csv that precede it


class BestCheckpoint(ModelCheckpoint):
    """Saves the weights with the best validation ELBO, after a validation and before last.ckpt, which knows the best.

    It has a class of its own so that a person's ModelCheckpoint can stand beside it.

    Args:
        folder: folder of the file.
        monitor: the figure that is maximised; None keeps the last weights.
    """

    def __init__(self, folder: Path, monitor: str | None) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=monitor,
            mode="max",
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def keep_last(self, trainer: Trainer, last: Path) -> None:
        """Where the last weights are kept, keeps those of `last`, after which there was no validation."""
        if self.monitor is None and self._last_global_step_saved != trainer.global_step and last.exists():
            if trainer.is_global_zero:
                _linked(last, Path(str(self.dirpath)) / "best.ckpt")
            self._last_global_step_saved = trainer.global_step

    def holds(self, trainer: Trainer) -> bool:
        """Whether its file is the training as it stands."""
        return self.monitor is not None and self._last_global_step_saved == trainer.global_step


def _linked(file: Path, name: Path) -> None:
    """Gives a file, which is never changed but replaced, another name; a copy where the disk has no links."""
    with written_whole(name) as partial:
        try:
            os.link(file, partial)
        except OSError:
            shutil.copyfile(file, partial)


class LastCheckpoint(Checkpoint):
    """Saves the training as it stands: after each validation, every few minutes, and at its end.

    Args:
        path: the file.
        minutes: time between two saves within an epoch, for which the callback `between` has to come before all others.
    """

    def __init__(self, path: Path, minutes: float = 10.0) -> None:
        self.path, self.minutes = path, minutes
        self.between = BetweenSteps(self)
        self._saved_at, self.saved_step = time.monotonic(), -1

    # Not on_train_start, which a training that has reached its end does not come to.
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Removes what a killed training of this run has left half-written; a run folder has one training at a time."""
        if trainer.is_global_zero:
            run = self.path.parent.parent if self.path.parent.name == "checkpoints" else self.path.parent
            for path in [*self.path.parent.glob("*.partial"), *run.glob("*.partial"), *run.glob("samples/*.partial")]:
                if PARTIAL.search(path.name) and path.is_file():
                    path.unlink(missing_ok=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock. What goes on from another file, such as best.ckpt, is not yet saved in this one."""
        other = trainer.ckpt_path is not None and Path(trainer.ckpt_path).resolve() != self.path.resolve()
        self._saved_at, self.saved_step = time.monotonic(), -1 if other else trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves, after the best checkpoint: where that was just written, under this name as well."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        same = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)]
        if not (same and same[0].holds(trainer)):
            self.save(trainer)
            return
        if trainer.is_global_zero:
            _linked(Path(same[0].best_model_path), self.path)
        self._saved_at, self.saved_step = time.monotonic(), trainer.global_step

    def due(self, trainer: Trainer) -> bool:
        """Whether it is time to save within an epoch."""
        return time.monotonic() - self._saved_at >= 60 * self.minutes and trainer.global_step > self.saved_step

    def save(self, trainer: Trainer) -> None:
        """Writes the file."""
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_at, self.saved_step = time.monotonic(), trainer.global_step

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Stores how many rows of metrics.csv precede the checkpoint; a resumed training deletes the others."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                checkpoint[METRICS] = logger.rows


class BetweenSteps(Callback):
    """Saves between two steps: after all of the finished step's logs, and before anything of the next one.

    Args:
        last: what is saved when.
    """

    def __init__(self, last: LastCheckpoint) -> None:
        self.last = last
        self._saving = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Saves if it is time to."""
        if self.last.due(trainer):
            self.save(trainer, batch_idx)

    # Before all other callbacks: weight averaging then puts its averages in the place of the weights.
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves what has been trained since the last validation; `best.ckpt` as well where it is the last weights."""
        if trainer.global_step > self.last.saved_step:
            self.last.save(trainer)
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint):
                callback.keep_last(trainer, self.last.path)

    def save(self, trainer: Trainer, batch_idx: int) -> bool:
        """Saves before a batch, and whether it could: gradients that are still accumulated would be lost."""
        if batch_idx == 0 or batch_idx % trainer.accumulate_grad_batches:
            return False
        self._saving = True
        try:
            self.last.save(trainer)
        finally:
            self._saving = False
        return True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Gives back the batch that Lightning counts as taken already."""
        if self._saving:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            progress["is_last_batch"] = False
            for counts in (progress["current"], progress["total"]):
                counts["ready"] -= 1
