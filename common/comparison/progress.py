"""How far the runs of a table are, and what is left of them in hours."""

import fcntl
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median

from common.comparison.results import TableResults
from common.comparison.runner import LOCK, state
from common.comparison.specification import Cell

SECONDS = "run/seconds"
DONE = ("finished", "recorded")


@dataclass(frozen=True)
class Progress:
    """One run of a table.

    Attributes:
        cell: the run.
        status: that of `runner.State`, running, or recorded (by another machine).
        seconds: what its training took, or is expected to take by runs of its row, or else of any row; None where none
            is known.
        reason: why there are no results.
    """

    cell: Cell
    status: str
    seconds: float | None
    reason: str = ""


def is_running(cell: Cell) -> bool:
    """Whether a process is running the cell: it holds the lock of its folder."""
    if not (cell.folder / LOCK).exists():
        return False
    with (cell.folder / LOCK).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # NFS wants a file open for writing for the other kind
        except BlockingIOError:
            return True
        return False


def progress(
    cells: Sequence[Cell], known: TableResults | None, recorded: Collection[str] = frozenset()
) -> list[Progress]:
    """Where each run stands.

    Args:
        cells: the runs of a table.
        known: compact results of the table, from which seconds are expected where no run is on this machine.
        recorded: names of the folders of runs that are taken from the table's archive.
    """
    states = {cell: state(cell) for cell in cells}
    taken: dict[str, list[float]] = {}
    for title, row in ({} if known is None else known.rows).items():
        if SECONDS in row.figures:
            taken[title] = list(row.figures[SECONDS].values)
    here: dict[str, list[float]] = {}
    for cell, reached in states.items():
        if reached.results is not None:
            here.setdefault(cell.row, []).append(reached.results.run.seconds)
    taken |= here
    usual = median([value for values in taken.values() for value in values]) if taken else None
    found = []
    for cell, reached in states.items():
        status: str = "running" if reached.status != "finished" and is_running(cell) else reached.status
        if status not in DONE and cell.folder.name in recorded:
            status = "recorded"
        expected = median(taken[cell.row]) if cell.row in taken else usual
        seconds = expected if reached.results is None else reached.results.run.seconds
        found.append(Progress(cell, status, seconds, reached.reason))
    return found


def lines(found: Sequence[Progress], parallel: int) -> list[str]:
    """A line for each run, and what is left in all.

    Args:
        found: the runs.
        parallel: runs at a time.
    """
    width = max((len(entry.cell.row) for entry in found), default=0)
    told = []
    for entry in found:
        expected = "" if entry.status in DONE else " expected"
        took = "" if entry.seconds is None else f"{entry.seconds / 3600:.2f} h{expected}"
        reason = f": {entry.reason}" if entry.reason else ""
        told.append(f"{entry.cell.row:{width}}  seed {entry.cell.seed}  {entry.status:8}  {took}{reason}".rstrip())
    left = [entry.seconds for entry in found if entry.status not in DONE]
    known = [seconds for seconds in left if seconds is not None]
    counts = Counter(entry.status for entry in found)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    more = f" and {len(left) - len(known)} runs of unknown length" if len(known) < len(left) else ""
    hours = sum(known) / 3600
    told.append(f"{summary}; left: {hours:.2f} h of training{more}, {hours / parallel:.2f} h with {parallel} at a time")
    return told
