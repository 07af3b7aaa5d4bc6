"""Tables of Parquet."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from common.lazy import pd
from common.table_files.limits import most_bytes, too_large

CELL = 8  # bytes of a cell in memory, at least


def parquet(path: Path) -> pd.DataFrame:
    """The columns of a file, numbered from 1; the index of a DataFrame is left out, and decimals are floats.

    Raises:
        ValueError: if it is no Parquet file, takes more memory than it may, or a column holds lists, mappings, bytes
            or times of the day.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except Exception as error:  # whatever Arrow raises on broken bytes
        raise _unreadable(path, error) from error
    strange = [f"{field.name} ({field.type})" for field in schema if not is_plain(field.type)]
    if strange:
        raise ValueError(f"{path}: cells of {', '.join(strange)} are no numbers, texts, dates or truth values")
    if CELL * rows * max(1, len(schema)) > (limit := most_bytes(path)):
        raise too_large(path, f"has {rows:,} rows of {len(schema)} columns, which take", limit)
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    try:
        characters = _text_bytes(path, texts, limit) if texts else 0
        if texts and characters <= limit:
            pq.read_table(path, columns=texts).validate(full=True)  # texts that are not UTF-8 would be found too late
        table = pd.read_parquet(path) if characters <= limit else None
    except Exception as error:
        raise _unreadable(path, error) from error
    if table is None:
        raise too_large(path, "holds texts of", limit)
    named = [str(name) for name in table.index.names if name is not None]
    for position in range(table.shape[1]):
        cells = table.iloc[:, position]
        if pa.types.is_decimal(schema.field(str(table.columns[position])).type):
            numbers = [float(cell) if isinstance(cell, Decimal) else float("nan") for cell in cells]
            table.isetitem(position, pd.Series(numbers, dtype="float64", index=cells.index).array)
        elif pa.types.is_date(schema.field(str(table.columns[position])).type):
            table.isetitem(position, pd.to_datetime(cells).array)
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    table.attrs["notes"] = [f"the index {', '.join(named)} of {path.name} is left out"] if named else []
    return table


def _text_bytes(path: Path, names: list[str], limit: int) -> int:
    """Bytes of the texts of some columns, of which the file may store each different one once; 0 where they are few."""
    import pyarrow.parquet as pq
    from pyarrow import compute

    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    if sum(group.num_rows * group.total_byte_size for group in groups) <= limit:
        return 0
    total = 0
    for column in pq.read_table(path, columns=names, read_dictionary=names).columns:
        for part in column.chunks:
            lengths = compute.cast(compute.binary_length(part.dictionary), "int64")
            total += compute.sum(lengths.take(part.indices)).as_py() or 0
    return total


def _unreadable(path: Path, error: Exception) -> ValueError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{path} cannot be read as a table: {said}. Write it anew, or replace it")


def is_plain(kind: object) -> bool:
    """Whether values of an Arrow type are numbers, texts, dates or truth values."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type  # type: ignore[attr-defined]
    strange = (types.is_nested, types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_time,
               types.is_duration, types.is_interval)  # fmt: skip
    return not any(check(kind) for check in strange)
