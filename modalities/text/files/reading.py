"""A user's texts, one a row: lines of a file, or a column of a table, whose other columns stay beside them."""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from pathlib import Path
from typing import Any

from common.lazy import pd
from common.model.files import OnLong, RowOptions
from common.table_files import (
    JSON_SUFFIXES,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    Dialect,
    json_object,
    read_records,
    read_table,
    suffix_of,
)
from modalities.text.data.corpus import decoded, lines_of, text_cell
from modalities.text.tokenizer import Tokenizer

CHUNK = 1024  # rows that are held at once
NAMED = 20  # most rows that a message names
UNREADABLE = (".json", ".xls", ".ods", ".doc", ".docx", ".odt", ".rtf", ".pdf", ".html", ".xml", ".zip")


@dataclass(frozen=True)
class Row:
    """A text.

    Attributes:
        number: of its line or row in the file, as an editor shows it.
        text: the text.
        cells: all cells of its row by column; none in a file of lines.
    """

    number: int
    text: str
    cells: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A file of texts, which may be read several times.

    Attributes:
        path: the file.
        rows: reads it from its beginning.
        place: what the number of a row counts, "line" or "row".
        names: columns of a table; empty for lines.
        column: the column of text.
        separator: of a CSV.
    """

    path: Path
    rows: Callable[[], Iterator[Row]]
    place: str = "line"
    names: Sequence[str] = ()
    column: str | None = None
    separator: str | None = None


@dataclass(frozen=True)
class Sentence:
    """A row as the model reads it: its tokens, of which there are none where it is not read."""

    row: Row
    tokens: list[int]


def open_source(path: Path, options: RowOptions = RowOptions()) -> Source:  # noqa: B008 (frozen)
    """The texts of a file: CSV, TSV, JSONL, Parquet and Excel are tables, any other file has one text a line.

    Args:
        path: the file; `-` is the standard input, whose lines are kept in a temporary file.
        options: names the column of text.

    Raises:
        ValueError: naming the file, and the columns that it has where it is not clear which one is meant.
    """
    suffix = suffix_of(path)
    if str(path) != "-" and suffix in TABLE_SUFFIXES:
        opened = _records if suffix in TEXT_SUFFIXES else _objects if suffix in JSON_SUFFIXES else _frame
        return opened(path, options)
    if suffix in UNREADABLE:
        raise ValueError(f"{path}: texts are read from lines (.txt), .csv, .tsv, .jsonl, .parquet or .xlsx")
    if options.column is not None:
        raise ValueError(f"{path} has lines and no column {options.column}: leave out --text-column")
    lines = _standard_input() if str(path) == "-" else lambda: lines_of(path)
    return Source(path, lambda: (Row(number, line) for number, line in enumerate(lines(), start=1)))


def _standard_input() -> Callable[[], Iterator[str]]:
    kept = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as its source)
    shutil.copyfileobj(sys.stdin.buffer, kept)

    def lines() -> Iterator[str]:
        kept.seek(0)
        return decoded(kept, Path("-"))

    return lines


def _records(path: Path, options: RowOptions) -> Source:
    """A table of text, whose cells stay as they are written."""
    records = read_records(path, Dialect(decimal=".", thousands=""))
    if len(set(records.names)) < len(records.names):
        raise ValueError(f"{path}: two columns have the same name: rename one")

    def rows() -> Iterator[dict[str, str]]:
        for block in records.blocks():
            yield from (dict(zip(records.names, cells, strict=True)) for cells in zip(*block, strict=True))

    column = _column(records.names, list(islice(rows(), CHUNK)), path, options)

    def read() -> Iterator[Row]:
        for number, cells in zip(records.lines, rows(), strict=True):
            yield Row(number, text_cell(cells[column], column, f"{path}, line {number}"), cells)

    separator = records.dialect.separator if suffix_of(path).startswith(".csv") else None
    return Source(path, read, "line", records.names, column, separator)


def _objects(path: Path, options: RowOptions) -> Source:
    """JSONL; blank lines do not count."""

    def objects() -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(lines_of(path), start=1):
            if line.strip():
                yield number, json_object(line, path, number)

    names = list(dict.fromkeys(name for _, cells in objects() for name in cells))
    column = _column(names, [cells for _, cells in islice(objects(), CHUNK)], path, options)

    def read() -> Iterator[Row]:
        for number, cells in objects():
            if column not in cells:
                has = ", ".join(cells) or "nothing"
                raise ValueError(f"{path}, line {number} has no {column}; it has: {has}")
            yield Row(number, text_cell(cells[column], column, f"{path}, line {number}"), cells)

    return Source(path, read, "line", names, column)


def _frame(path: Path, options: RowOptions) -> Source:
    """A Parquet or Excel table; empty cells are empty texts."""
    table = read_table(path, [name for name in (options.column, *options.usual) if name])
    rows = [
        {str(name): None if pd.isna(cell) else cell for name, cell in row.items()} for row in table.to_dict("records")
    ]
    numbers = [int(place) for place in table.index] if path.suffix.lower() == ".xlsx" else range(1, len(rows) + 1)
    names = list(map(str, table.columns))
    column = _column(names, rows[:CHUNK], path, options)

    def read() -> Iterator[Row]:
        for number, cells in zip(numbers, rows, strict=True):
            text = "" if cells[column] is None else cells[column]
            yield Row(number, text_cell(text, column, f"{path}, row {number}"), cells)

    return Source(path, read, "row", names, column)


def _column(names: Sequence[str], rows: Sequence[Mapping[str, Any]], path: Path, options: RowOptions) -> str:
    """The column of text: the named one, a usual one, or the only one that holds texts and no numbers."""
    has = f"it has: {', '.join(names) or 'none'}"
    if options.column is not None:
        if options.column not in names:
            raise ValueError(f"{path} has no column {options.column}; {has}")
        return options.column
    for name in (*options.usual, "text"):
        if name in names:
            return name
    found = [name for name in names if _holds_texts([row.get(name) for row in rows])]
    if len(found) != 1:
        raise ValueError(f"{path} has no column text; {has}. Name that of the texts with --text-column")
    return found[0]


def _holds_texts(cells: Sequence[Any]) -> bool:
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    others = [cell for cell in cells if not isinstance(cell, str) and cell is not None]
    return bool(texts) and not others and not all(re.fullmatch(r"[-+.,\deE\s]+", text) for text in texts)


def sentences(source: Source, tokenizer: Tokenizer, length: int, on_long: OnLong) -> Iterator[list[Sentence]]:
    """The rows of a file as tokens, some at a time; rows that are empty or left unread have none.

    Args:
        source: the file.
        tokenizer: makes tokens of text.
        length: the most tokens of a sentence, its end included.
        on_long: what is done with longer ones.
    """
    rows = source.rows()
    while chunk := list(islice(rows, CHUNK)):
        yield [
            Sentence(row, _fitted(tokens, length, on_long))
            for row, tokens in zip(chunk, _encoded(chunk, tokenizer), strict=True)
        ]


def _encoded(chunk: Sequence[Row], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokens of some rows; none of those that are empty, of which there may be millions."""
    full = [bool(row.text.strip()) for row in chunk]
    encoded = iter(tokenizer.encode([row.text for row in compress(chunk, full)]) if any(full) else ())
    return [next(encoded) if wanted else [] for wanted in full]


def _fitted(tokens: list[int], length: int, on_long: OnLong) -> list[int]:
    if len(tokens) <= length:
        return tokens
    return [*tokens[: length - 1], tokens[-1]] if on_long == "truncate" else []


@dataclass
class Census:
    """How many rows a file has, and which are not read as they are.

    Attributes:
        source: the file.
        count: rows.
        empty: numbers of rows without text.
        long: numbers of rows that are too long, with their numbers of tokens.
    """

    source: Source
    count: int = 0
    empty: list[int] = field(default_factory=list)
    long: list[tuple[int, int]] = field(default_factory=list)

    def listed(self, rows: Sequence[object]) -> str:
        """Rows by their numbers: `line 2, 7 and 9 more`."""
        more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
        return f"{self.source.place} {', '.join(map(str, rows[:NAMED]))}{more}"


def census(source: Source, tokenizer: Tokenizer, length: int, on_long: OnLong) -> tuple[int, list[str]]:
    """Reads a file to its end: the number of its rows, and notes on those that are not read as they are.

    Raises:
        ValueError: if there is no row, or for all rows that are too long where that is an error.
    """
    found, path = Census(source), source.path
    rows = source.rows()
    while chunk := list(islice(rows, CHUNK)):
        for row, tokens in zip(chunk, _encoded(chunk, tokenizer), strict=True):
            found.count += 1
            if not tokens:
                found.empty.append(row.number)
            elif len(tokens) > length:
                found.long.append((row.number, len(tokens)))
    if not found.count:
        raise ValueError(f"{path} holds no {source.place}")
    notes = []
    if found.empty:
        counted = f"{len(found.empty):,} of {found.count:,} texts are empty and stay so"
        notes.append(f"{path}: {counted} ({found.listed(found.empty)})")
    if found.long and on_long == "error":
        rows_named = found.listed([f"{number}: {tokens} tokens" for number, tokens in found.long])
        raise ValueError(
            f"{path}, {rows_named}; this model reads at most {length}. Shorten "
            f"{'it' if len(found.long) == 1 else 'them'}, or choose --on-long truncate or skip"
        )
    if found.long:
        done = "cut to" if on_long == "truncate" else "left out, their output is empty: they have more than"
        numbers = found.listed([number for number, _ in found.long])
        notes.append(f"{path}: {len(found.long):,} of {found.count:,} texts were {done} {length} tokens ({numbers})")
    return found.count, notes
