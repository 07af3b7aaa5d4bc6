"""The results of a table's runs in one small file: a table can be made on several machines, one after another.

Beside the compact results, `NAME.BUDGET.zip` holds for each finished run its results.json and the figures of single
test examples that the table pairs, under the run's key and seed.
"""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.comparison.shared_training import NOTE
from common.comparison.specification import Cell, Table
from common.evaluation.columns import GROUP
from common.paths import written_whole
from common.results import EXAMPLES

RESULTS = "results.json"
KEPT = (RESULTS, EXAMPLES, NOTE)


def pack(path: Path, table: Table, finished: Iterable[Cell]) -> None:
    """Writes the archive of finished runs; the same results make the same bytes."""
    paired = {GROUP} | {
        column.metric.removeprefix("test/") for column in table.columns if column.better != "none" or column.difference
    }
    with written_whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({cell.folder for cell in finished}, key=lambda folder: folder.name):
            for name in KEPT:
                if (folder / name).exists():
                    content = _trimmed(folder / name, paired) if name == EXAMPLES else (folder / name).read_bytes()
                    archive.writestr(zipfile.ZipInfo(f"{folder.name}/{name}"), content, zipfile.ZIP_DEFLATED)


def packed(path: Path) -> set[str]:
    """The runs of an archive, as the names of their folders: key and seed.

    Raises:
        ValueError: if it is damaged; the message names it.
    """
    if not path.exists():
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.partition("/")[0] for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or delete it and run the table again") from error


def unpack(path: Path, cells: Iterable[Cell]) -> int:
    """Puts recorded runs into the folders of cells that have no results here; returns how many."""
    known = packed(path)
    absent = [cell for cell in cells if cell.folder.name in known and not (cell.folder / RESULTS).exists()]
    if absent:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            for cell in absent:
                cell.folder.mkdir(parents=True, exist_ok=True)
                for name in reversed(KEPT):  # results.json last: it is what makes a run finished
                    if f"{cell.folder.name}/{name}" in names:
                        with written_whole(cell.folder / name) as partial:
                            partial.write_bytes(archive.read(f"{cell.folder.name}/{name}"))
    return len(absent)


def _trimmed(path: Path, names: set[str]) -> bytes:
    """The named columns of a file of single examples, in single precision."""
    out = io.BytesIO()
    with np.load(path) as file:
        np.savez(out, **{name: file[name].astype(np.float32) for name in file.files if name in names})
    return out.getvalue()
