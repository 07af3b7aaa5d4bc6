"""MLflow's log of a run."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger
from lightning_utilities.core.rank_zero import rank_zero_only

from common.evaluation.media_files import MediaFile
from common.results import Results

DATABASE = "mlflow.db"
IDENTITY = "mlflow_run.txt"  # MLflow gives each run an id of its own: a run that goes on needs it


class MLflowLog(MLFlowLogger):
    """A run of MLflow, on the server of `$MLFLOW_TRACKING_URI`, or else in the file `mlflow.db` beside all runs.

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

    @rank_zero_only
    def log_media(self, folder: Path, files: Sequence[MediaFile]) -> None:
        """The files as artifacts in `media`, `tables` and `sounds`."""
        places = {"picture": "media", "table": "tables", "sound": "sounds"}
        for file in files:
            self.experiment.log_artifact(self.run_id, str(folder / file.file), places[file.kind])

    @rank_zero_only
    def log_results(self, results: Results) -> None:
        """The errors of the figures as metrics, and what identifies the run as tags."""
        for name, value in asdict(results.run).items():
            self.experiment.set_tag(self.run_id, name, str(value))
        self.log_metrics({f"{n}/stderr": f.stderr for n, f in results.metrics.items() if f.stderr is not None})

    @rank_zero_only
    def log_artifacts(self, checkpoint: Path, data: Mapping[str, Any]) -> None:
        """The checkpoint and what identifies the data, where `artifacts` asks for them."""
        if self._artifacts:
            self.experiment.log_artifact(self.run_id, str(checkpoint), "checkpoints")
            self.experiment.log_dict(self.run_id, dict(data), "data.json")
