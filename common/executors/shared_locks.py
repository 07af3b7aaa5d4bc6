"""Whether the locks of a folder reach other machines: the command that waits for jobs holds one, which they try.

Without such locks two machines may write into one run, and SQLite's trials be damaged.
"""

import fcntl
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HELD = "waiting"  # the file whose lock is tried
BEAT = 5.0  # seconds after which who holds it says again that it is alive
DEAD = 30.0  # seconds after which it is not


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made; several commands can do so at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    path, over = folder / HELD, threading.Event()

    def live() -> None:
        while not over.wait(BEAT):
            os.utime(path)

    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(path)
        beating = threading.Thread(target=live, daemon=True)
        beating.start()
        try:
            yield
        finally:
            over.set()
            beating.join()


def check(folder: Path) -> None:
    """Tries to take the lock that another machine holds. Where its command has ended, nothing can be said.

    Raises:
        ValueError: if it can be taken, although that command is alive.
    """
    with (folder / HELD).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        silent = _now(folder) - os.fstat(file.fileno()).st_mtime
    if silent < DEAD:
        raise ValueError(
            f"locks of {folder} do not reach {socket.gethostname()}, and two machines might write into one run: mount "
            "it with locks that all machines share (NFS 4, Lustre with `flock`), or take another --root"
        )


def _now(folder: Path) -> float:
    """The time by the clock of the folder's file system."""
    with tempfile.TemporaryFile(dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime
