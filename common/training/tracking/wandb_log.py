"""W&B's log of a run."""

import contextlib
import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_warn

from common.evaluation.media_files import MediaFile
from common.lazy import pd
from common.results import Results
from common.training.tracking import wandb_process
from common.training.tracking.wandb_process import abandon, bounded, link, one_line, stage_in


def _spared(method: Callable[..., Any]) -> Any:
    """A method of W&B's logger that does nothing once W&B has failed, never raises, and never hangs."""

    @functools.wraps(method)
    def spared(self: "WandbLog", *args: Any, **options: Any) -> Any:
        begun = self._experiment is not None
        try:
            with bounded(wandb_process.PATIENCE) if begun else contextlib.nullcontext():
                return None if self.failed else method(self, *args, **options)
        except Exception as error:
            return self.give_up(error)

    return spared


class WandbLog(WandbLogger):
    """W&B's log of a run. Where W&B fails, it says so once, and the run goes on without it.

    All of a run is in its folder, artifacts to be uploaded included. A run that goes on or is tested again continues
    under its id; offline, each command writes a file of its own, and `wandb sync` joins those of one id.

    Args:
        folder: the run folder, whose name is the run's id, unless `$WANDB_RUN_ID` names one, as `wandb agent` does.
        offline: whether logs are stored in the run folder alone. Where the server cannot be reached, they are as well.
        links: folder of links to the logs of all runs, for `wandb leet`; None makes none.
        artifacts: whether checkpoint and data are recorded as artifacts.
        further: arguments of `wandb.init`.
    """

    def __init__(
        self, folder: Path, offline: bool, links: Path | None = None, artifacts: bool = False, **further: Any
    ) -> None:
        mode = {"mode": "offline"} if offline else {"resume": "allow"}
        own = os.environ.get("WANDB_RUN_ID", folder.name)
        super().__init__(id=own, save_dir=str(folder), **{"resume": None, **mode, **further})
        self._wandb_init.pop("anonymous", None)  # Lightning passes what W&B complains about
        self.links, self.artifacts = links, artifacts
        self.failed = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, on process 0."""
        if self._experiment is None and not self.failed:
            from wandb import Settings

            self._wandb_init["settings"] = Settings(
                init_timeout=wandb_process.WAIT,
                login_timeout=wandb_process.WAIT,
                finish_timeout=wandb_process.UPLOAD,
                finish_timeout_raises=True,
            )
            try:
                self._begin()
            except Exception as error:
                self.give_up(error)
        return _DummyExperiment() if self._experiment is None or self.failed else self._experiment

    def _begin(self) -> None:
        """Begins the run: online, or offline where the server cannot be reached."""
        stage_in(Path(str(self.save_dir)) / "wandb")
        self._begin_somewhere()
        experiment: Any = self._experiment
        experiment.define_metric("val/elbo", step_metric="trainer/global_step", summary="max,last")
        if self.links is not None:
            link(Path(experiment.settings.sync_dir), self.links)

    def _begin_somewhere(self) -> None:
        try:
            _ = super().experiment
        except Exception as error:
            if self._wandb_init.get("mode") == "offline":
                raise
            abandon()
            self._wandb_init |= {"mode": "offline", "resume": None}
            _ = super().experiment
            rank_zero_warn(
                f"W&B's server cannot be reached ({one_line(error)}): the run is logged offline. To upload it: "
                f"{self._to_sync}",
                category=UserWarning,
            )

    @property
    def _to_sync(self) -> str:
        """The command that uploads what has been logged."""
        settings = getattr(self._experiment, "settings", None)
        return f"wandb sync {getattr(settings, 'sync_dir', None) or Path(str(self.save_dir)) / 'wandb' / '*run-*'}"

    def give_up(self, error: Exception) -> None:
        """Goes on without W&B."""
        self.failed = True
        metrics = Path(str(self.save_dir)) / "metrics.csv"
        rank_zero_warn(
            f"W&B has failed ({one_line(error)}): the run goes on without it, {metrics} has all figures. "
            f"To upload what was logged before: {self._to_sync}",
            category=UserWarning,
        )
        abandon()

    @_spared
    def log_media(self, folder: Path, files: Sequence[MediaFile]) -> None:
        """Pictures as `media/<name>`, tables as `tables/<name>` and sounds as `sounds/<name>`, at their step."""
        import wandb

        for step in dict.fromkeys(file.step for file in files):
            row: dict[str, Any] = {}
            for file in files:
                if file.step == step:
                    path = folder / file.file
                    caption = f"{file.when}: {file.caption}" if file.caption else file.when
                    if file.kind == "table":
                        row[file.key] = wandb.Table(
                            dataframe=pd.read_csv(path, keep_default_na=False), allow_mixed_types=True
                        )
                    else:
                        kind = wandb.Image if file.kind == "picture" else wandb.Audio
                        row[file.key] = kind(str(path), caption=caption)
            WandbLogger.log_metrics(self, row, step)

    @_spared
    def log_results(self, results: Results) -> None:
        """The figures with their errors and numbers of examples, and what identifies the run, in the summary."""
        summary: dict[str, Any] = {f"run/{name}": value for name, value in asdict(results.run).items()}
        for name, figure in results.metrics.items():
            summary |= {name: figure.value, f"{name}/n": figure.n}
            if figure.stderr is not None:
                summary[f"{name}/stderr"] = figure.stderr
        self.experiment.summary.update(summary)

    @_spared
    def log_artifacts(self, checkpoint: Path, data: Mapping[str, Any]) -> None:
        """The checkpoint, and what identifies the data, as artifacts, where `artifacts` asks for them."""
        if not self.artifacts:
            return
        import wandb

        known = wandb.Artifact(f"data-{data['fingerprint']}", "dataset", metadata=dict(data))
        with known.new_file("data.json") as file:
            json.dump(dict(data), file, indent=2)
        self.experiment.log_artifact(known)
        model = wandb.Artifact(f"{self._wandb_init['id']}-{checkpoint.stem}", "model", metadata=dict(data))
        model.add_file(str(checkpoint))
        self.experiment.log_artifact(model)

    log_hyperparams = _spared(WandbLogger.log_hyperparams)
    log_metrics = _spared(WandbLogger.log_metrics)
    log_table = _spared(WandbLogger.log_table)
    log_image = _spared(WandbLogger.log_image)
    log_audio = _spared(WandbLogger.log_audio)
    log_video = _spared(WandbLogger.log_video)
    watch = _spared(WandbLogger.watch)
    after_save_checkpoint = _spared(WandbLogger.after_save_checkpoint)
    finalize = _spared(WandbLogger.finalize)
