"""Runs the missing cells of a table in parallel, on this machine or on a Ray cluster."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import Any, Literal

import torch

from common.comparison.specification import Cell
from common.data.from_config import data_from_options
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


@cache
def data_fingerprint(data: tuple[str, ...] | None) -> str | None:
    """Fingerprint of the data that a cell's options describe; None for a row with its own command."""
    if data is None:
        return None
    return str(data_from_options(data).fingerprint)


def run(cell: Cell, threads: int, gpus: str | None = None) -> State:
    """Runs a cell in its own process, whose output goes to log.txt in its folder.

    A cell that was killed continues from its last checkpoint. One that fails writes failure.json. A folder is locked by
    one process at a time: where another one is running the cell, this waits for it and takes its results.

    Args:
        cell: the cell to run.
        threads: CPU threads that it may use.
        gpus: the GPUs that it sees, as in CUDA_VISIBLE_DEVICES; None changes nothing.
    """
    with _locked(cell) as lock:
        present = state(cell)
        return present if present.status == "finished" else run_alone(cell, threads, lock, gpus)


@contextmanager
def _locked(cell: Cell) -> Iterator[int]:
    """The descriptor of the lock of a cell's folder, which one process has at a time; the others wait."""
    cell.folder.mkdir(parents=True, exist_ok=True)
    with (cell.folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def run_alone(cell: Cell, threads: int, lock: int, gpus: str | None = None) -> State:
    """Runs a cell whose folder is locked. Its process inherits the lock and holds it even if this one is killed."""
    for name in (FAILURE, "results.json", EXAMPLES):
        (cell.folder / name).unlink(missing_ok=True)
    command = [sys.executable, *cell.command]
    last = cell.folder / "checkpoints" / "last.ckpt"
    if cell.data is not None and last.exists():
        command += ["--ckpt_path", str(last)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    if gpus is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpus
    with (cell.folder / LOG).open("ab") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, pass_fds=[lock], check=False
        ).returncode
    reached = state(cell)
    if code == 0 and reached.status == "finished":
        return reached
    lines = (cell.folder / LOG).read_text(errors="replace").replace("\r", "\n").strip().splitlines()
    last_line = lines[-1] if lines else "no output"
    reason = f"exit status {code}: {last_line[:200]} (see {cell.folder / LOG})"
    (cell.folder / FAILURE).write_text(json.dumps({"reason": reason}))
    return State("failed", reason=reason)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def shares_of_gpus(parallel: int) -> list[str | None]:
    """The GPUs of each of some runs at the same time; None without any. With fewer GPUs than runs, some share one."""
    names = visible_gpus()
    if not names:
        return [None] * parallel
    size = max(1, len(names) // parallel)
    return [",".join(names[slot * size % len(names) :][:size]) for slot in range(parallel)]


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


Executor = Callable[[list[Cell]], Iterator[tuple[Cell, State]]]


def local(parallel: int) -> Executor:
    """Runs cells on this machine, `parallel` at a time.

    They divide the threads of this process among them, and its GPUs as far as there are enough.
    """
    threads = max(1, torch.get_num_threads() // parallel)

    def execute(cells: list[Cell]) -> Iterator[tuple[Cell, State]]:
        free = SimpleQueue[str | None]()
        for share in shares_of_gpus(parallel):
            free.put(share)

        def in_slot(cell: Cell) -> State:
            share = free.get()
            try:
                return run(cell, threads, share)
            finally:
                free.put(share)

        with ThreadPoolExecutor(parallel) as pool:
            running = {pool.submit(in_slot, cell): cell for cell in cells}
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
        cpus: CPU cores per task.
        gpus: GPUs per task.
        address: address of an existing cluster; None starts one on this machine.

    Raises:
        ModuleNotFoundError: without Ray; the message names the extra.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the ray executor needs Ray: pip install --editable '.[ray]'") from error

    def execute(cells: list[Cell]) -> Iterator[tuple[Cell, State]]:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False)
        where = os.getcwd()

        def work(cell: Cell) -> State:
            os.chdir(where)  # a worker starts in its own folder
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


def run_missing(cells: list[Cell], executor: Executor, fresh: bool, log: Callable[[str], None]) -> dict[Cell, State]:
    """Runs every cell without results from the present data, and logs the outcome of each.

    Args:
        cells: the cells of a table.
        executor: where they run.
        fresh: deletes all results and runs every cell again.
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
            log(f"{cell.row}, seed {cell.seed}: {present.status}: {present.reason}; running it again")
        if present.status == "stale":
            delete_run(cell)
        todo.append(cell)
    log(f"{len(cells) - len(todo)} of {len(cells)} runs are finished, {len(todo)} to go")
    for count, (cell, reached) in enumerate(executor(todo), 1):
        states[cell] = reached
        took = f" ({reached.results.run.seconds:.0f} s of training)" if reached.results else f": {reached.reason}"
        log(f"[{count}/{len(todo)}] {cell.row}, seed {cell.seed}: {reached.status}{took}")
    return states
