"""Runs the missing cells of a table, wherever an executor has them run."""

import fcntl
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from common.comparison.shared_training import taken_from, training_of
from common.comparison.specification import Cell, data_fingerprint
from common.executors.executor import Executor, Lost, Share, StoppedError
from common.executors.training import STOPPED, training
from common.results import EXAMPLES, Results

LOG = "log.txt"
FAILURE = "failure.json"
LOCK = "lock"


@dataclass(frozen=True)
class State:
    """The state of a cell.

    Attributes:
        status: finished, missing, failed, damaged (results.json cannot be read), or stale (its data has changed).
        results: results of a finished cell.
        reason: why there are no results.
    """

    status: Literal["finished", "missing", "failed", "damaged", "stale"]
    results: Results | None = None
    reason: str = ""


def state(cell: Cell, fingerprint: str | None = None) -> State:
    """The state of a cell, read from its folder.

    Args:
        cell: one run of a table.
        fingerprint: present fingerprint of its data; None skips the check.
    """
    path = cell.folder / "results.json"
    if path.exists():
        try:
            results = Results.read(path)
        except ValueError as error:
            return State("damaged", reason=str(error))
        if fingerprint is not None and results.run.data_fingerprint != fingerprint:
            former = results.run.data_fingerprint
            return State("stale", reason=f"{path} was made from other data ({former}, now {fingerprint})")
        return State("finished", results)
    if (cell.folder / FAILURE).exists():
        return State("failed", reason=json.loads((cell.folder / FAILURE).read_text())["reason"])
    return State("missing")


def with_others(run: dict[Cell, State], cells: list[Cell]) -> dict[Cell, State]:
    """The states of all cells, of which some were run now.

    The others are as they are found, and stale where a cell of the same data that was run now has found other data.
    """
    today = {
        cell.data: reached.results.run.data_fingerprint
        for cell, reached in run.items()
        if reached.results is not None and cell.data is not None
    }
    return {cell: run.get(cell) or state(cell, today.get(cell.data or ())) for cell in cells}


def run(cell: Cell, share: Share, alone: bool = False) -> State:
    """Runs a cell in its own process, whose output goes to log.txt in its folder.

    A cell that was killed continues from its last checkpoint, and one that is trained as a finished run beside it was
    takes over its training. One that fails writes failure.json. A folder is locked by one process at a time: where
    another one is running the cell, this waits for it and takes its results.

    Args:
        cell: the cell to run.
        share: what it may use.
        alone: whether it takes over no training.

    Raises:
        StoppedError: if a cluster has stopped the training.
    """
    with _locked(cell) as lock:
        present = state(cell)
        return present if present.status == "finished" else run_locked(cell, share, lock, alone)


@contextmanager
def _locked(cell: Cell) -> Iterator[int]:
    """The descriptor of the lock of a cell's folder, which one process has at a time; the others wait."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    with (cell.folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def run_locked(cell: Cell, share: Share, lock: int, alone: bool = False) -> State:
    """Runs a cell whose folder is locked. Its process inherits the lock and holds it even if this one is killed."""
    for name in (FAILURE, "results.json", EXAMPLES):
        (cell.folder / name).unlink(missing_ok=True)
    command = [sys.executable, *cell.command]
    if cell.data is not None and (checkpoint := training_of(cell, alone)):
        command += ["--ckpt_path", str(checkpoint)]
    with training(command, cell.folder / LOG, share, lock) as process:
        code = process.wait()
    if share.remote and code in STOPPED:
        raise StoppedError("it was stopped by SIGTERM")
    reached = state(cell)
    if code == 0 and reached.status == "finished":
        return reached
    lines = (cell.folder / LOG).read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    last_line = lines[-1] if lines else "no output"
    reason = f"exit status {code}: {last_line[:200]} (see {cell.folder / LOG})"
    (cell.folder / FAILURE).write_text(json.dumps({"reason": reason}))
    return State("failed", reason=reason)


def delete_run(cell: Cell) -> None:
    """Deletes what is in a cell's folder but its lock; where another process is running the cell, this waits for it."""
    if not cell.folder.exists():
        return
    with _locked(cell):
        for path in cell.folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()


def run_missing(cells: list[Cell], executor: Executor, fresh: bool, log: Callable[[str], None]) -> dict[Cell, State]:
    """Runs every cell without results from the present data, and logs the outcome of each.

    Args:
        cells: the cells of a table.
        executor: where they run.
        fresh: deletes all results and runs every cell again, each with a training of its own.
        log: receives lines of progress.
    """
    states: dict[Cell, State] = {}
    todo = []
    for cell in cells:
        if fresh:
            delete_run(cell)
        has_results = (cell.folder / "results.json").exists()
        present = state(cell, data_fingerprint(cell.data) if has_results else None)
        states[cell] = present
        if present.status == "finished":
            continue
        if present.reason:
            log(f"{cell}: {present.status}: {present.reason}; running it again")
        if present.status == "stale":
            delete_run(cell)
        todo.append(cell)
    log(f"{len(cells) - len(todo)} of {len(cells)} runs are finished, {len(todo)} to go")
    for count, (cell, outcome) in enumerate(executor(todo, partial(run, alone=fresh)), 1):
        reached = State("failed", reason=outcome.reason) if isinstance(outcome, Lost) else outcome
        states[cell] = reached
        took = f": {reached.reason}"
        if reached.results:
            seconds = f"{reached.results.run.seconds:.0f} s of training"
            source = taken_from(cell)
            took = f" ({seconds}{'' if source is None else f', taken over from {source}'})"
        log(f"[{count}/{len(todo)}] {cell}: {reached.status}{took}")
    return states
