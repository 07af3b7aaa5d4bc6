"""Where a run is stored and logged: the run folder, metrics.csv and Weights & Biases."""

import csv
import hashlib
import json
import os
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

RUN_ID = "CVAE_SUITE_RUN_ID"  # environment variable through which the processes of one run agree on its id


@dataclass
class RunConfig:
    """Where a run is stored: root / modality / name / id.

    Attributes:
        name: name of the experiment; runs that differ only in their seed share it.
        root: folder of all runs.
        id: id of the run; None makes one from the cluster's job or the date and time.
        test: whether `fit` ends with a test of the saved checkpoint, which writes results.json.
        keep: which weights `best.ckpt` holds: those with the best validation ELBO, or the last ones, for trainings
            that deliberately sacrifice some ELBO (free bits, warm starts, terms beside the ELBO).
    """

    name: str = "default"
    root: Path = Path("runs")
    id: str | None = None
    test: bool = True
    keep: Literal["best", "last"] = "best"


@dataclass
class WandbConfig:
    """Weights & Biases.

    Attributes:
        mode: offline stores logs in the run folder (`wandb sync` uploads them), online uploads them, disabled has none.
        project: project of the runs.
        entity: account or team; None is the account's default.
        tags: tags of the run.
    """

    mode: Literal["offline", "online", "disabled"] = "offline"
    project: str = "cvae-suite"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)


def run_folder(run: RunConfig, modality: str, checkpoint: str | Path | None) -> Path:
    """The folder of this run, decided once: every process of the run gets the same.

    A checkpoint inside a run folder continues that run. Otherwise the id is the given one, or a new one that child
    processes inherit through the environment.
    """
    if checkpoint and Path(checkpoint).resolve().parent.name == "checkpoints" and run.id is None:
        return Path(checkpoint).resolve().parent.parent
    identity = run.id or os.environ.get(RUN_ID) or _cluster_id()
    if identity is None:
        identity = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        os.environ[RUN_ID] = identity
    return run.root / modality / run.name / identity


def _cluster_id() -> str | None:
    """An id that processes started together (torchrun, SLURM) can derive without communication."""
    if "SLURM_JOB_ID" in os.environ and "SLURM_PROCID" in os.environ:
        return f"slurm-{os.environ['SLURM_JOB_ID']}"
    if "TORCHELASTIC_RUN_ID" in os.environ:
        name = os.environ["TORCHELASTIC_RUN_ID"]
        return f"torchrun-{name}" if name != "none" else f"torchrun-{os.getppid()}"
    return None


def git_revision() -> str:
    """Revision of the working directory's repository, `unknown` outside one.

    It ends in `-dirty` where files have changed, other than the documents that a table's results are written into.
    """
    code = [":(top)", ":(top,exclude)docs", ":(top,exclude)*.md"]
    try:
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        revision = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *code], capture_output=True, check=False)
        return revision + ("-dirty" if changed.returncode else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def config_hash(config: dict[str, Any]) -> str:
    """Hash of what determines a run's outcome apart from its seed: all options except `run`, `wandb` and the seed."""
    ignored = {"run", "wandb", "seed_everything", "ckpt_path", "config"}
    relevant = {key: value for key, value in config.items() if key not in ignored}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True, default=str).encode()).hexdigest()[:12]


def loggers(folder: Path, run: RunConfig, modality: str, wandb: WandbConfig) -> list[Logger]:
    """metrics.csv in the run folder, and W&B with the same scalars."""
    chosen: list[Logger] = [MetricsCSV(folder)]
    if wandb.mode != "disabled":
        offline = wandb.mode == "offline"
        os.environ.setdefault("WANDB_SILENT", "true")
        chosen.append(
            WandbLogger(
                name=f"{run.name}-{folder.name}",
                id=folder.name,
                save_dir=str(folder),
                offline=offline,
                project=wandb.project,
                entity=wandb.entity,
                tags=wandb.tags or None,
                group=f"{modality}/{run.name}",
                job_type=modality,
                resume=None if offline else "allow",  # a resumed or tested run continues under its id
            )
        )
    return chosen


class MetricsCSV(CSVLogger):
    """Lightning's CSVLogger, which writes metrics.csv directly into a folder and appends to an existing file.

    Lightning's own deletes the file when a run is resumed or tested.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    def log_dir(self) -> str:
        """The folder itself."""
        return os.fspath(self._root_dir)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, on process 0."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir)
        return self._experiment


class _AppendingWriter(_ExperimentWriter):
    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Does nothing: config.yaml holds the configuration."""
