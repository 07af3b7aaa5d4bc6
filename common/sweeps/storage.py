"""The trials of a sweep, in its folder: reserved one by one, and taken up again where a worker was killed.

SQLite holds them, through Optuna. The system gives back the locks of a process that is killed, and a transaction is
whole or has not been; Optuna's journal file keeps the lock of a killed process for half a minute. A trial belongs to
the process that holds the lock of its run folder: a worker and the training that it has started. A trial that is
running and whose lock is free was left by a killed worker.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.paths import written_whole
from common.sweeps.extra import optuna
from common.sweeps.proposals import proposal
from common.sweeps.space import options, space
from common.sweeps.specification import EarlyTerminate, Sweep

TRIALS = "trials.sqlite"
SPECIFICATION = "sweep.json"
LOCK = "lock"
PATIENCE = 120  # seconds that a transaction waits for another process's
STUDY = "sweep"
# What a trial stores beside its options and figures.
REASON, SECONDS, PRUNED = "reason", "seconds", "pruned"

State = optuna.trial.TrialState
ENDED = {State.COMPLETE: "finished", State.PRUNED: "pruned", State.FAIL: "failed"}


@dataclass(frozen=True)
class Reserved:
    """A trial that this process alone may run, until it closes the lock.

    Attributes:
        trial: Optuna's trial.
        number: its number.
        options: dotted option -> value.
        folder: its run folder.
        lock: descriptor of the folder's lock.
        again: whether a killed worker had begun it.
    """

    trial: optuna.Trial
    number: int
    options: dict[str, Any]
    folder: Path
    lock: int
    again: bool

    def close(self) -> None:
        """Gives up the lock; a training that holds it goes on."""
        os.close(self.lock)


def study_of(folder: Path, sweep: Sweep | None = None) -> optuna.Study:
    """The trials in a sweep's folder; with its specification, they are made where there are none.

    Raises:
        ValueError: if there is no sweep in the folder.
    """
    if sweep is None and not (folder / TRIALS).exists():
        raise ValueError(f"{folder} holds no sweep: run it first (sweep.py run)")
    engine = {"connect_args": {"timeout": PATIENCE}}
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / TRIALS}", engine_kwargs=engine)
    # Draws are made by `proposal`; this sampler does nothing when a trial is taken up.
    chosen: dict[str, Any] = {"sampler": optuna.samplers.RandomSampler()}
    if sweep is None:
        return optuna.load_study(study_name=STUDY, storage=storage, **chosen)
    chosen["pruner"] = pruner(sweep.early_terminate)
    return optuna.create_study(
        study_name=STUDY, storage=storage, direction=sweep.metric.goal, load_if_exists=True, **chosen
    )


def pruner(early: EarlyTerminate | None) -> optuna.pruners.BasePruner:
    """Optuna's pruner."""
    if early is None:
        return optuna.pruners.NopPruner()
    if early.type == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=early.min_iter)
    return optuna.pruners.HyperbandPruner(early.min_iter, early.max_iter or "auto", early.eta)


def begin(folder: Path, sweep: Sweep) -> None:
    """Makes a sweep's folder, or compares the specification with that of the trials that are in it.

    Raises:
        ValueError: if the specification has changed, naming what.
    """
    identity = json.loads(json.dumps(sweep.identity()))
    with locked(folder):
        path = folder / SPECIFICATION
        if not path.exists():
            with written_whole(path) as partial:
                partial.write_text(json.dumps(identity, indent=1) + "\n")
        before = json.loads(path.read_text())
        changed = [name for name in {**before, **identity} if before.get(name) != identity.get(name)]
        if changed:
            named = "; ".join(f"{name} was {before.get(name)}, is {identity.get(name)}" for name in changed[:3])
            raise ValueError(
                f"{sweep.path} is not the sweep that {folder} was begun with: {named}. Give it another file name or "
                "--root, or delete the folder"
            )
        study_of(folder, sweep)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lets one process of the sweep in at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_folder(folder: Path, modality: str, number: int) -> Path:
    """The run folder of a trial: a training's is root / modality / name / id."""
    return folder / modality / folder.name / f"trial-{number:03d}"


def reserve(folder: Path, sweep: Sweep, most: int | None) -> Reserved | Literal["wait", "done"]:
    """A trial for this process: one that a killed worker has left, or else a new one.

    `wait` where the trials that are left are being run by others, one of which may yet be killed; `done` where there
    will be no more.

    Args:
        folder: the sweep's folder.
        sweep: its specification.
        most: most trials; None for all combinations.
    """
    parts = space(sweep)
    with locked(folder):
        study = study_of(folder, sweep)
        running = study.get_trials(deepcopy=False, states=[State.RUNNING])
        for frozen in running:
            lock = _lock(run_folder(folder, sweep.modality, frozen.number))
            if lock is None:
                continue
            if study.get_trials(deepcopy=False)[frozen.number].state == State.RUNNING:
                return _reserved(folder, sweep, study, frozen, lock, again=True)
            os.close(lock)  # its worker has told its outcome since
        count = len(study.get_trials(deepcopy=False))
        points = proposal(sweep, parts, study) if most is None or count < most else None
        if points is None:
            return "wait" if running else "done"
        lock = _lock(run_folder(folder, sweep.modality, count))
        if lock is None:
            raise ValueError(f"{run_folder(folder, sweep.modality, count)} is used by another process: end it")
        distributions = {name: part.distribution() for name, part in parts.items()}
        # One transaction: a trial is there with all of its options, or is not.
        study.add_trial(optuna.trial.create_trial(state=State.RUNNING, params=points, distributions=distributions))
        return _reserved(folder, sweep, study, study.get_trials(deepcopy=False)[count], lock, again=False)


def _reserved(
    folder: Path, sweep: Sweep, study: optuna.Study, frozen: optuna.trial.FrozenTrial, lock: int, again: bool
) -> Reserved:
    chosen = options(space(sweep), frozen.params)
    trial = optuna.Trial(study, frozen._trial_id)
    return Reserved(trial, frozen.number, chosen, run_folder(folder, sweep.modality, frozen.number), lock, again)


def _lock(run: Path) -> int | None:
    """The lock of a run folder, which is made; None where another process holds it."""
    run.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def is_held(run: Path) -> bool:
    """Whether a process is running the trial of a run folder."""
    try:
        with (run / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def state_of(trial: optuna.trial.FrozenTrial, run: Path) -> str:
    """finished, pruned, failed, running, or stopped: a trial that a killed worker has left."""
    return ENDED.get(trial.state) or ("running" if is_held(run) else "stopped")
