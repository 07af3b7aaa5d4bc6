"""Folders of data sets and caches, and files that exist completely or not at all."""

import errno
import glob
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

BLOCK = 2**22  # bytes that are read at once
LARGE = 2**30  # bytes from which a person sees that a file is checked: about half a second
DAY = 24 * 60 * 60  # seconds
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no space, or none that this user or process may have
ELSEWHERE = "give --run.root or --out another place"
WRITABLE_CACHE = "set $SUITE_CACHE to a folder that can be written"


def data_root() -> Path:
    """Folder of the data sets: $SUITE_DATA, or `data` in the working directory."""
    return Path(os.environ.get("SUITE_DATA", "data"))


def cache_root() -> Path:
    """Folder of decoded data and trained judges: $SUITE_CACHE, or `~/.cache/cvae-suite`.

    It need not exist, and it need not be writable while nothing has to be made: see `made_once`.
    """
    return Path(os.environ.get("SUITE_CACHE", Path.home() / ".cache" / "cvae-suite"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process in at a time; the others wait. The lock is a file beside `path`, which need not exist.

    Where that file cannot be written, the lock is among the temporary files, and holds for one user on one machine.
    """
    lock = FileLock(f"{path}.lock", mode=0o666)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        name = hashlib.sha256(f"{os.geteuid()} {path.absolute()}".encode(errors="surrogateescape")).hexdigest()[:24]
        lock = FileLock(Path(tempfile.gettempdir()) / f"cvae-suite-{name}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yields a temporary path for a file or folder that replaces `path` at the end: no reader sees half of it.

    An error in between leaves nothing behind; what a killed process left of the same path is removed.

    Raises:
        OSError: if it cannot be written, or the disk is full; the message says what to do.
    """
    kept = "; the former one is whole" if path.is_file() else ""
    with writing(path, f"{ELSEWHERE}{kept}"), _replacing(path) as partial:
        yield partial


@contextmanager
def writing(path: Path, remedy: str = ELSEWHERE, problem: str = "") -> Iterator[None]:
    """An error of the system that concerns a file or folder that is written says so, and what is to be done.

    Args:
        path: the file or folder.
        remedy: what can be done, other than making room on a full disk.
        problem: begins the message, before the system's reason.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in FULL
        if error.filename is None:  # of a file that is open already
            concerned = full
        else:
            place = Path(os.fsdecode(error.filename))
            beside = [entry.name for entry in (place, *place.parents) if entry.parent == path.parent]
            concerned = path.parent.is_relative_to(place) or any(name.startswith(path.name) for name in beside)
        if not concerned:
            raise
        advice = f"{'make room there, or ' if full else ''}{remedy}"
        raise type(error)(f"{problem or f'{path} cannot be written'} ({_reason(error)}): {advice}") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """`written_whole`, with the system's own errors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        if _is_abandoned(left, left.name.removeprefix(f"{path.name}.").removesuffix(".partial")):
            _remove(left)
    partial = path.with_name(f"{path.name}.{_machine()}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        _remove(partial)


def _machine() -> str:
    """A mark of this machine, or of this container: numbers of processes are its own."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_abandoned(partial: Path, writer: str) -> bool:
    """Whether the process that wrote a temporary file is gone, or its number belongs to another process by now.

    Of another machine's process, with which the disk is shared, nothing is known but when it last wrote.
    """
    named = re.fullmatch(r"(?:([0-9a-f]{8})\.)?(\d+)", writer)  # earlier versions named no machine
    if named is None:  # the temporary file of another path whose name begins alike
        return False
    try:
        if named[1] == _machine():
            if int(named[2]) == os.getpid():
                return True
            os.kill(int(named[2]), 0)
        return time.time() - max(entry.stat().st_mtime for entry in (partial, *partial.rglob("*"))) > DAY
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # another user's process; or the file is gone
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """A file or folder of the cache, made when first needed, by one process while the others wait.

    Its checksums lie beside it, in `<name>.sums`, and are compared before it is used. What has changed since it was
    made, or has no checksums (earlier versions wrote none), is named in a warning and made again. What is whole is
    used as it is: nothing is written, and the folder may be read-only.

    All bytes are read (CRC-32), however large the file: a sample would let a flipped bit pass. It takes a third of a
    second for each GB, or as long as the disk needs, and the data are in the system's memory afterwards.

    Args:
        path: path of the file or folder.
        make: writes it to the path that it receives.

    Raises:
        OSError: if it has to be made and cannot be written, or the disk is full; nothing is left behind.
    """
    if _damage(path) is None:
        return path
    with locked(path):
        if (damage := _damage(path)) is not None:  # no other process has made it in the meantime
            problem = f"{damage}, and the cache cannot be written"
            with writing(path, WRITABLE_CACHE, problem), _replacing(path) as partial:
                partial.touch()  # fails at once where nothing can be written, and not after an hour's work
                partial.unlink()
                if os.path.lexists(path):
                    warnings.warn(f"the cache is mended: {damage}, and is made again", stacklevel=2)
                    _remove(path)
                make(partial)
                with _replacing(_sums_file(path)) as sums:  # first: what is there without them is not trusted
                    sums.write_text("\n".join(_sums(partial)))
    return path


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _sums_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sums")


def _sums(entry: Path) -> list[str]:
    """A line for each file of an entry of the cache: its CRC-32, its bytes, and its name below the entry.

    Hidden files are not the suite's: systems leave them in folders.
    """
    files = [file for file in sorted(entry.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    return [f"{_crc32(file):08x} {file.stat().st_size} {file.relative_to(entry)}" for file in files or [entry]]


def _crc32(file: Path) -> int:
    size, crc = file.stat().st_size, 0
    shown = None if size >= LARGE else True  # None: where there is a terminal
    with (
        file.open("rb") as stream,
        tqdm(total=size, desc=f"checking {file.name}", unit="B", unit_scale=True, leave=False, disable=shown) as bar,
    ):
        while block := stream.read(BLOCK):
            crc = zlib.crc32(block, crc)
            bar.update(len(block))
    return crc


def _damage(path: Path) -> str | None:
    """What is wrong with an entry of the cache, naming the file; None if it is as it was made."""
    if not os.path.exists(path):
        return f"{path} is not there"
    try:
        made = _sums_file(path).read_text(errors="replace").splitlines()
        found = _sums(path)
    except OSError as error:
        if error.filename == str(_sums_file(path)):
            return f"{path} has no checksums"
        return f"{path} cannot be read ({_reason(error)})"
    if found == made:
        return None
    changed = [line for line in found if line not in made] or [line for line in made if line not in found]
    name = changed[0].split(" ", 2)[-1] if changed else "."
    return f"{path / name} is damaged (it is not as it was made)"
