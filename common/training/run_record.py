"""The record of a training: throughput, and results.json after a test."""

import platform
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from common.batch import Batch
from common.paths import written_whole
from common.process_memory import peak_memory_mb
from common.results import EXAMPLES, Results, RunInfo
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO
from common.training.tracking.recipients import TakesResults


class Throughput(Callback):
    """Logs examples per second and peak memory each epoch; a checkpoint stores seconds and examples so far."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.examples = 0
        self._since: float | None = None
        self._reported = (0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts examples of all processes."""
        if isinstance(batch, Batch):
            self.examples += len(batch) * trainer.world_size

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the rate since the last report."""
        self._read_clock()
        seconds, examples = self.seconds - self._reported[0], self.examples - self._reported[1]
        self._reported = (self.seconds, self.examples)
        figures = {
            "examples_per_second": examples / max(seconds, 1e-9),
            "peak_memory_mb": peak_memory_mb(pl_module.device),
        }
        row = {f"train/{name}": value for name, value in figures.items()} | {"epoch": trainer.current_epoch}
        for logger in trainer.loggers:  # the module's `log` takes a millisecond
            logger.log_metrics(row, trainer.global_step - 1)
            logger.save()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._read_clock()
        self._since = None

    def _read_clock(self) -> None:
        if self._since is not None:
            now = time.perf_counter()
            self.seconds += now - self._since
            self._since = now

    def state_dict(self) -> dict[str, Any]:
        """Seconds and examples so far."""
        self._read_clock()
        return {"seconds": self.seconds, "examples": self.examples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues counting from a checkpoint; within one process, counts never decrease."""
        self.seconds = max(self.seconds, state_dict["seconds"])
        self.examples = max(self.examples, state_dict["examples"])
        self._reported = (self.seconds, self.examples)


class ResultsWriter(Callback):
    """Writes results.json after a test, and the figures of each test example as examples.npz beside it.

    Args:
        path: path of results.json.
        run_id: id of the run.
        name: name of the experiment.
        modality: modality of the model.
        seed: seed of the run.
        config_hash: hash of the configuration.
        git: git revision.
        throughput: callback that measures the training time.
        parent: checkpoint whose weights the training started from.

    Attributes:
        checkpoint: name of the tested checkpoint.
    """

    def __init__(
        self,
        path: Path,
        run_id: str,
        name: str,
        modality: str,
        seed: int,
        config_hash: str,
        git: str,
        throughput: Throughput,
        parent: str | None = None,
    ) -> None:
        self.path, self.run_id, self.name, self.modality, self.seed = path, run_id, name, modality, seed
        self.config_hash, self.git, self.throughput, self.parent = config_hash, git, throughput, parent
        self.checkpoint: str | None = None
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file, on process 0."""
        assert isinstance(pl_module, ConditionalELBO)
        evaluator = Evaluator.of(trainer)
        if not trainer.is_global_zero or not evaluator.results:
            return
        device = pl_module.device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
        )
        run = RunInfo(
            id=self.run_id,
            name=self.name,
            modality=self.modality,
            seed=self.seed,
            git=self.git,
            config_hash=self.config_hash,
            data_fingerprint="unknown" if pl_module.data is None else pl_module.data.fingerprint,
            started=self.started,
            seconds=round(self.throughput.seconds, 1),
            device=name,
            peak_memory_mb=round(peak_memory_mb(device), 1),
            parameters=sum(weight.numel() for weight in pl_module.parameters()),
            checkpoint=self.checkpoint,
            parent=self.parent,
            precision=str(trainer.precision),
            processes=trainer.world_size,
            threads=torch.get_num_threads(),
            versions=versions(),
        )
        columns: dict[str, Any] = {name: column.numpy() for name, column in evaluator.examples.items()}
        with written_whole(self.path.parent / EXAMPLES) as partial, partial.open("wb") as file:
            np.savez_compressed(file, **columns)
        results = Results(run, evaluator.results, evaluator.failed)
        results.write(self.path)
        for logger in trainer.loggers:
            if isinstance(logger, TakesResults):
                logger.log_results(results)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a run's figures."""
    torches = ("torch", "torchvision", "torchaudio", "lightning")
    packages = (*torches, "transformers", "tokenizers", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
