"""Running the cells of a table: what is missing, side by side, on this machine or on a Ray cluster."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch

from common.comparison.specification import Cell
from common.data.from_config import data_from_options
from common.results import Results

LOG = "log.txt"
FAILURE = "failure.json"
LOCK = "lock"


@dataclass(frozen=True)
class State:
    """What is known of a cell.

    Attributes:
        status: finished, missing, failed, damaged (results.json cannot be read), or stale (its data has changed).
        results: of a finished cell.
        reason: why there are none.
    """

    status: Literal["finished", "missing", "failed", "damaged", "stale"]
    results: Results | None = None
    reason: str = ""


def state(cell: Cell, fingerprint: str | None = None) -> State:
    """What the cell's folder holds.

    Args:
        cell: one run of a table.
        fingerprint: of its data today; None does not ask.
    """
    path = cell.folder / "results.json"
    if path.exists():
        try:
            results = Results.read(path)
        except ValueError as error:
            return State("damaged", reason=str(error))
        if fingerprint is not None and results.run.data_fingerprint != fingerprint:
            was = results.run.data_fingerprint
            return State("stale", reason=f"{path} was made from other data ({was}, now {fingerprint})")
        return State("finished", results)
    if (cell.folder / FAILURE).exists():
        return State("failed", reason=json.loads((cell.folder / FAILURE).read_text())["reason"])
    return State("missing")


@cache
def data_fingerprint(data: tuple[str, ...] | None) -> str | None:
    """Fingerprint of the data that a cell's options name; None for a command of its own."""
    if data is None:
        return None
    return str(data_from_options(data).fingerprint)


def run(cell: Cell, threads: int) -> State:
    """Runs a cell in a process of its own; its output goes to log.txt in its folder.

    A cell that was killed goes on from its last checkpoint. One that fails leaves failure.json. A folder belongs to one
    process at a time: where another one is at work, this waits for it and takes its results.

    Args:
        cell: what to run.
        threads: CPU threads that it may use.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    with (cell.folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = state(cell)
        return found if found.status == "finished" else run_alone(cell, threads, lock.fileno())


def run_alone(cell: Cell, threads: int, lock: int) -> State:
    """Runs a cell whose folder is locked. Its process inherits the lock, and so keeps it where this one is killed."""
    for name in (FAILURE, "results.json"):
        (cell.folder / name).unlink(missing_ok=True)
    command = [sys.executable, *cell.command]
    last = cell.folder / "checkpoints" / "last.ckpt"
    if cell.data is not None and last.exists():
        command += ["--ckpt_path", str(last)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with (cell.folder / LOG).open("ab") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock], check=False
        ).returncode
    found = state(cell)
    if code == 0 and found.status == "finished":
        return found
    lines = (cell.folder / LOG).read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    said = lines[-1] if lines else "no output"
    reason = f"exit status {code}: {said[:200]} (see {cell.folder / LOG})"
    (cell.folder / FAILURE).write_text(json.dumps({"reason": reason}))
    return State("failed", reason=reason)


def forget(cell: Cell) -> None:
    """Deletes what a cell left."""
    shutil.rmtree(cell.folder, ignore_errors=True)


Executor = Callable[[list[Cell]], Iterator[tuple[Cell, State]]]


def local(parallel: int) -> Executor:
    """Runs cells on this machine, `parallel` at a time, which share the threads of this process."""
    threads = max(1, torch.get_num_threads() // parallel)

    def execute(cells: list[Cell]) -> Iterator[tuple[Cell, State]]:
        with ThreadPoolExecutor(parallel) as pool:
            running = {pool.submit(run, cell, threads): cell for cell in cells}
            try:
                for done in as_completed(running):
                    yield running[done], done.result()
            except (KeyboardInterrupt, GeneratorExit):
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    return execute


def on_ray(parallel: int, cpus: float, gpus: float, address: str | None) -> Executor:
    """Runs cells as Ray tasks on a cluster that shares the folder of runs.

    Args:
        parallel: tasks at a time.
        cpus: CPU cores that one task asks for.
        gpus: GPUs that one task asks for.
        address: of an existing cluster; None starts one on this machine.

    Raises:
        ModuleNotFoundError: without Ray; the message names the extra.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the ray executor needs Ray: pip install 'cvae-suite[ray]'") from error

    def execute(cells: list[Cell]) -> Iterator[tuple[Cell, State]]:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False)
        where = os.getcwd()

        def work(cell: Cell) -> State:
            os.chdir(where)  # a worker starts in a folder of its own
            return run(cell, max(1, int(cpus)))

        task: Any = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(work)
        waiting, running = list(cells), dict[Any, Cell]()
        while waiting or running:
            while waiting and len(running) < parallel:
                cell = waiting.pop(0)
                running[task.remote(cell)] = cell
            (done,), _ = ray.wait(list(running), num_returns=1)
            cell = running.pop(done)
            try:
                yield cell, ray.get(done)
            except ray.exceptions.RayError as error:
                yield cell, State("failed", reason=str(error).strip().splitlines()[-1])

    return execute


def run_missing(cells: list[Cell], executor: Executor, fresh: bool, say: Callable[[str], None]) -> dict[Cell, State]:
    """Runs every cell that has no result from today's data, and tells what becomes of each.

    Args:
        cells: of a table.
        executor: where they run.
        fresh: runs all again.
        say: takes a line for a person.
    """
    states: dict[Cell, State] = {}
    todo = []
    for cell in cells:
        if fresh:
            forget(cell)
        has_results = (cell.folder / "results.json").exists()
        found = state(cell, data_fingerprint(cell.data) if has_results else None)
        states[cell] = found
        if found.status == "finished":
            continue
        if found.reason:
            say(f"{cell.row}, seed {cell.seed}: {found.status}: {found.reason}; running it again")
        if found.status == "stale":
            forget(cell)
        todo.append(cell)
    say(f"{len(cells) - len(todo)} of {len(cells)} runs are finished, {len(todo)} to go")
    for count, (cell, reached) in enumerate(executor(todo), 1):
        states[cell] = reached
        took = f" ({reached.results.run.seconds:.0f} s of training)" if reached.results else f": {reached.reason}"
        say(f"[{count}/{len(todo)}] {cell.row}, seed {cell.seed}: {reached.status}{took}")
    return states
