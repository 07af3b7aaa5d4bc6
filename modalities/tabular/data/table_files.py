"""Table files of a tabular model: what counts as empty in them, and how rows are written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np

from common import table_files
from common.lazy import pd
from common.paths import written_whole
from common.table_files import JSON_SUFFIXES, PARQUET_SUFFIXES, TEXT_SUFFIXES, Dialect, suffix_of
from modalities.tabular.columns import Column

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")  # cells that count as empty


def read_table(path: Path, dialect: Dialect | None = None) -> pd.DataFrame:
    """The table of a file, with NaN or None for empty cells and for the texts of `MISSING`.

    Arguments and errors are those of `common.table_files.read_table`.
    """
    return table_files.read_table(path, missing=MISSING, dialect=dialect)


def write_rows(table: pd.DataFrame, path: Path, dialect: Dialect | None = None) -> None:
    """Writes a table; the suffix decides the format.

    Args:
        table: the rows.
        path: the file.
        dialect: separator and decimal sign of a table of text; None takes commas and points, tabs in a `.tsv`.

    Raises:
        ValueError: for an unsupported suffix.
    """
    suffix, dialect = suffix_of(path), dialect or Dialect()
    if suffix not in table_files.TABLE_SUFFIXES:
        raise ValueError(f"{path}: tables are written as {', '.join(table_files.TABLE_SUFFIXES)}")
    packed: Literal["gzip"] | None = "gzip" if suffix.endswith(".gz") else None
    with written_whole(path) as partial:
        if suffix in PARQUET_SUFFIXES:
            table.to_parquet(partial, index=False)
        elif suffix in TEXT_SUFFIXES:
            separator = dialect.separator or ("\t" if suffix.startswith(".tsv") else ",")
            decimal = dialect.decimal or "."
            table.to_csv(partial, index=False, sep=separator, decimal=decimal, compression=packed)
        elif suffix in JSON_SUFFIXES:
            table.to_json(partial, orient="records", lines=True, force_ascii=False, compression=packed)
        else:
            partial.write_bytes(_as_excel(table, path))


def _as_excel(table: pd.DataFrame, path: Path) -> bytes:
    book = io.BytesIO()
    try:
        table.to_excel(book, index=False, engine="openpyxl")
    except ImportError as error:
        raise ImportError(f"{path}: Excel files need openpyxl: pip install --editable '.[tables]'") from error
    return book.getvalue()


def format_cell(value: object, column: Column) -> str:
    """An imputed value as text: a whole number if the column has only those, else six significant digits."""
    if isinstance(value, str | np.datetime64):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    number = float(value)  # type: ignore[arg-type]
    return str(int(number)) if (column.whole or column.discrete) and number.is_integer() else f"{number:.6g}"
