"""Table files that are read once, and written with their empty cells filled and everything else unchanged."""

from __future__ import annotations

import io
import json
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from common.lazy import pd
from common.table_files import (
    EXCEL_SUFFIXES,
    JSON_SUFFIXES,
    PARQUET_SUFFIXES,
    TEXT_SUFFIXES,
    Dialect,
    read_records,
    suffix_of,
    text_file,
    typed,
    workbook,
)
from modalities.tabular.columns import Column
from modalities.tabular.data.table_files import MISSING, format_cell, read_table

_PAIR = re.compile(r'("(?:[^"\\]|\\.)*")\s*:\s*("(?:[^"\\]|\\.)*"|[^\s,}"]+)')  # key and value of a flat object


@dataclass(frozen=True)
class Filling:
    """What the empty cells of a column become.

    Attributes:
        name: name of the column in the file.
        position: its position in the table that was read.
        column: the column of the model.
        values: value by number of the row, from 0, of each empty cell.
    """

    name: str
    position: int
    column: Column
    values: Mapping[int, Any]


class Source:
    """A table file, held in memory: it may be written over while it is still filled.

    Args:
        path: the file.
        dialect: what is known of how it is written.
        names: other names of columns, by those in the file.

    Attributes:
        table: the table with its other names, as `read_table` gives it.
        dialect: how the file is written; complete for a table of text.
    """

    def __init__(self, path: Path, dialect: Dialect, names: Mapping[str, str]) -> None:
        self.path, self.dialect = path, dialect
        self.table = self.read()
        self.names = [str(name) for name in self.table.columns]
        self.table.columns = pd.Index([names.get(name, name) for name in self.names])

    def read(self) -> pd.DataFrame:
        """Reads the file."""
        return read_table(self.path, self.dialect)

    def filled(self, columns: Sequence[Column], x: Tensor) -> bytes:
        """The file with its empty cells from x [N, F]; every other cell, and all around the cells, is unchanged."""
        return self.stored(list(self._fillings(columns, x)))

    @abstractmethod
    def stored(self, fillings: list[Filling]) -> bytes:
        """The file with these fillings."""

    def _fillings(self, columns: Sequence[Column], x: Tensor) -> Iterator[Filling]:
        present = list(self.table.columns)
        for column, values in zip(columns, x.double().cpu().numpy().T, strict=True):
            position = present.index(column.name)
            empty = np.flatnonzero(self.table.iloc[:, position].isna().to_numpy())
            new = column.present(values[empty])
            yield Filling(self.names[position], position, column, dict(zip(empty.tolist(), new, strict=True)))


def source_of(path: Path, dialect: Dialect | None = None, names: Mapping[str, str] | None = None) -> Source:
    """The table of a file; arguments as in `Source`, errors as in `read_table`."""
    kinds: dict[tuple[str, ...], type[Source]] = {
        TEXT_SUFFIXES: TextSource,
        JSON_SUFFIXES: JsonSource,
        PARQUET_SUFFIXES: ParquetSource,
        EXCEL_SUFFIXES: ExcelSource,
    }
    suffix = suffix_of(path)
    kind = next((kind for suffixes, kind in kinds.items() if suffix in suffixes), Source)
    return kind(path, dialect or Dialect(), names or {})  # of another suffix, `read_table` says what there is


@dataclass(frozen=True)
class _Hole:
    """An empty cell of a table of text.

    Attributes:
        row: number of the record, from 0.
        position: position in the record.
        start: where its text begins.
        end: where its text ends.
        cells: number of cells of the record, which may be too short to have this one.
    """

    row: int
    position: int
    start: int
    end: int
    cells: int


class TextSource(Source):
    """CSV and TSV: separator, quotes, decimal sign, thousands, encoding and line ends are those of the file."""

    def read(self) -> pd.DataFrame:
        """Reads the file."""
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"{self.path} does not exist")
        empty = {"", *MISSING, *map(str, self.dialect.na_values)}
        self.records = read_records(self.path, self.dialect, empty)
        self.dialect = self.records.dialect
        return typed(self.records, (), empty)

    def stored(self, fillings: list[Filling]) -> bytes:
        """The file with these fillings."""
        places = {self.records.names.index(filling.name): filling for filling in fillings}
        styles = {place: self._style(place) for place in places}
        text, separator = self.records.file.text, str(self.dialect.separator)
        parts: list[str] = []
        done, row, cells = 0, -1, 0
        for hole in self._holes:
            if hole.position not in places or hole.row not in places[hole.position].values:
                continue
            if hole.row != row:
                row, cells = hole.row, hole.cells
            value = places[hole.position].values[hole.row]
            cell = self._cell(value, places[hole.position].column, *styles[hole.position])
            missing = max(0, hole.position + 1 - cells)
            quoted = text[hole.start : hole.end].startswith('"')
            parts += [text[done : hole.start], separator * missing, _quoted(cell, separator, quoted)]
            done, cells = hole.end, cells + missing
        return self.records.file.stored("".join([*parts, text[done:]]))

    def _style(self, place: int) -> tuple[bool, str]:
        """Whether a column groups its thousands, and its spelling of true."""
        tally = self.records.tallies[place]
        sign = {".": "eitherpoint", ",": "eithercomma"}.get(self.dialect.thousands or "", "grouped")
        truth = tally.first.get("truth", "True")
        return bool(tally.counts["grouped"] or tally.counts[sign]), truth

    def _cell(self, value: Any, column: Column, grouped: bool, truth: str) -> str:
        text = format_cell(value, column)
        if isinstance(value, bool | np.bool_):
            return text.upper() if truth.isupper() else text.lower() if truth.islower() else text
        return text if isinstance(value, str | np.datetime64) else self.dialect.written(text, grouped)

    @cached_property
    def _holes(self) -> list[_Hole]:
        """The empty cells, in the order of the file.

        Raises:
            ValueError: if the lines are not the rows that were read.
        """
        names, table = self.records.names, self.table
        where = [names.index(name) for name in self.names]
        empty = {place: table.iloc[:, number].isna().to_numpy() for number, place in enumerate(where)}
        places, holes, row = sorted(empty), [], -1  # record -1 is the header
        for spans in _records(self.records.file.text, str(self.dialect.separator), self.records.ahead[1]):
            if 0 <= row < len(table):
                for place in places:
                    if empty[place][row]:
                        start, end = spans[place] if place < len(spans) else (spans[-1][1], spans[-1][1])
                        holes.append(_Hole(row, place, start, end, len(spans)))
            row += 1
        if row != len(table):
            raise ValueError(f"{self.path} has {row} rows and {len(table)} were read from it: look for open quotes")
        return holes


def _records(text: str, separator: str, start: int) -> Iterator[list[tuple[int, int]]]:
    """Start and end of each cell, quotes included, of each record that is not blank; the header is the first."""
    sign = re.escape(separator)
    cell = re.compile(rf'("[^"]*(?:""[^"]*)*"|[^"{sign}\r\n][^{sign}\r\n]*|)({sign}|\r\n|\r|\n|\Z)')
    spans: list[tuple[int, int]] = []
    for match in cell.finditer(text, start):
        spans.append(match.span(1))
        if match[2] == separator:
            continue
        bare = match[1].removeprefix('"').removesuffix('"') if len(spans) == 1 else "several"
        if bare.strip() or match[1] == '""':
            yield spans
        spans = []


def _quoted(cell: str, separator: str, quoted: bool) -> str:
    """A cell in quotes, if it was quoted or has to be."""
    if quoted or cell.startswith('"') or any(sign in cell for sign in (separator, "\r", "\n")):
        return f'"{cell.replace(chr(34), 2 * chr(34))}"'
    return cell


class JsonSource(Source):
    """JSONL: nulls and absent keys are filled."""

    def read(self) -> pd.DataFrame:
        """Reads the file."""
        table = super().read()
        self.file = text_file(self.path, self.dialect.encoding)
        return table

    def stored(self, fillings: list[Filling]) -> bytes:
        """The file with these fillings."""
        lines = self.file.text.split("\n")
        rows: dict[int, dict[str, str]] = {}
        for filling in fillings:
            for row, value in filling.values.items():
                rows.setdefault(row, {})[filling.name] = _json(value, filling.column)
        for row, values in rows.items():
            number = int(self.table.index[row]) - 1
            lines[number] = _with_values(lines[number], values)
        return self.file.stored("\n".join(lines))


def _json(value: Any, column: Column) -> str:
    text = format_cell(value, column)
    if isinstance(value, bool | np.bool_):
        return text.lower()
    return json.dumps(text, ensure_ascii=False) if isinstance(value, str | np.datetime64) else text


def _with_values(line: str, values: dict[str, str]) -> str:
    """The object of a line with other values of some keys; those that it lacks are appended."""
    left = dict(values)

    def pair(match: re.Match[str]) -> str:
        value = left.pop(json.loads(match[1]), None)
        return match[0] if value is None else match[0][: match.start(2) - match.start()] + value

    line = _PAIR.sub(pair, line)
    if not left:
        return line
    end = line.rindex("}")
    body = line[:end].rstrip()
    comma, colon = (", " if ", " in body or '": ' in body else ",", ": " if '": ' in body else ":")
    more = comma.join(f"{json.dumps(name, ensure_ascii=False)}{colon}{value}" for name, value in left.items())
    return f"{body}{'' if body.endswith('{') else comma}{more}{line[len(body) :]}"


class ParquetSource(Source):
    """Parquet: the types of the columns, the index and the metadata are those of the file."""

    def read(self) -> pd.DataFrame:
        """Reads the file."""
        import pyarrow.parquet as pq

        table = super().read()
        self.arrow = pq.read_table(self.path)
        return table

    def stored(self, fillings: list[Filling]) -> bytes:
        """The file with these fillings."""
        import pyarrow.parquet as pq

        result = self.arrow
        for filling in fillings:
            if filling.values:
                position = result.schema.get_field_index(filling.name)
                field, cells = result.schema.field(position), result.column(position)
                result = result.set_column(position, field, _filled_array(cells, field.type, filling))
        sink = io.BytesIO()
        pq.write_table(result, sink)
        return sink.getvalue()


def _filled_array(cells: Any, kind: Any, filling: Filling) -> Any:
    """A column of Arrow with other values in some of its rows.

    Raises:
        ValueError: if its type cannot hold one of them.
    """
    import pyarrow as pa
    from pyarrow import compute, types

    mask = np.zeros(len(cells), dtype=bool)
    mask[list(filling.values)] = True
    new = list(filling.values.values())
    if types.is_dictionary(kind):
        coded = cells.unify_dictionaries().combine_chunks()
        coded = coded.chunk(0) if isinstance(coded, pa.ChunkedArray) else coded
        known = coded.dictionary.to_pylist()
        texts = {str(value): code for code, value in enumerate(known)}
        lacking = [value for value in dict.fromkeys(new) if str(value) not in texts]
        if lacking:
            known += lacking
            texts = {str(value): code for code, value in enumerate(known)}
        codes = pa.array([texts[str(value)] for value in new], coded.indices.type)
        indices = compute.replace_with_mask(coded.indices, pa.array(mask), codes)
        dictionary = pa.array(known, kind.value_type)
        return pa.DictionaryArray.from_arrays(indices, dictionary, ordered=kind.ordered)
    if types.is_integer(kind):
        ends = np.iinfo(kind.to_pandas_dtype())
        new = [min(max(round(float(value)), ends.min), ends.max) for value in new]
    elif types.is_decimal(kind):
        new = [Decimal(f"{float(value):.{kind.scale}f}") for value in new]
    elif types.is_temporal(kind):
        moments = pa.array(np.array(new))
        if getattr(kind, "tz", None):  # the model's dates are local time
            moments = compute.assume_timezone(
                moments.cast(pa.timestamp(kind.unit)), kind.tz, ambiguous="earliest", nonexistent="latest"
            )
        return compute.replace_with_mask(cells, pa.array(mask), moments.cast(kind, safe=False))
    elif types.is_floating(kind):
        new = [float(value) for value in new]
    elif types.is_string(kind) or types.is_large_string(kind):
        new = [format_cell(value, filling.column) for value in new]
    return compute.replace_with_mask(cells, pa.array(mask), pa.array(new, kind))


class ExcelSource(Source):
    """Excel: only the empty cells of the first sheet are written; a formula without a number stays."""

    def read(self) -> pd.DataFrame:
        """Reads the file."""
        table = super().read()
        self.content = self.path.read_bytes()
        return table

    def stored(self, fillings: list[Filling]) -> bytes:
        """The file with these fillings."""
        book = workbook(self.path, values=False, content=self.content)
        sheet = book.worksheets[0]
        header = next(row for row in sheet.iter_rows() if any(str(cell.value or "").strip() for cell in row))
        places = {str(cell.value).strip(): cell.column for cell in header if cell.value is not None}
        for filling in fillings:
            for row, value in filling.values.items():
                cell = sheet.cell(int(self.table.index[row]), places[filling.name])
                if cell.data_type != "f":
                    cell.value = _excel(value, filling.column)
        sink = io.BytesIO()
        book.save(sink)
        return sink.getvalue()


def _excel(value: Any, column: Column) -> Any:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value).to_pydatetime()
    if isinstance(value, str):
        return value
    number = float(value)
    return int(number) if (column.whole or column.discrete) and number.is_integer() else number
