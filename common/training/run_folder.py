"""The folder of a run: it belongs to one training, and no second one ever writes into it."""

import os
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_only

RUN_ID = "CVAE_SUITE_RUN_ID"  # environment variable through which the processes of one run agree on its id
TO_LOSE = ("checkpoints/*.ckpt", "results.json")  # what a run folder holds that a second training would replace


@dataclass
class RunConfig:
    """Where a run is stored: root / modality / name / id.

    Attributes:
        name: name of the experiment; runs that differ only in their seed share it.
        title: what a person calls the run, in dashboards; None is the name.
        root: folder of all runs.
        id: id of the run; None makes one from the date and time, or from the cluster's job.
        test: whether `fit` ends with a test of the saved checkpoint, which writes results.json.
        keep: which weights `best.ckpt` holds: those with the best validation ELBO, or the last ones, for trainings
            that deliberately sacrifice some ELBO (free bits, warm starts, terms beside the ELBO).
        save_minutes: minutes between two saves of last.ckpt; it is also saved after each validation and at the end.
    """

    name: str = "default"
    title: str | None = None
    root: Path = Path("runs")
    id: str | None = None
    test: bool = True
    keep: Literal["best", "last"] = "best"
    save_minutes: float = 10.0


def new_folder(run: RunConfig, modality: str) -> Path:
    """The folder of a new run, the same in every process of the run.

    Raises:
        ValueError: if its name or id leads out of the root.
    """
    for option, name in (("name", run.name), ("id", run.id)):
        if name is not None and (not name or Path(name).is_absolute() or ".." in Path(name).parts):
            raise ValueError(f"run.{option} {name!r} is no name of a folder below run.root")
    return Path(run.root) / modality / run.name / (run.id or _new_id())


def _new_id() -> str:
    """An id from the launcher where it starts several processes, otherwise from date and time."""
    inherited = os.environ.get(RUN_ID)
    if inherited and "LOCAL_RANK" in os.environ:  # a process that Lightning started for this run
        return inherited
    launched = _launched_id()
    if launched is not None:
        return launched
    job = f"slurm-{os.environ['SLURM_JOB_ID']}-" if "SLURM_JOB_ID" in os.environ else ""
    identity = f"{job}{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    os.environ[RUN_ID] = identity
    return identity


def _launched_id() -> str | None:
    """An id that processes started together (torchrun, srun) can derive without communication."""
    if int(os.environ.get("SLURM_NTASKS") or 1) > 1 and "SLURM_PROCID" in os.environ:
        return _step_of_slurm() + (f"-{restarts()}" if restarts() else "")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        name = os.environ["TORCHELASTIC_RUN_ID"]
        return f"torchrun-{name}" if name != "none" else f"torchrun-{os.getppid()}"
    return None


def _step_of_slurm() -> str:
    """An id that the processes of one step of a job share."""
    step = os.environ.get("SLURM_STEP_ID") or os.environ.get("SLURM_STEPID") or "0"
    return f"slurm-{os.environ.get('SLURM_JOB_ID', 'job')}.{step}"


def restarts() -> int:
    """How often SLURM has put the present job into the queue again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0) if "SLURM_JOB_ID" in os.environ else 0


def unfinished(run: RunConfig, modality: str) -> list[Path]:
    """`last.ckpt` of each run that the present job of SLURM has begun and not finished, the newest first."""
    if run.id:  # the job's own: where another run had it, the job would have been refused at its first start
        own = re.escape(run.id)
    elif int(os.environ.get("SLURM_NTASKS") or 1) > 1:
        own = re.escape(_step_of_slurm()) + r"(-\d+)?"
    else:
        own = re.escape(f"slurm-{os.environ['SLURM_JOB_ID']}-") + ".*"
    folders = (Path(run.root) / modality / run.name).glob("*")
    found = [folder / "checkpoints" / "last.ckpt" for folder in folders if re.fullmatch(own, folder.name)]
    found = [path for path in found if path.exists() and not (path.parents[1] / "results.json").exists()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def forget_id() -> None:
    """Ends the present run for this process: a next one in the same process gets an id of its own."""
    os.environ.pop(RUN_ID, None)


def folder_of(checkpoint: Path) -> Path | None:
    """The run folder that a checkpoint lies in, or None."""
    parent = checkpoint.resolve().parent
    return parent.parent if parent.name == "checkpoints" else None


def own_folder(checkpoint: Path, run: RunConfig, explicit: Collection[str]) -> Path | None:
    """The folder of a checkpoint's run, which a resumed training continues; None if it lies in no run folder.

    Args:
        checkpoint: the checkpoint.
        run: the configured place.
        explicit: which of `root`, `name` and `id` a person gave on the command line.

    Raises:
        ValueError: if one of these names another run.
    """
    folder = folder_of(checkpoint)
    if folder is None:
        return None
    stored = {"id": folder.name, "name": folder.parent.name, "root": str(folder.parents[2])}
    wanted = {"id": str(run.id), "name": run.name, "root": str(Path(run.root).resolve())}
    for name in explicit:
        if stored[name] != wanted[name]:
            raise ValueError(
                f"{checkpoint} belongs to the run {folder}, but --run.{name} is {wanted[name]}: a resumed training "
                "continues its own run. Leave the option out, or start a run of its own with --weights in place of "
                "--ckpt_path"
            )
    return folder


def checkpoint_by_name(which: str, run: RunConfig, modality: str) -> Path:
    """`last` or `best` of the run with `run.id`, or of the newest run of that name.

    Raises:
        FileNotFoundError: if there is none.
    """
    parent = Path(run.root) / modality / run.name
    found = sorted(parent.glob(f"{run.id or '*'}/checkpoints/{which}.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(
            f"{parent / (run.id or '*')} holds no checkpoints/{which}.ckpt: give --run.name, --run.id or --run.root"
        )
    return found[-1]


class Claim:
    """Holds a run folder for one training, until `release` or the end of the process.

    Args:
        folder: the run folder, which is made.
        fresh: whether a new run begins; it takes no folder in which a run has left checkpoints or results.

    Raises:
        ValueError: if another process trains in the folder, or a run has left something in it.
    """

    def __init__(self, folder: Path, fresh: bool) -> None:
        self._lock: FileLock | None = None
        if getattr(rank_zero_only, "rank", 0) != 0:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / ".training.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"{folder} is being trained by another process: wait for it, or give another --run.id"
            ) from None
        left = [path for pattern in TO_LOSE for path in folder.glob(pattern)] if fresh else []
        if left:
            self.release()
            # A training that was killed in its first save may have left best.ckpt alone.
            saved = [path for name in ("last", "best") if (path := folder / "checkpoints" / f"{name}.ckpt").exists()]
            remedy = f"go on with it by --ckpt_path {saved[0]}, or give" if saved else "give"
            raise ValueError(f"{folder} is another run's ({left[0].relative_to(folder)}): {remedy} another --run.id")
        if fresh and (folder / "metrics.csv").exists():
            rank_zero_info(f"{folder} has metrics of a run that ended before its first checkpoint: they are deleted")
            (folder / "metrics.csv").unlink()

    def release(self) -> None:
        """Lets others have the folder."""
        if self._lock is not None:
            self._lock.release()  # the file stays: deleting it would let two in
            self._lock = None
