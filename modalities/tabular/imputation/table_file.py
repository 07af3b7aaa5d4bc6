"""A table file whose empty cells a model fills: everything else in the file stays as it is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.data.splits import split_column
from common.lazy import pd
from common.paths import written_whole
from common.table_files import Dialect, place
from modalities.tabular.columns import Column, encode_table
from modalities.tabular.data.sources import Source, source_of

SHOWN = 10  # most rows and cells that a message names


@dataclass(frozen=True)
class TableFile:
    """A table with empty cells.

    Attributes:
        source: the file.
        columns: the columns of the model.
        table: the columns of the file that the model knows.
        x: its cells as the model reads them, [N, F]; NaN where empty.
        notes: what a person should know of how it was read, a line each.
    """

    source: Source
    columns: Sequence[Column]
    table: pd.DataFrame
    x: Tensor
    notes: list[str]

    @classmethod
    def read(
        cls,
        path: Path,
        columns: Sequence[Column],
        learned: Mapping[str, Any],
        dialect: Dialect | None = None,
        ignored: Sequence[str] | None = (),
    ) -> TableFile:
        """The table of a file.

        Args:
            path: the file.
            columns: the columns of the model.
            learned: what the training learned from its data: `na_values`, `left_out` and `renamed`.
            dialect: how it is written; None takes the empty cells of the training, and finds out the rest.
            ignored: columns that the model does not know, and that stay as they are; None is all of them.

        Raises:
            ValueError: for a table without rows, or whose columns or cells the model does not know.
        """
        dialect = dialect or Dialect(na_values=learned.get("na_values") or ())
        source = source_of(path, dialect, learned.get("renamed"))
        notes = list(source.table.attrs.get("notes", []))
        if len(source.table) == 0:
            raise ValueError(f"{path} has names of columns and no row")
        table, passed = _known(source, columns, ignored, learned.get("left_out") or [])
        if passed:
            notes.append(f"passed through as they are: {', '.join(passed)}")
        x = torch.from_numpy(encode_table(table, columns, str(path)))
        if empty := [place(table, row) for row in x.isnan().all(1).nonzero()[:, 0].tolist()]:
            notes.append(f"no observed cell in {_named(empty)}: filled from the whole table")
        return cls(source, columns, table, x, notes)

    def write(self, cells: Tensor, target: Path) -> str:
        """Writes the file with its empty cells filled from `cells` [N, F], and says how many of them were.

        It is read again before it takes its place, which may be that of the input.

        Raises:
            ValueError: if what is written would have another number of rows.
        """
        with written_whole(target) as partial:
            partial.write_bytes(self.source.filled(self.columns, cells))
            return self._what_was_filled(partial, target)

    def _what_was_filled(self, written: Path, target: Path) -> str:
        """How many of the empty cells are filled in a file, and which are not; `target` tells its format."""
        names = dict(zip(self.source.names, self.source.table.columns, strict=True))
        with tempfile.TemporaryDirectory() as folder:
            copied = Path(shutil.copy(written, Path(folder, target.name)))
            table = source_of(copied, self.source.dialect, names).table
        if table.shape != self.source.table.shape:
            raise ValueError(f"{target} would have {len(table)} rows, not {len(self.source.table)}: it is not written")
        before, after = self.source.table.isna().to_numpy(), table.isna().to_numpy()
        filled, left = int((before & ~after).sum()), after.nonzero()
        if not len(left[0]):
            return f"{filled} cells filled"
        cells = [f"{place(table, row)} ({table.columns[column]})" for row, column in zip(*left, strict=True)]
        return f"{filled} of {int(before.sum())} empty cells filled (still empty: {_named(cells)})"


def _known(
    source: Source, columns: Sequence[Column], ignored: Sequence[str] | None, left_out: Sequence[str]
) -> tuple[pd.DataFrame, list[str]]:
    """The columns of a table that the model knows, and the names of the others, if these may be there.

    Raises:
        ValueError: for a missing, an unknown or an ignored column; the message names all.
    """
    table, path = source.table, source.path
    present, known = list(table.columns), [column.name for column in columns]
    ignored = [name for name in present if name not in known] if ignored is None else ignored
    wrong = [name for name in ignored if name not in present or name in known]
    if wrong:
        raise ValueError(
            f"--ignore {' '.join(wrong)}: {path} has the columns {', '.join(present)}, of which the model fills "
            f"{', '.join(known)}"
        )
    missing = [name for name in known if name not in present]
    passed = [name for name in present if name not in known]
    splits = [name for name in passed if name not in split_column(table, path)[0].columns]
    strange = [name for name in passed if name not in (*ignored, *left_out, *splits)]
    if missing or strange:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(strange)}, which the model does not know"] if strange else []
        remedy = f". Columns are passed through with --ignore {' '.join(strange)}" if strange else ""
        raise ValueError(f"{path} {' and '.join(parts)}; the model knows {', '.join(known)}{remedy}")
    return table[known], passed


def _named(places: list[str]) -> str:
    """The first of some places."""
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return f"{', '.join(places[:SHOWN])}{more}"
