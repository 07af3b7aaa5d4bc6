"""The cells of a DataFrame or an array: which ones are missing, and filling them without touching any other."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.conditions.columns import text_of
from common.lazy import pd
from common.table_files import place
from modalities.tabular.columns import Column

Labels = Mapping[str, Any]  # text of a value of a discrete column -> the value itself


@dataclass(frozen=True)
class Cells:
    """The cells of X [N, F].

    Attributes:
        original: X as it was passed, a DataFrame or an array.
        frame: X with NaN, None or NaT in its missing cells; a column of objects has the dtype of its values.
        missing: [N, F], True where a cell is missing.
    """

    original: Any
    frame: pd.DataFrame
    missing: np.ndarray

    def __len__(self) -> int:
        return len(self.missing)


def is_empty_marker(marker: Any) -> bool:
    """Whether a marker of missing cells is NaN, None or pandas' NA, which are one and the same here."""
    return marker is None or marker is pd.NA or (isinstance(marker, numbers.Real) and math.isnan(marker))


def read_cells(X: Any, names: Sequence[str], marker: Any) -> Cells:
    """The cells of a DataFrame, or of an array of numbers or objects.

    Args:
        X: [N, F].
        names: names of the F columns.
        marker: what stands in missing cells.

    Raises:
        ValueError: for a cell that is NaN where something else marks the missing ones, or a text as marker of numbers.
    """
    if not isinstance(X, pd.DataFrame) and X.dtype.kind == "f" and isinstance(marker, str):
        raise ValueError(
            f"'X' and 'missing_values' types are expected to be both numerical. Got X.dtype={X.dtype} and "
            f"type(missing_values)={type(marker)}."
        )
    table = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)
    columns = [_marked(table.iloc[:, position], name, marker) for position, name in enumerate(names)]
    frame = pd.concat(columns, axis=1) if columns else table
    return Cells(X, frame, frame.isna().to_numpy())


def _marked(cells: pd.Series, name: str, marker: Any) -> pd.Series:
    """A column with NaN, None or NaT where the marker stands."""
    if not is_empty_marker(marker):
        empty = cells.isna().to_numpy()
        if empty.any():
            raise ValueError(
                f"Input X contains NaN in {place(cells, int(empty.argmax()))}, column {name}, but missing_values is "
                f"{marker!r}: fill the cell, or mark all missing cells alike"
            )
        # True equals 1, and is no number that stands for a missing cell.
        comparable = not (isinstance(marker, numbers.Real) and pd.api.types.is_bool_dtype(cells.dtype))
        if comparable:
            cells = cells.mask((cells == marker).fillna(False).astype(bool))
        if isinstance(cells.dtype, pd.CategoricalDtype) and marker in cells.cat.categories:
            cells = cells.cat.remove_categories([marker])
    if pd.api.types.is_object_dtype(cells.dtype):
        known = cells.notna().to_numpy()
        inferred = pd.Series(cells[known].infer_objects().array, index=np.flatnonzero(known))
        cells = inferred.reindex(range(len(cells))).set_axis(cells.index)
    return cells.rename(name)


def labels_of(cells: pd.Series) -> Labels:
    """The values of a discrete column as they stand in a table, by their texts."""
    known = cells.dtype.categories if isinstance(cells.dtype, pd.CategoricalDtype) else cells.dropna().unique()
    return {text_of(value): value for value in known}


def filled_column(
    cells: pd.Series, missing: np.ndarray, column: Column, x: np.ndarray, labels: Labels, zone: Any = None
) -> pd.Series:
    """A column with its missing cells filled; dtype, index and all other cells are unchanged.

    A category that its dtype lacks is added to it, since the cell would be NaN.

    Args:
        cells: the column as it was passed, [N].
        missing: [N], True where a cell is to be filled.
        column: its kind.
        x: encoded values of the missing cells.
        labels: from `labels_of`.
        zone: time zone of a column of dates.
    """
    values: Any = column.present(x)
    if column.discrete:
        codes = column.decode(x).astype(int)
        values = [labels.get(column.values[code], value) for code, value in zip(codes, values.tolist(), strict=True)]
    if zone is not None:
        times = pd.Series(pd.DatetimeIndex(values))
        values = times.dt.tz_localize(zone, ambiguous=np.zeros(len(times), bool), nonexistent="shift_forward")
    return put(cells, missing, values)


def put(cells: pd.Series, missing: np.ndarray, values: Any) -> pd.Series:
    """A column with values in place of its missing cells, and the same dtype."""
    dtype = cells.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        known = labels_of(cells)
        values = [known.get(text_of(value), value) for value in values]
        lacking = [value for value in dict.fromkeys(values) if value not in dtype.categories]
        cells = cells.cat.add_categories(lacking) if lacking else cells
    elif pd.api.types.is_integer_dtype(dtype) or pd.api.types.infer_dtype(cells, skipna=True) == "integer":
        limits = np.iinfo(np.int64 if pd.api.types.is_object_dtype(dtype) else getattr(dtype, "numpy_dtype", dtype))
        values = [min(max(round(float(value)), limits.min), limits.max) for value in values]
    elif pd.api.types.is_object_dtype(dtype):
        values = pd.Series(values).tolist()  # Timestamps, and Python's numbers
    array = cells.array.copy()
    array[missing] = pd.array(values, dtype=cells.dtype)
    return pd.Series(array, index=cells.index, name=cells.name)


class NumberFrame(pd.DataFrame):
    """A frame of nullable numbers, which NumPy reads as numbers; it reads those of any other frame as objects."""

    @property
    def _constructor(self) -> Any:  # what is derived from it is an ordinary frame
        return pd.DataFrame

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.to_numpy(dtype=float if dtype is None else dtype, na_value=np.nan)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table, as a `NumberFrame` if it holds nothing but numbers, some of them nullable."""
    numeric = all(pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes)
    nullable = any(pd.api.types.is_extension_array_dtype(dtype) for dtype in table.dtypes)
    return NumberFrame(table) if numeric and nullable else table


def nothing_known(cells: pd.Series) -> Any:
    """What fills a column of which no cell was ever observed: 0, the first day of 1970, or a word among words."""
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return pd.Timestamp(0, tz=getattr(cells.dtype, "tz", None))
    words = pd.api.types.is_string_dtype(cells.dtype) and not pd.api.types.is_object_dtype(cells.dtype)
    return "missing_value" if words or isinstance(cells.dtype, pd.CategoricalDtype) else 0
