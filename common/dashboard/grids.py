"""Tables of a page: cells with what they are sorted by, and headings."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

NUMBER = re.compile(r"[-+−]?[\d,]*\.?\d+(?:[eE][-+]?\d+)?")
LONGEST = 600  # characters of a cell


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says.
        order: the number that it is sorted by; None sorts by the text.
        best: whether it is marked as the best of its row or column.
        run: number of the run that it belongs to.
        mark: whether the run's colour stands before the text.
    """

    text: str
    order: float | None = None
    best: bool = False
    run: int | None = None
    mark: bool = False


@dataclass(frozen=True)
class GridRow:
    """The cells of a row, and the number of the run that it belongs to."""

    cells: list[Cell]
    run: int | None = None


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        name: what it shows, for readers who cannot see it.
        header: headings.
        rows: its rows.
        notes: what a reader needs to know, a line each.
        texts: whether its cells are sentences, which need wide columns, and not figures.
    """

    name: str
    header: list[Cell]
    rows: list[GridRow]
    notes: Sequence[str] = ()
    texts: bool = False


def cell(text: object, run: int | None = None, best: bool = False) -> Cell:
    """A cell; what begins with a number is sorted by it."""
    words = shortened(str(text))
    return Cell(words, number_in(words), best, run)


def plain_grid(name: str, header: Iterable[object], rows: Iterable[Sequence[object]], texts: bool = False) -> Grid:
    """A table of texts that belongs to no run."""
    return Grid(name, [cell(text) for text in header], [GridRow([cell(t) for t in row]) for row in rows], texts=texts)


def number_in(text: str) -> float | None:
    """The number that a text begins with, such as `1,338.08 ± 134.78`; None where it begins with something else."""
    found = NUMBER.match(text)
    rest = text[found.end() :] if found else ""
    if found is None or rest[:1] not in ("", " ", "%"):
        return None
    return float(found[0].replace(",", "").replace("−", "-"))


def shortened(text: str) -> str:
    """The text, or as much of it as a cell may have."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def is_numeric(grid: Grid, column: int) -> bool:
    """Whether a column has numbers, which are aligned to the right."""
    known = [
        row.cells[column] for row in grid.rows if column < len(row.cells) and row.cells[column].text not in ("", "-")
    ]
    return bool(known) and bool(np.mean([cell.order is not None for cell in known]) > 0.5)
