"""The loggers of a run, by name."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lightning.pytorch.loggers import Logger

from common.training.run_folder import RunConfig
from common.training.tracking.metrics_csv import MetricsCSV
from common.training.tracking.wandb_log import WandbLog

Name = Literal["wandb", "tensorboard", "mlflow", "csv", "none"]
Mode = Literal["offline", "online", "disabled"]
OLD_MODES: dict[str, Mode] = {"dryrun": "offline", "run": "online"}
LINKS = "wandb"  # folder below `run.root` with a link to the log of each run, for `wandb leet`


@dataclass
class WandbConfig:
    """Weights & Biases.

    Attributes:
        mode: offline stores logs in the run folder (`wandb sync` uploads them), online uploads them, disabled has none;
            None obeys $WANDB_MODE, or else is offline.
        project: project of the runs; None obeys $WANDB_PROJECT, or else is cvae-suite.
        entity: account or team; None obeys $WANDB_ENTITY, or else is the account's default.
        group: group of the run; None obeys $WANDB_RUN_GROUP, or else is the modality and the name of the run.
        tags: tags of the run, beside those of $WANDB_TAGS.
        artifacts: records best.ckpt, and fingerprint and sizes of the data, as artifacts (also of MLflow).
    """

    mode: Mode | None = None
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    artifacts: bool = False

    @property
    def chosen_mode(self) -> Mode:
        """The mode.

        Raises:
            ValueError: if $WANDB_MODE is none.
        """
        if self.mode is not None:
            return self.mode
        named = os.environ.get("WANDB_MODE", "offline")
        mode = OLD_MODES.get(named, named)
        if mode not in ("offline", "online", "disabled"):
            raise ValueError(f"$WANDB_MODE is {named!r}: it can be offline, online or disabled")
        return mode  # type: ignore[return-value]


@dataclass(frozen=True)
class Recorded:
    """What loggers say of a run.

    Attributes:
        folder: the run folder.
        run: where it is stored, and what it is called.
        modality: modality of the model.
        seed: seed of the run.
    """

    folder: Path
    run: RunConfig
    modality: str
    seed: int

    @property
    def title(self) -> str:
        """What a person would call the run."""
        return f"{self.run.title or self.run.name}, seed {self.seed}"


def loggers(names: Sequence[Name], recorded: Recorded, wandb: WandbConfig) -> list[Logger]:
    """metrics.csv in the run folder, and the named loggers with the same scalars; W&B where none is named.

    Raises:
        ModuleNotFoundError: if the package of one is missing; the message names the extra.
    """
    makers: dict[str, Callable[[Recorded, WandbConfig], Logger]]
    makers = {"wandb": _wandb, "tensorboard": _tensorboard, "mlflow": _mlflow}
    chosen = [name for name in dict.fromkeys(names or ["wandb"]) if name in makers]
    if "wandb" in chosen and wandb.chosen_mode == "disabled":
        chosen.remove("wandb")
    return [MetricsCSV(recorded.folder), *(makers[name](recorded, wandb) for name in chosen)]


def _wandb(recorded: Recorded, wandb: WandbConfig) -> Logger:
    os.environ.setdefault("WANDB_SILENT", "true")
    named = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",")]
    return WandbLog(
        recorded.folder,
        wandb.chosen_mode == "offline",
        links=Path(recorded.run.root) / LINKS,
        artifacts=wandb.artifacts,
        name=os.environ.get("WANDB_NAME") or recorded.title,
        project=wandb.project or os.environ.get("WANDB_PROJECT") or "cvae-suite",
        entity=wandb.entity,
        tags=[tag for tag in dict.fromkeys([*wandb.tags, *named]) if tag] or None,
        group=wandb.group or os.environ.get("WANDB_RUN_GROUP") or f"{recorded.modality}/{recorded.run.name}",
        job_type=os.environ.get("WANDB_JOB_TYPE") or recorded.modality,
    )


def _tensorboard(recorded: Recorded, wandb: WandbConfig) -> Logger:
    _need("tensorboard", "tensorboard")
    from common.training.tracking.tensorboard_log import TensorBoardLog

    return TensorBoardLog(recorded.folder)


def _mlflow(recorded: Recorded, wandb: WandbConfig) -> Logger:
    _need("mlflow", "mlflow")
    from common.training.tracking.mlflow_log import MLflowLog

    experiment = f"{recorded.modality}/{recorded.run.name}"
    return MLflowLog(recorded.folder, Path(recorded.run.root), experiment, recorded.title, wandb.artifacts)


def _need(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"the logger {extra} needs {package}: pip install --editable '.[{extra}]'")
