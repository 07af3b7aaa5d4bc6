"""A user's table files, read as they are meant: separators, decimal commas, marks of encoding, open quotes."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from common.lazy import pd
from common.table_files.dialect import Dialect, styles_of
from common.table_files.excel import excel, workbook
from common.table_files.json_lines import json_lines, json_object
from common.table_files.names import (
    BINARY_SUFFIXES,
    EXCEL_SUFFIXES,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    suffix_of,
    unrepeated,
)
from common.table_files.parquet import parquet
from common.table_files.saved_dataset import is_saved_dataset, saved_table
from common.table_files.text import Records, TextFile, read_records, table_text, text_file, typed

__all__ = [
    "BINARY_SUFFIXES",
    "EXCEL_SUFFIXES",
    "JSON_SUFFIXES",
    "PARQUET_SUFFIXES",
    "TABLE_SUFFIXES",
    "TEXT_SUFFIXES",
    "Dialect",
    "Records",
    "TextFile",
    "is_saved_dataset",
    "json_object",
    "place",
    "read_records",
    "read_table",
    "stray_number",
    "styles_of",
    "suffix_of",
    "table_text",
    "text_file",
    "typed",
    "workbook",
]

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def read_table(
    path: Path, text: Iterable[str] = (), missing: Sequence[str] = (), dialect: Dialect | None = None
) -> pd.DataFrame:
    """The table of a CSV, TSV, JSONL, Parquet or Excel file, or of a saved data set; text may be gzipped.

    Its index holds the place of each row as an editor shows it, and is called `line` or `row`. Spaces around cells are
    removed but for those of the text columns. `attrs["notes"]` says in lines what was found out or left out.

    Args:
        path: the file, whose suffix, in small or capital letters, tells its format; or the folder of a data set that
            `datasets` has saved to disk.
        text: columns of text, whose cells stay as they are.
        missing: cells that count as empty besides the empty ones.
        dialect: how the file is written; None finds it out.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read as a table; the message names the file and the line.
    """
    dialect = dialect or Dialect()
    suffix, empty, verbatim = suffix_of(path), {"", *missing, *map(str, dialect.na_values)}, set(text)
    if is_saved_dataset(path):
        table = saved_table(path)
    elif not os.path.isfile(path):  # false as well for a text that can be no name
        raise FileNotFoundError(f"{path} {'is a folder: name a file' if os.path.isdir(path) else 'does not exist'}")
    elif suffix in TEXT_SUFFIXES:
        return typed(read_records(path, dialect, empty), verbatim, empty)
    elif suffix in JSON_SUFFIXES:
        table = json_lines(path, dialect.encoding, set(text), empty)
    elif suffix in PARQUET_SUFFIXES:
        table = parquet(path)
    elif suffix in EXCEL_SUFFIXES:
        table = excel(path)
    else:
        raise ValueError(f"{path} is no table: tables are {', '.join(TABLE_SUFFIXES)}")
    unrepeated([str(name) for name in table.columns], path)
    for position, name in enumerate(table.columns):
        if name not in verbatim:
            table.isetitem(position, _without(table.iloc[:, position], empty, dialect.empty_numbers).array)
    return table


def _without(cells: pd.Series, empty: Collection[str], numbers: Sequence[float]) -> pd.Series:
    """Cells with their type, of which those that count as empty are missing."""
    if _holds_text(cells):
        bare = [_stripped(cell, empty) for cell in cells]
        cells = pd.Series(bare, index=cells.index, dtype=cells.dtype).infer_objects()
    if numbers and pd.api.types.is_numeric_dtype(cells.dtype) and (wrong := cells.isin(numbers)).any():
        return cells.mask(wrong)
    return cells


def stray_number(cells: pd.Series) -> int | None:
    """Position of the first cell that made a column of numbers one of text; None for any other column.

    A column is meant as numbers if more than half of its cells, and at least three, are numbers.
    """
    if not _holds_text(cells):
        return None
    known = cells.dropna()
    wrong = [not (isinstance(cell, int | float) or _NUMBER.fullmatch(str(cell).strip())) for cell in known]
    right = len(wrong) - sum(wrong)
    if not any(wrong) or right < 3 or right <= sum(wrong):
        return None
    return int(cells.notna().to_numpy().nonzero()[0][wrong.index(True)])


def place(cells: pd.Series | pd.DataFrame, position: int) -> str:
    """Where a row stands, as an editor shows it: `line 7` of a file of text, `row 7` of another."""
    name = cells.index.name
    return f"{name} {cells.index[position]}" if name in ("line", "row") else f"row {position + 1}"


def _stripped(cell: Any, empty: Collection[str]) -> Any:
    if not isinstance(cell, str):
        return cell
    bare = cell.strip()
    return None if bare in empty else bare


def _holds_text(cells: pd.Series) -> bool:
    return pd.api.types.is_string_dtype(cells.dtype) or pd.api.types.is_object_dtype(cells.dtype)
