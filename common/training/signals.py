"""SIGINT, SIGTERM and SIGUSR1 end a training between two steps: saved, with a sentence and a status that is not 0."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_warn

from common.training.saving import LastCheckpoint

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ASKED = 10  # batches after which several processes ask each other whether one has received a signal


class Stopped(SystemExit):
    """Ends the process with the status 128 + the number of the signal, as a shell reports it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


class StopSignals(Callback):
    """Stops a training that receives a signal, after saving it. The same signal again stops it at once.

    Under SLURM, SIGUSR1 (`sbatch --signal=SIGUSR1@90`) also puts the job into the queue again, and its training goes on
    by itself: see `common.training.start.before_requeue`.

    Args:
        last: what is saved.
        go_on: command that goes on with the training.
    """

    def __init__(self, last: LastCheckpoint, go_on: str) -> None:
        self.last, self.go_on = last, go_on
        self.received: int | None = None
        self.step = 0
        self._former: dict[int, Any] = {}

    def install(self) -> None:
        """Catches the signals; outside of the main thread Python does not allow it."""
        if threading.current_thread() is threading.main_thread():
            for number in CAUGHT:
                former = signal.signal(number, self._receive)
                if former != self._receive:
                    self._former.setdefault(number, former)

    def restore(self) -> None:
        """Leaves the signals to what caught them before."""
        if threading.current_thread() is threading.main_thread():
            for number, former in self._former.items():
                signal.signal(number, signal.SIG_DFL if former is None else former)
        self._former = {}

    def _receive(self, number: int, frame: Any) -> None:
        if self.received is not None:
            self._say(f"{signal.Signals(number).name} again: stopped at once")
            raise Stopped(number)
        self.received = number
        self._say(f"{signal.Signals(number).name}: stops after this step, saved; again: at once")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Catches the signals in place of Lightning, whose own handlers neither save nor fail."""
        self.install()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stops, if a signal has arrived in any process."""
        self.step = trainer.global_step
        if trainer.world_size > 1 and batch_idx % ASKED == 0:
            received = self._of_any(trainer, pl_module)
        else:
            received = (self.received or 0) if trainer.world_size == 1 else 0
        if not received:
            return
        self.received = received
        if self.last.saved_step != trainer.global_step and not self.last.between.save(trainer, batch_idx):
            return  # the next step can be saved
        self.stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Agrees with the other processes on whether the training was stopped, before a test that they share."""
        if trainer.world_size > 1:
            self.received = self._of_any(trainer, pl_module) or None

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Ends the test that follows a training."""
        if self.received is not None:
            self._say(
                f"stopped by {signal.Signals(self.received).name} in the test: the training is saved, test it again"
            )
            raise Stopped(self.received)

    def _of_any(self, trainer: Trainer, pl_module: LightningModule) -> int:
        """The signal that any of the processes has received; 0 if none has."""
        number = torch.tensor(self.received or 0, device=pl_module.device)
        return int(trainer.strategy.reduce(number, reduce_op="max"))

    def stop(self) -> None:
        """Says where the training is saved and how to go on, and ends the process.

        Raises:
            Stopped: always.
        """
        assert self.received is not None
        name = signal.Signals(self.received).name
        if self.last.path.exists():
            self._say(f"stopped by {name} at step {self.step:,}, saved in {self.last.path}. To go on: {self.go_on}")
        else:
            self._say(f"stopped by {name} before the first step: nothing is saved")
        if self.received == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ:
            requeue()
        raise Stopped(self.received)

    @staticmethod
    @rank_zero_only
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def slurm(plugins: Sequence[Any]) -> list[ClusterEnvironment]:
    """SLURM's environment, where it has started this process, without Lightning's saving and queueing: ours come first.

    Args:
        plugins: those that a person has configured.
    """
    other = TorchElasticEnvironment.detect() or any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    if other or "SLURM_NTASKS" not in os.environ or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False)]


@rank_zero_only
def requeue() -> None:
    """Puts the present job of SLURM into the queue again."""
    job = os.environ["SLURM_JOB_ID"]
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        rank_zero_warn(f"SLURM's job {job} cannot be queued again: {getattr(error, 'stderr', '') or error}")
