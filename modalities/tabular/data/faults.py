"""Columns that are no data: identifiers, dates as text, and others that no kind fits; all are named at once."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np

from common.lazy import pd
from common.table_files import place, stray_number
from modalities.tabular.columns import Column
from modalities.tabular.schema import MAX_CATEGORIES, Schema, fit_columns

UNIQUE = 0.9  # share of different texts above which a column of text looks like an identifier
FEWEST = 20  # rows from which on it does
_SIGNED = re.compile(r"[+-]?[€$£¥]\s*\d[\d., ]*|[+-]?\d[\d., ]*\s*[€$£¥%‰]")


def fitted(table: pd.DataFrame, schema: Schema, source: str, train: np.ndarray | None = None) -> list[Column]:
    """The columns of a table, as `fit_columns` finds them.

    Raises:
        ValueError: naming all columns that no kind fits, and how to leave them out.
    """
    try:
        return fit_columns(table, schema, train)
    except ValueError as error:
        faults = {}
        for name in map(str, table.columns):
            fault = None if name in schema else _no_data(table[name])
            try:
                fit_columns(table[[name]], {name: schema[name]} if name in schema else {}, train)
            except ValueError as own:
                faults[name] = fault or str(own)
        if not faults:
            raise
        raise ValueError(
            f"{source}: {'; '.join(faults.values())}. Columns are left out with --data.drop '[{','.join(faults)}]'"
        ) from error


def suspicions(table: pd.DataFrame, columns: Sequence[Column]) -> list[str]:
    """Columns that fit a kind and look like identifiers, a sentence each."""
    notes = []
    for column in columns:
        cells = table[column.name].dropna()
        if column.discrete and (signs := _signs(table[column.name])):
            notes.append(signs)
            continue
        if len(cells) < FEWEST or cells.nunique() < UNIQUE * len(cells):
            continue
        if column.kind == "categorical":
            notes.append(f"{_identifier(table[column.name])}; leave it out with data.drop if it is one")
        elif len(cells) == len(table) and column.whole and (cells.diff().iloc[1:] == 1).all():
            notes.append(f"column {column.name} counts the rows; leave it out with data.drop if it says nothing else")
    return notes


def _no_data(cells: pd.Series) -> str | None:
    """What a column of many texts looks like; None for any other."""
    known = cells.dropna()
    text = pd.api.types.is_string_dtype(cells.dtype) or pd.api.types.is_object_dtype(cells.dtype)
    if not text or known.nunique() <= MAX_CATEGORIES or stray_number(cells) is not None:
        return None
    if signs := _signs(cells):
        return signs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dates in several formats
        if pd.to_datetime(known.astype(str), errors="coerce").notna().all():
            return f"column {cells.name} has {known.nunique()} dates as text: only a Parquet or Excel file has dates"
    return _identifier(cells) if known.nunique() >= UNIQUE * len(known) else None


def _signs(cells: pd.Series) -> str | None:
    """What a column of prices or percents looks like; None for any other."""
    known = cells.dropna()
    if len(known) == 0 or not all(isinstance(cell, str) and _SIGNED.fullmatch(cell.strip()) for cell in known):
        return None
    first = int(cells.notna().to_numpy().argmax())
    return (
        f"column {cells.name} is text because of signs beside the numbers, such as {place(cells, first)}: "
        f"{cells.iloc[first]!r}; write the numbers alone"
    )


def _identifier(cells: pd.Series) -> str:
    known = cells.dropna()
    return f"column {cells.name} looks like an identifier: {known.nunique()} different texts in {len(known)} rows"
