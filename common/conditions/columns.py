"""Columns of a user's table as condition fields."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from common.conditions.attributes import Attribute, Categorical, Continuous, Fields
from common.lazy import pd
from common.table_files import place, stray_number

LARGEST = 1e18  # of a number to condition on: its square, in a variance, is a float32
MAX_CATEGORIES = 20  # whole numbers with more different values are continuous


@dataclass(frozen=True)
class ConditionColumns:
    """Columns as conditions.

    Attributes:
        fields: raw values by name, each [N].
        attributes: type of each field; the statistics of continuous ones are left to the caller, who knows the split.
        notes: what was changed or left out, a line each.
    """

    fields: Fields = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def condition_columns(
    table: pd.DataFrame,
    file: Path,
    continuous: Sequence[str] = (),
    wanted: Sequence[str] | None = None,
) -> ConditionColumns:
    """The columns of a file as conditions.

    Text, and numbers with at most 20 different whole values, are categories; other numbers are continuous. Empty cells
    are missing. Spellings of a category that differ in capital letters alone are one category. Columns of text of which
    most cells differ, such as names, are left out unless they are wanted.

    Args:
        table: the rows, with conditions alone in their columns.
        file: the file of the table, for messages.
        continuous: columns to treat as continuous in any case.
        wanted: names of the columns to read; None reads all.

    Raises:
        ValueError: for an unknown column or a wrong value; the message names file, line and column.
    """
    names = list(map(str, table.columns)) if wanted is None else list(wanted)
    unknown = [name for name in [*names, *continuous] if name not in table.columns]
    if unknown:
        raise ValueError(f"{file} has no column {', '.join(unknown)}; it has: {', '.join(map(str, table.columns))}")
    result = ConditionColumns()
    for name in names:
        column = table[name]
        stray = stray_number(column)
        numbers = pd.to_numeric(column, errors="coerce")
        if (name in continuous or _is_continuous(numbers if stray is not None else column)) and column.notna().any():
            wrong = (numbers.isna() & column.notna()).to_numpy().nonzero()[0]
            if len(wrong):
                others = f", as {numbers.notna().sum():,} others are" if name not in continuous else ""
                raise ValueError(
                    f"{file}, {place(column, int(wrong[0]))}, column {name}: {column.iloc[wrong[0]]!r} is not a "
                    f"number{others}: correct the cell, or leave it empty"
                )
            large = (numbers.abs() > LARGEST).to_numpy().nonzero()[0]
            if len(large):
                raise ValueError(
                    f"{file}, {place(column, int(large[0]))}, column {name}: {column.iloc[large[0]]!r} is too large a "
                    "number to condition on: correct the cell, or leave it empty"
                )
            result.fields[name] = torch.tensor(numbers.to_numpy(dtype="float32", na_value=float("nan")))
            result.attributes[name] = Continuous()
            continue
        known = column.dropna()
        if known.empty:
            if wanted is not None:
                raise ValueError(f"{file}: the column {name} is empty: no condition can be read from it")
            result.notes.append(f"left out as a condition: {name}, which is empty")
            continue
        _of_one_type(known, name, file)
        if wanted is None and _holds_names(known):
            result.notes.append(
                f"left out as a condition: {name}, of which {known.nunique():,} of {len(known):,} cells differ "
                "(data.condition takes it in)"
            )
            continue
        labels, notes = tidy([None if pd.isna(value) else text_of(value) for value in column], name)
        values = sorted({label for label in labels if label is not None}, key=_in_order)
        positions = {value: position for position, value in enumerate(values)}
        result.fields[name] = torch.tensor([-1 if label is None else positions[label] for label in labels])
        result.attributes[name] = Categorical(values)
        result.notes.extend(notes)
    return result


def tidy(labels: Sequence[str | None], name: str) -> tuple[list[str | None], list[str]]:
    """Labels without spaces around them, in one spelling where only capital letters differ: the commonest one.

    Args:
        labels: the label of each example; None is missing.
        name: what they are labels of, for the notes.

    Returns:
        The labels, and a line for each category that had several spellings.
    """
    labels = [None if label is None else unicodedata.normalize("NFC", label.strip()) for label in labels]
    counts = Counter(label for label in labels if label is not None)
    spellings: dict[str, list[str]] = {}
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        spellings.setdefault(label.lower(), []).append(label)
    notes = [
        f"{name}: {', '.join(map(repr, others))} {'is' if len(others) == 1 else 'are'} taken for {chosen!r}"
        for chosen, *others in spellings.values()
        if others
    ]
    return [None if label is None else spellings[label.lower()][0] for label in labels], notes


def fit_continuous(attributes: dict[str, Attribute], fields: Fields, train: torch.Tensor) -> dict[str, Attribute]:
    """The attributes with the statistics of the training rows in the continuous ones.

    Raises:
        ValueError: naming a condition that no training row has.
    """
    result = dict(attributes)
    for name, attribute in attributes.items():
        if isinstance(attribute, Continuous):
            try:
                result[name] = Continuous.fit(fields[name][train])
            except ValueError as error:
                raise ValueError(f"condition {name}: {error}") from None
    return result


def text_of(value: object) -> str:
    """A cell as text; whole numbers that pandas holds as floats, because of an empty cell, lose the `.0`."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _is_continuous(column: pd.Series) -> bool:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    known = column.dropna()
    return bool((known != known.round()).any() or known.nunique() > MAX_CATEGORIES)


def _holds_names(known: pd.Series) -> bool:
    """Whether the cells are names of the rows rather than categories."""
    text = not pd.api.types.is_numeric_dtype(known)
    return text and known.nunique() > MAX_CATEGORIES and known.nunique() > len(known) / 2


def _of_one_type(known: pd.Series, name: str, file: Path) -> None:
    """Raises ValueError where a column of JSON mixes texts, numbers and truth values."""
    if not pd.api.types.is_object_dtype(known):
        return
    first: dict[str, int] = {}
    for position, value in enumerate(known):
        kind = "a truth value" if isinstance(value, bool) else "a text" if isinstance(value, str) else "a number"
        first.setdefault(kind, position)
    if len(first) > 1:
        found = [f"{known.iloc[row]!r} in {place(known, row)} is {kind}" for kind, row in first.items()]
        raise ValueError(f"{file}, column {name}: {', '.join(found)}: write all of them alike")


def _in_order(label: str) -> tuple[bool, float, str]:
    """Numbers by size, before texts by letters."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (False, number, label) if math.isfinite(number) else (True, 0.0, label)
