"""The process of a training that a job starts: it holds the job's lock, and is stopped, saved, where the job is."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from common.executors.executor import Share

STOPPED = (-signal.SIGTERM, 128 + signal.SIGTERM)  # statuses of a training that SIGTERM has stopped

_running: list[subprocess.Popen[bytes]] = []


@contextmanager
def training(
    command: Sequence[str], log: Path, share: Share, lock: int, apart: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A training, which an exception such as Ctrl-C stops, saved.

    Args:
        command: its command line.
        log: file to which its output is added.
        share: what it may use.
        lock: descriptor of a lock that it inherits, and holds even if this process is killed.
        apart: whether it has a session of its own, so that Ctrl-C reaches this process alone, which stops the training
            once. On a cluster it always has.
    """
    # SLURM warns all processes of a job by SIGUSR2; it is this one that stops the training.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=share.environment(),
                pass_fds=[lock],
                start_new_session=apart or share.remote,
            )
        _running.append(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    try:
        yield process
    except BaseException:
        stop(process)
        raise
    finally:
        _running.remove(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stops a training, which saves itself first, and waits for its end."""
    if process.poll() is None:
        process.terminate()
        process.wait()


def stop_all() -> None:
    """Stops all trainings of this process from within a handler of signals, and waits for their end.

    The handler may have interrupted `process.wait`, which cannot be called again before it has returned.
    """
    for process in list(_running):
        with suppress(ProcessLookupError, ChildProcessError):
            if process.returncode is None:
                os.kill(process.pid, signal.SIGTERM)
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM an exception, so that a process stops its trainings before it ends; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
