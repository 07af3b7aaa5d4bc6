"""Faulty files and rows, which are named all at once and refused, or left out."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lightning_utilities.core.rank_zero import rank_zero_warn

Faulty = Literal["raise", "skip"]
REMEDY = "remove or replace them, or leave them out with data.faulty skip"
BLOCK = 2**22  # bytes
NAMED = 10  # most faults that a message names


def first_names(files: Sequence[object]) -> str:
    """The first of some files, for a message."""
    return ", ".join(map(str, files[:NAMED])) + (" ..." if len(files) > NAMED else "")


def raise_passing(error: BaseException, file: Path) -> None:
    """Raises an error of the system that says nothing of what a file holds, and may be gone at another attempt.

    Such are a disk that fails, too many open files, or no memory. Errors of decoders have no number of the system; an
    invalid argument is a place that a broken header names.

    Args:
        error: the error that came up while the file was read; returns if it is one of what the file holds.
        file: the file.

    Raises:
        OSError: naming the file.
    """
    number = errno.ENOMEM if isinstance(error, MemoryError) else error.errno if isinstance(error, OSError) else None
    if number not in (None, errno.EINVAL):
        why = f"{os.strerror(number)}, which says nothing of its content: try again, or remove it"
        raise OSError(number, why, str(file)) from error


def _read(file: Path) -> None:
    if file.is_file():
        with file.open("rb") as stream:
            while stream.read(BLOCK):
                pass


class Faults:
    """Collects what is faulty in a collection.

    Args:
        of: what is counted, "images" or "files".
        remedy: what a person can do about it.
    """

    def __init__(self, of: str, remedy: str = REMEDY) -> None:
        self.of, self.remedy = of, remedy
        self.found: list[str] = []

    def add(self, fault: object, file: Path | None = None) -> None:
        """Adds a fault, which names its file, row or line.

        Args:
            fault: the fault.
            file: the file that it is a fault of, which is read to its end: decoders call anything a damage.

        Raises:
            OSError: if it is the system that fails, as in `raise_passing`.
        """
        if file is not None and isinstance(fault, Exception):
            raise_passing(fault, file)
            try:
                _read(file)
            except OSError as error:
                raise_passing(error, file)
        self.found.append(str(fault))

    def settle(self, total: int, faulty: Faulty = "raise") -> None:
        """Raises ValueError if there are faults, or warns of those that are skipped; both name the first ones.

        Args:
            total: how many files there are.
            faulty: whether to raise or to skip; when all are faulty it raises in any case.
        """
        if not self.found:
            return
        named = "; ".join(self.found[:NAMED]) + (f"; and {more} more" if (more := len(self.found) - NAMED) > 0 else "")
        message = f"{len(self.found):,} of {total:,} {self.of} are faulty: {named}"
        if faulty == "raise" or len(self.found) >= total:
            raise ValueError(f"{message}. Remedy: {self.remedy}")
        rank_zero_warn(f"left out: {message}", category=UserWarning)
