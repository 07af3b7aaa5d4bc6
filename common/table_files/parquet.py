"""Tables of Parquet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from common.lazy import pd


def parquet(path: Path) -> pd.DataFrame:
    """The columns of a file, numbered from 1; the index of a DataFrame is left out, and decimals are floats.

    Raises:
        ValueError: if it is no Parquet file, or a column holds lists, mappings, bytes or times of the day.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        strange = [f"{field.name} ({field.type})" for field in schema if not _plain(field.type)]
        if strange:
            raise ValueError(f"{path}: cells of {', '.join(strange)} are no numbers, texts, dates or truth values")
        table = pd.read_parquet(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    named = [str(name) for name in table.index.names if name is not None]
    for position in range(table.shape[1]):
        cells = table.iloc[:, position]
        if pa.types.is_decimal(schema.field(str(table.columns[position])).type):
            numbers = [float(cell) if isinstance(cell, Decimal) else float("nan") for cell in cells]
            table.isetitem(position, pd.Series(numbers, dtype="float64", index=cells.index).array)
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    table.attrs["notes"] = [f"the index {', '.join(named)} of {path.name} is left out"] if named else []
    return table


def _plain(kind: object) -> bool:
    """Whether values of an Arrow type are numbers, texts, dates or truth values."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type  # type: ignore[attr-defined]
    strange = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_time,
               types.is_duration, types.is_interval)  # fmt: skip
    return not any(check(kind) for check in strange)
