"""How a run is recorded: its configuration and revision, metrics.csv and Weights & Biases."""

import contextlib
import csv
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.loggers.logger import _DummyExperiment, rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning_utilities.core.rank_zero import rank_zero_warn

from common.paths import writing, written_whole
from common.training.run_folder import RunConfig

PLACES = ("run", "wandb")  # options of where a run is stored and logged
ARGUMENTS = ("ckpt_path", "config", "verbose", "weights_only", "return_predictions")  # of the subcommands
WAIT = 8.0  # seconds that W&B may take to reach its server at the start of a run,
UPLOAD = 60.0  # to upload the rest at its end,
PATIENCE = 20.0  # and for anything else: where its process hangs, W&B itself would wait for ever


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


def code_difference() -> str:
    """What has changed in the code since the revision of `git_revision`, as a patch; empty where nothing has."""
    try:
        command = ["git", "diff", "HEAD", "--", ":(top)", ":(top,exclude)docs", ":(top,exclude)*.md"]
        return subprocess.run(command, capture_output=True, text=True, check=True, errors="replace").stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def config_hash(config: dict[str, Any]) -> str:
    """Hash of what determines a run's outcome apart from its seed: all options but where it is stored and logged.

    It is the same for every subcommand. Options that are not set do not count, so that a new one changes no hash.
    """
    relevant = {key: value for key, value in config.items() if key not in (*PLACES, "seed_everything", *ARGUMENTS)}
    return hashlib.sha256(json.dumps(_set(relevant), sort_keys=True, default=str).encode()).hexdigest()[:12]


def _set(value: Any) -> Any:
    """Without the entries of dictionaries that are None."""
    if isinstance(value, dict):
        return {key: _set(entry) for key, entry in value.items() if entry is not None}
    return [_set(entry) for entry in value] if isinstance(value, list) else value


def loggers(folder: Path, run: RunConfig, modality: str, wandb: WandbConfig) -> list[Logger]:
    """metrics.csv in the run folder, and W&B with the same scalars."""
    chosen: list[Logger] = [MetricsCSV(folder)]
    if wandb.mode != "disabled":
        os.environ.setdefault("WANDB_SILENT", "true")
        chosen.append(
            WandbLog(
                folder,
                wandb.mode == "offline",
                name=f"{run.name}-{folder.name}",
                project=wandb.project,
                entity=wandb.entity,
                tags=wandb.tags or None,
                group=f"{modality}/{run.name}",
                job_type=modality,
            )
        )
    return chosen


def _spared(method: Callable[..., Any]) -> Any:
    """A method of W&B's logger that does nothing once W&B has failed, never raises, and never hangs."""

    @functools.wraps(method)
    def spared(self: "WandbLog", *args: Any, **options: Any) -> Any:
        begun = self._experiment is not None
        try:
            with _bounded(PATIENCE) if begun else contextlib.nullcontext():
                return None if self.failed else method(self, *args, **options)
        except Exception as error:
            return self.give_up(error)

    return spared


class WandbLog(WandbLogger):
    """W&B's log of a run. Where W&B fails, it says so once, and the run goes on without it.

    Args:
        folder: the run folder, whose name is the run's id.
        offline: whether logs are stored in the run folder alone. Where the server cannot be reached, they are as well.
        further: arguments of `wandb.init`.
    """

    def __init__(self, folder: Path, offline: bool, **further: Any) -> None:
        mode = {"mode": "offline"} if offline else {"resume": "allow"}  # a resumed or tested run continues under its id
        super().__init__(id=folder.name, save_dir=str(folder), **{"resume": None, **mode, **further})
        self._wandb_init.pop("anonymous", None)  # Lightning passes what W&B complains about
        self.failed = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """W&B's run, on process 0."""
        if self._experiment is None and not self.failed:
            from wandb import Settings

            self._wandb_init["settings"] = Settings(
                init_timeout=WAIT, login_timeout=WAIT, finish_timeout=UPLOAD, finish_timeout_raises=True
            )
            try:
                self._begin()
            except Exception as error:
                self.give_up(error)
        return _DummyExperiment() if self._experiment is None or self.failed else self._experiment

    def _begin(self) -> None:
        """Begins the run: online, or offline where the server cannot be reached."""
        try:
            _ = super().experiment
        except Exception as error:
            if self._wandb_init.get("mode") == "offline":
                raise
            _abandon()
            self._wandb_init |= {"mode": "offline", "resume": None}
            _ = super().experiment
            rank_zero_warn(
                f"W&B's server cannot be reached ({_line(error)}): the run is logged offline. To upload it: "
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
        rank_zero_warn(
            f"W&B has failed ({_line(error)}): the run goes on without it, {Path(str(self.save_dir)) / 'metrics.csv'} "
            f"has all figures. To upload what was logged before: {self._to_sync}",
            category=UserWarning,
        )
        _abandon()

    log_hyperparams = _spared(WandbLogger.log_hyperparams)
    log_metrics = _spared(WandbLogger.log_metrics)
    log_table = _spared(WandbLogger.log_table)
    log_image = _spared(WandbLogger.log_image)
    log_audio = _spared(WandbLogger.log_audio)
    log_video = _spared(WandbLogger.log_video)
    watch = _spared(WandbLogger.watch)
    after_save_checkpoint = _spared(WandbLogger.after_save_checkpoint)
    finalize = _spared(WandbLogger.finalize)


def _line(error: Exception) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _abandon() -> None:
    """Ends W&B's run and its process, which have failed; a later run begins anew."""
    import wandb

    run, wandb.run = wandb.run, None
    # Where the process is dead, `finish` fails before it leaves the standard output alone.
    ends = [wandb.teardown] if run is None else [run.finish, run._console_stop, wandb.teardown]
    for end in ends:
        with contextlib.suppress(Exception, SystemExit), _bounded(WAIT):
            end()


@contextlib.contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """A call of W&B that takes no longer: its process is killed then, and the call fails."""
    timer = threading.Timer(seconds, _process_of_wandb().kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _process_of_wandb() -> Any:
    """The process that W&B has started, which it keeps to itself; without one, something that can be killed in vain."""
    from wandb.sdk import wandb_setup

    connection = getattr(wandb_setup.singleton(), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    return process or SimpleNamespace(kill=lambda: None)


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

    @property
    def rows(self) -> int:
        """Number of rows so far; other processes than the first write none."""
        return self.experiment.rows if isinstance(self.experiment, _AppendingWriter) else 0

    def keep(self, rows: int) -> int:
        """Keeps the first rows alone, which precede a checkpoint; how many others there were."""
        every = self.experiment.read()
        self.experiment.rewrite(every[:rows])
        return max(len(every) - rows, 0)


class _AppendingWriter(_ExperimentWriter):
    rows = 0

    def _check_log_dir_exists(self) -> None:
        """Takes up an existing file, without a last line that was not written to its end."""
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
            self.rewrite(self.read())

    def read(self) -> list[dict[str, str]]:
        """The complete rows of the file."""
        path = Path(self.metrics_file_path)
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return list(csv.DictReader(whole.splitlines()))

    def rewrite(self, rows: list[dict[str, str]]) -> None:
        """Replaces the file by one of these rows."""
        self.rows = len(rows)
        if not self.metrics_keys:
            return
        with written_whole(Path(self.metrics_file_path)) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)

    def save(self) -> None:
        """Writes the rows that have been logged since."""
        new = len(self.metrics)
        with writing(Path(self.metrics_file_path)):
            super().save()
        self.rows += new

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self.rewrite(self.read())

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Does nothing: config.yaml holds the configuration."""


def finish_wandb() -> None:
    """Ends W&B's run of this process, if it has one: the next training would log into it."""
    wandb = sys.modules.get("wandb")
    if wandb is None or wandb.run is None:
        return
    folder = wandb.run.settings.sync_dir
    try:
        with _bounded(PATIENCE if wandb.run.offline else UPLOAD + WAIT):
            wandb.finish()
    except Exception as error:
        rank_zero_warn(
            f"W&B has failed at the end of the run ({_line(error)}). To upload what is missing: wandb sync {folder}",
            category=UserWarning,
        )
        _abandon()
