"""CSV and Parquet files: reading tables, and writing them with every observed cell unchanged."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from common.lazy import pd
from modalities.tabular.columns import Column

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")  # cells of a CSV that count as empty


def read_table(path: Path) -> pd.DataFrame:
    """The table of a CSV or Parquet file, with NaN for empty cells.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has another format, or cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a .csv or .parquet file")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".csv":
            return pd.read_csv(path, na_values=list(MISSING), keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    raise ValueError(f"{path}: tables are .csv or .parquet")


def write_rows(table: pd.DataFrame, path: Path) -> None:
    """Writes a table as CSV or Parquet; the suffix decides."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        raise ValueError(f"{path}: tables are written as .csv or .parquet")


def fill_table(table: pd.DataFrame, columns: Sequence[Column], x: Tensor) -> pd.DataFrame:
    """A copy of a table with its missing cells from x [N, F]; order, index, dtypes and observed cells are unchanged.

    A column of whole numbers that pandas stores as floats, because cells are missing, remains one of floats.
    """
    filled = table.copy()
    for column, values in zip(columns, x.double().cpu().numpy().T, strict=True):
        position = [str(name) for name in table.columns].index(column.name)
        cells: pd.Series = table.iloc[:, position]
        missing = cells.isna().to_numpy()
        if missing.any():
            new = column.present(values[missing])
            result = cells.astype(object).copy()
            result[missing] = new
            filled.isetitem(position, _restored(result, cells).array)
    return filled


def _restored(filled: pd.Series, original: pd.Series) -> pd.Series:
    """A filled column with its original dtype."""
    if pd.api.types.is_integer_dtype(original.dtype):
        return filled.map(int).astype(original.dtype)
    if isinstance(original.dtype, pd.CategoricalDtype) and pd.api.types.is_integer_dtype(original.cat.categories):
        filled = filled.map(int)
    return filled.astype(original.dtype)


def fill_csv(path: Path, columns: Sequence[Column], x: Tensor) -> str:
    """The text of a CSV file with its empty cells from x [N, F]; every other character is unchanged.

    Columns are matched by name, in the file's order. As in `read_table`, blank lines are no rows, and the cells that a
    short line lacks are empty.

    Raises:
        ValueError: if a column of the model is not, or not once, in the header, if a line has more cells than the
            header, or if the file has not N rows.
    """
    lines = _lines_of(path.read_bytes().decode("utf-8"))
    header, *rows = [cells for cells, _ in lines if len(cells) > 1 or cells[0].strip(" \t")]
    names = [_unquoted(cell) for cell in header]
    names[0] = names[0].removeprefix("\ufeff")
    for column in columns:
        if names.count(column.name) != 1:
            raise ValueError(f"{path} names the column {column.name} {names.count(column.name)} times, not once")
    values = x.nan_to_num().double().cpu().numpy()
    presented = {names.index(c.name): (c, c.present(values[:, i])) for i, c in enumerate(columns)}
    if len(rows) != len(x):
        raise ValueError(
            f"{path} has {len(rows)} rows and {len(x)} were read from it: look for open quotes, and quotes inside of "
            "cells"
        )
    for row, cells in enumerate(rows):
        if len(cells) > len(names):
            raise ValueError(f"{path}, row {row + 1} has {len(cells)} cells, more than the {len(names)} of the header")
        cells += [""] * (len(names) - len(cells))
        for position, (column, filling) in presented.items():
            if _unquoted(cells[position]) in MISSING:
                cells[position] = _quoted(format_cell(filling[row], column))
    return "".join(",".join(cells) + ending for cells, ending in lines)


def format_cell(value: object, column: Column) -> str:
    """An imputed value as text: a whole number if the column has only those, else six significant digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    number = float(value)  # type: ignore[arg-type]
    return str(int(number)) if (column.whole or column.discrete) and number.is_integer() else f"{number:.6g}"


def _quoted(text: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow([text])
    return out.getvalue()


def _unquoted(cell: str) -> str:
    return next(csv.reader([cell], strict=False), [""])[0] if cell.startswith('"') else cell


def _lines_of(text: str) -> list[tuple[list[str], str]]:
    """Raw cells of each line, quotes included, and the line's ending; line breaks inside quotes belong to cells."""
    lines: list[tuple[list[str], str]] = []
    cells: list[str] = []
    start, quoted = 0, False
    for match in re.finditer(r'"|,|\r\n|\r|\n', text):
        if match[0] == '"':
            quoted = not quoted
        elif not quoted:
            cells.append(text[start : match.start()])
            start = match.end()
            if match[0] != ",":
                lines.append((cells, match[0]))
                cells = []
    if start < len(text) or cells:
        lines.append(([*cells, text[start:]], ""))
    return lines
