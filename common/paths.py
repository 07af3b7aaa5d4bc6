"""Folders of data sets and caches, and files that exist completely or not at all."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def data_root() -> Path:
    """Folder of the data sets: $SUITE_DATA, or `data` in the working directory."""
    return Path(os.environ.get("SUITE_DATA", "data"))


def cache_root() -> Path:
    """Folder of decoded data and trained judges: $SUITE_CACHE, or `~/.cache/cvae-suite`.

    Raises:
        PermissionError: if it cannot be made or written.
    """
    path = Path(os.environ.get("SUITE_CACHE", Path.home() / ".cache" / "cvae-suite"))
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise PermissionError(f"the cache {path} cannot be written: set $SUITE_CACHE to a folder that can be")
    return path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process in at a time; the others wait. The lock is a file beside `path`, which need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        yield


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path for a file or folder that replaces `path` at the end: no reader sees half of it.

    An error in between leaves nothing behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """A file or folder that is created when first needed, by one process while the others wait.

    Args:
        path: path of the file or folder.
        make: writes it to the path that it receives.
    """
    with locked(path):
        if not path.exists():
            with written_whole(path) as partial:
                make(partial)
    return path
