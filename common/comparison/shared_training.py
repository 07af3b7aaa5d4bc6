"""Trainings that runs share: those which are tested in different ways alone, in one table or in several, train once.

Runs that go on at the same time train each for itself.
"""

import json
import shutil
from contextlib import suppress
from pathlib import Path

from common.comparison.specification import Cell, data_fingerprint
from common.paths import written_whole
from common.results import Results

NOTE = "training.json"  # in the folder of a run: `Cell.training`, and the run that it was taken from
WEIGHTS, CURVES = "checkpoints", "metrics.csv"


def training_of(cell: Cell, alone: bool) -> Path | None:
    """The checkpoint that a cell goes on from: its own, or else that of a finished run which was trained as it is.

    Args:
        cell: a trained cell. What determines its training is written into its folder, where others find it.
        alone: whether it takes over no training.

    Returns:
        None where it has to be trained.
    """
    own = cell.folder / WEIGHTS / "last.ckpt"
    if not own.exists():
        source = None if alone else _take_over(cell)
        with written_whole(cell.folder / NOTE) as partial:
            partial.write_text(json.dumps({"training": cell.training, "taken_from": source}))
    return own if own.exists() else None


def taken_from(cell: Cell) -> str | None:
    """The run whose training a cell has taken over, as the names of its folders; None where it has been trained."""
    note = cell.folder / NOTE
    found: str | None = json.loads(note.read_text())["taken_from"] if note.exists() else None
    return found


def _take_over(cell: Cell) -> str | None:
    """Copies the training of a finished run, and returns the names of that run's folders; None if there is none."""
    for note in sorted(cell.folder.parent.parent.glob(f"*/*-s{cell.seed}/{NOTE}")):
        source = note.parent
        if source != cell.folder and json.loads(note.read_text())["training"] == cell.training and _fits(source, cell):
            partial = cell.folder / f"{WEIGHTS}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source / WEIGHTS, partial)
            with suppress(FileNotFoundError):
                shutil.copyfile(source / CURVES, cell.folder / CURVES)
            partial.rename(cell.folder / WEIGHTS)  # at last: it is what the cell goes on from
            return f"{source.parent.name}/{source.name}"
    return None


def _fits(source: Path, cell: Cell) -> bool:
    """Whether a run is finished, and was trained on the data that a cell has today."""
    if not (source / WEIGHTS / "last.ckpt").exists():
        return False
    try:
        trained_on = Results.read(source / "results.json").run.data_fingerprint
    except (ValueError, FileNotFoundError):
        return False
    return trained_on == data_fingerprint(cell.data)
