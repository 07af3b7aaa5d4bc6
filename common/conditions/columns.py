"""Columns of a user's table as condition fields."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from common.conditions.attributes import Attribute, Categorical, Continuous, Fields
from common.lazy import pd

MAX_CATEGORIES = 20


def read_csv(file: Path, text: Iterable[str] = ()) -> pd.DataFrame:
    """A user's CSV as it is written: an empty cell alone is missing, so that `None` and `NA` are names.

    Args:
        file: the CSV, gzipped or not.
        text: columns of text, in which digits stay text.

    Raises:
        ValueError: if it cannot be read; the message names it.
    """
    try:
        return pd.read_csv(file, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(text, "str"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as CSV: {error}") from error


def condition_columns(
    table: pd.DataFrame, names: Iterable[str], file: Path, continuous: list[str]
) -> tuple[Fields, dict[str, Attribute]]:
    """Raw fields and attributes of some columns of a file.

    Text, and numbers with at most 20 different whole values, are categories; other numbers are continuous. Empty cells
    are missing. Statistics of continuous columns are left to the caller, which knows the split.

    Args:
        table: the rows.
        names: the columns to read.
        file: the file of the table, for error messages.
        continuous: columns to treat as continuous in any case.

    Raises:
        ValueError: for an unknown column or a wrong value; the message names file, row and column.
    """
    unknown = [name for name in [*names, *continuous] if name not in table.columns]
    if unknown:
        raise ValueError(f"{file} has no column {', '.join(unknown)}; it has: {', '.join(table.columns)}")
    fields: Fields = {}
    attributes: dict[str, Attribute] = {}
    for name in names:
        column = table[name]
        if name in continuous or _is_continuous(column):
            numbers = pd.to_numeric(column, errors="coerce")
            wrong = column[numbers.isna() & column.notna()]
            if len(wrong):
                row = int(column.index.get_indexer(wrong.index[:1])[0]) + 2  # after the header
                raise ValueError(f"{file}, row {row}, column {name}: {wrong.iloc[0]!r} is not a number")
            fields[name] = torch.tensor(numbers.to_numpy(dtype="float32"))
            attributes[name] = Continuous()
        else:
            values = sorted(column.dropna().unique())
            positions = {value: position for position, value in enumerate(values)}
            fields[name] = torch.tensor([positions.get(value, -1) for value in column])
            attributes[name] = Categorical([_text(value) for value in values])
    return fields, attributes


def fit_continuous(attributes: dict[str, Attribute], fields: Fields, train: torch.Tensor) -> dict[str, Attribute]:
    """The attributes with the statistics of the training rows in the continuous ones."""
    return {
        name: Continuous.fit(fields[name][train]) if isinstance(attribute, Continuous) else attribute
        for name, attribute in attributes.items()
    }


def _is_continuous(column: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    known = column.dropna()
    return bool((known != known.round()).any() or known.nunique() > MAX_CATEGORIES)


def _text(value: object) -> str:
    """A value as text; whole numbers that pandas holds as floats, because of an empty cell, lose the `.0`."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
