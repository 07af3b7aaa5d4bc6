"""MLflow's log of a run."""

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning_utilities.core.rank_zero import rank_zero_only, rank_zero_warn

from common.evaluation.media_files import MediaFile
from common.results import Results
from common.training.tracking.wandb_process import one_line

DATABASE = "mlflow.db"
IDENTITY = "mlflow_run.txt"  # MLflow gives each run an id of its own: a run that goes on needs it


def _spared(method: Callable[..., Any]) -> Any:
    """A method of MLflow's logger, on process 0, that does nothing once MLflow has failed, and never raises."""

    @functools.wraps(method)
    def spared(self: "MLflowLog", *args: Any, **options: Any) -> Any:
        try:
            elsewhere = getattr(rank_zero_only, "rank", 0) != 0
            return None if self.failed or elsewhere else method(self, *args, **options)
        except Exception as error:
            self.failed = True
            rank_zero_warn(
                f"MLflow has failed ({one_line(error)}): the run goes on without it, {self.folder / 'metrics.csv'} has "
                "all figures",
                category=UserWarning,
            )

    return spared


class MLflowLog(MLFlowLogger):
    """A run of MLflow, on the server of `$MLFLOW_TRACKING_URI`, or else in the file `mlflow.db` beside all runs.

    Where MLflow fails, it says so once, and the run goes on without it.

    Args:
        folder: the run folder.
        root: folder of all runs.
        experiment: name of the experiment.
        name: name of the run.
        artifacts: whether the checkpoint is an artifact.
    """

    def __init__(self, folder: Path, root: Path, experiment: str, name: str, artifacts: bool = False) -> None:
        server = os.environ.get("MLFLOW_TRACKING_URI")
        root.mkdir(parents=True, exist_ok=True)
        place = server or f"sqlite:///{(root / DATABASE).resolve()}"
        files = None if server else (root / "mlflow").resolve().as_uri()
        self.folder, self.failed = folder, False
        self._identity = folder / IDENTITY
        known = self._identity.read_text().strip() if self._identity.exists() else None
        super().__init__(experiment, name, place, artifact_location=files, run_id=known)
        self._artifacts = artifacts

    @property
    def run_id(self) -> str | None:
        """The id of the run, which is kept in the run folder."""
        identity = super().run_id
        if identity and not self._identity.exists():
            self._identity.parent.mkdir(parents=True, exist_ok=True)
            self._identity.write_text(f"{identity}\n")
        return identity

    @_spared
    def log_media(self, folder: Path, files: Sequence[MediaFile]) -> None:
        """The files as artifacts in `media`, `tables` and `sounds`."""
        for file in files:
            self.experiment.log_artifact(self.run_id, str(folder / file.file), file.group)

    @_spared
    def log_results(self, results: Results) -> None:
        """The errors of the figures as metrics, and what identifies the run as tags."""
        for name, value in asdict(results.run).items():
            self.experiment.set_tag(self.run_id, name, str(value))
        MLFlowLogger.log_metrics(
            self, {f"{n}/stderr": f.stderr for n, f in results.metrics.items() if f.stderr is not None}
        )

    @_spared
    def log_artifacts(self, checkpoint: Path, data: Mapping[str, Any]) -> None:
        """The checkpoint and what identifies the data, where `artifacts` asks for them."""
        if self._artifacts:
            self.experiment.log_artifact(self.run_id, str(checkpoint), "checkpoints")
            self.experiment.log_dict(self.run_id, dict(data), "data.json")

    log_hyperparams = _spared(MLFlowLogger.log_hyperparams)
    log_metrics = _spared(MLFlowLogger.log_metrics)
    finalize = _spared(MLFlowLogger.finalize)
