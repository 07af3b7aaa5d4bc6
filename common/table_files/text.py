"""Tables of text: their records, their separators, and the types of their columns."""

from __future__ import annotations

import csv
import gzip
import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from common.lazy import pd
from common.table_files.dialect import Dialect, style_of, styles_of
from common.table_files.limits import BlankLines, opened
from common.table_files.names import suffix_of, unrepeated

SEPARATORS = (",", ";", "\t", "|")
SAMPLED = 200  # records from which the separator is found out
CELLS = 50_000  # cells in memory at once
INDEX = ("", "Unnamed: 0")  # names of a first column that pandas writes for its index
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
# Lines of whole numbers, or of fractions that cannot be thousands, with empty ones: a column is searched at once.
_USUAL = {
    "whole": re.compile(r"(?>(?:[+-]?(?!0\d)\d{1,18})?\n)*+"),
    "point": re.compile(r"(?>(?:[+-]?(?![1-9]\d{0,2}\.\d{3}\n)(?:\d*\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+))?\n)*+"),
}
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


@dataclass(frozen=True)
class TextFile:
    """The text of a file, and how it is stored.

    Attributes:
        path: the file.
        text: its text without the byte-order mark.
        mark: the byte-order mark; empty if there is none.
        encoding: the encoding.
        zipped: whether it is gzipped.
    """

    path: Path
    text: str
    mark: bytes = b""
    encoding: str = "utf-8"
    zipped: bool = False

    def stored(self, text: str) -> bytes:
        """Another text, stored as this one is.

        Raises:
            ValueError: if the encoding has no bytes for one of its characters.
        """
        try:
            raw = self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            raise ValueError(f"{self.path} is {self.encoding}, which cannot write {text[error.start]!r}") from error
        return gzip.compress(raw, mtime=0) if self.zipped else raw


@dataclass
class _Tally:
    """How the cells of a column are written: their number, and the first cell, of each style."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def known(self) -> int:
        """Cells that are not empty."""
        return self.counts.total()

    @property
    def numbers(self) -> int:
        """Cells that are numbers."""
        return self.known - self.counts["text"] - self.counts["truth"]


@dataclass(frozen=True)
class Records:
    """The records of a table of text.

    Attributes:
        file: the file.
        names: the header, N names.
        lines: line of the file on which each record begins; the first is 1.
        dialect: how the file is written, completely known.
        notes: what a person should know of the reading, a line each.
        tallies: how the cells of each column are written.
        ahead: lines before the header that are no records, and their length in characters.
    """

    file: TextFile
    names: list[str]
    lines: Sequence[int]
    dialect: Dialect
    notes: list[str]
    tallies: list[_Tally]
    ahead: tuple[int, int]

    @property
    def rows(self) -> list[list[str]]:
        """Cells of each record; short ones are filled with empty cells."""
        return [list(row) for block in self.blocks() for row in zip(*block, strict=True)]

    def blocks(self) -> Iterator[list[list[str]]]:
        """The cells of each column, a block of records at a time."""
        records, width = _split(self.file, str(self.dialect.separator), self.ahead), len(self.names)
        next(records)
        while block := list(islice(records, 1 + CELLS // width)):
            yield _columns(block, width)


def read_records(path: Path, dialect: Dialect | None = None, empty: Collection[str] = ("",)) -> Records:
    """The cells of a table of text as they are written, and how it is written.

    Args:
        path: the file.
        dialect: what is known of how it is written.
        empty: cells that count as empty.

    Raises:
        ValueError: for a quote that is not closed, a record with more cells than the header, or another encoding.
    """
    dialect = dialect or Dialect()
    file, ahead = text_file(path, dialect.encoding), (0, 0)
    if (marked := re.match(r"sep=(.)(\r\n|\n|\r)", file.text)) is not None:  # a first line that Excel writes and reads
        dialect, ahead = replace(dialect, separator=dialect.separator or marked[1]), (1, marked.end())
    if dialect.separator is None:
        tabs = suffix_of(path).startswith(".tsv")
        dialect = replace(dialect, separator="\t" if tabs else _separator(file, ahead))
    records = _split(file, str(dialect.separator), ahead)
    first, names = next(records, (0, []))
    if not names:
        raise ValueError(f"{path} is empty: a table has a header and rows")
    names = [name.strip() for name in names]
    if all(map(styles_of, names)) and names not in ([str(n + start) for n in range(len(names))] for start in (0, 1)):
        raise ValueError(
            f"{path}, line {first} holds numbers alone ({', '.join(names[:3])}): a table begins with the names of its "
            "columns: write a line of names above"
        )
    tallies, lines, short = [_Tally() for _ in names], array("q"), array("q")
    numbers = any(cell[-1:].isdigit() for cell in empty)
    while block := list(islice(records, 1 + CELLS // len(names))):
        for line, cells in block:
            lines.append(line)
            if len(cells) < len(names):
                if len(cells) == 1 and cells[0].startswith("#"):
                    raise ValueError(f"{path}, line {line} is a comment, which a table cannot have: delete the line")
                short.append(line)
            elif len(cells) > len(names) and any(cells[len(names) :]):
                raise ValueError(_too_long(path, first, names, line, cells))
        for tally, column in zip(tallies, _columns(block, len(names)), strict=True):
            _count(tally, column, empty, numbers)
    notes = []
    if short:
        notes.append(f"{len(short)} lines have fewer cells than the header (line {short[0]}): the others are empty")
    dialect = _numbers(names, tallies, dialect, path)
    if dialect.separator != "," or dialect.decimal == "," or dialect.thousands:
        notes.insert(0, f"{path.name}: {dialect}")
    return Records(file, names, lines, dialect, notes, tallies, ahead)


def text_file(path: Path, encoding: str = "utf-8") -> TextFile:
    """The text of a file, gzipped or not; the encoding of its byte-order mark has precedence.

    Raises:
        ValueError: if it is encoded otherwise, when the message names the line, or as in `limits.opened`.
    """
    with opened(path) as file:
        raw, zipped = file.read(), path.name.lower().endswith(".gz")
    mark = next((mark for mark in MARKS if raw.startswith(mark)), b"")
    encoding = MARKS.get(mark, encoding)
    try:
        text = raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: not {encoding.upper()} ({error.reason}): save the file as UTF-8, or name its "
            "encoding, such as cp1252"
        ) from error
    except LookupError:
        raise ValueError(f"{encoding!r} is no encoding; there are utf-8, cp1252, latin-1 ...") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"{path}, line {line} holds the character NUL: save the file as UTF-8, or name its encoding, such as "
            "utf-16-le"
        )
    return TextFile(path, text, mark, encoding, zipped)


def table_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file, as in `text_file`."""
    return text_file(path, encoding).text


def typed(records: Records, text: Collection[str], empty: Collection[str]) -> pd.DataFrame:
    """Records as a frame: columns of numbers and truth values have their types, all others hold text.

    Args:
        records: the records.
        text: names of columns whose cells stay as they are.
        empty: cells that count as empty.
    """
    path, names, notes = records.file.path, records.names, list(records.notes)
    kept = list(range(len(names)))
    if len(names) > 1 and names[0] in INDEX:
        notes.append("the first column has no name: it is taken for the row index, and left out")
        kept = kept[1:]
    for position in list(kept):
        if names[position] == "":
            if records.tallies[position].known:
                raise ValueError(_nameless(path, names, position))
            kept.remove(position)
    unrepeated([names[position] for position in kept], path)
    columns = [
        _TextColumn(names[position] in text, records.tallies[position], len(records.lines), records.dialect, empty)
        for position in kept
    ]
    parts: list[list[Any]] = [[] for _ in kept]
    for block in records.blocks():
        for part, column, position in zip(parts, columns, kept, strict=True):
            try:
                part.append(column.typed(block[position]))
            except ValueError as error:
                raise ValueError(f"{path}, column {names[position]}: {error}: correct the cell") from error
    table = pd.DataFrame({names[p]: c.joined(part) for p, c, part in zip(kept, columns, parts, strict=True)})
    table.index = pd.Index(np.array(records.lines, dtype=np.int64), name="line")
    table.attrs["notes"] = notes
    return table


class _TextColumn:
    """The type of a column of text, and its cells in this type.

    Args:
        verbatim: whether the cells stay as they are.
        tally: how the cells are written.
        count: number of records.
        dialect: how the file is written.
        empty: cells that count as empty.
    """

    def __init__(self, verbatim: bool, tally: _Tally, count: int, dialect: Dialect, empty: Collection[str]) -> None:
        self.verbatim, self.dialect, self.empty = verbatim, dialect, empty
        styles = {style for style, number in tally.counts.items() if number}
        whole = {"whole", {".": "eitherpoint", ",": "eithercomma"}.get(dialect.thousands or "", "whole")}
        complete = tally.known == count
        self.empty_numbers = dialect.empty_numbers
        if verbatim:
            self.dtype = "str"
        elif styles == {"truth"}:
            self.dtype = "bool" if complete else "object"
        # Codes with leading zeros, such as postal codes, and with signs that mean nothing here, are no numbers.
        elif styles & {"text", "truth", "code"} or not all(dialect.reads(cell) for cell in tally.first.values()):
            self.dtype = "str"
        else:
            self.dtype = "int64" if styles and complete and styles <= whole else "float64"

    def typed(self, cells: Sequence[str]) -> Any:
        """Some cells as an array."""
        if self.verbatim:
            return pd.array([cell or None for cell in cells], dtype="str")
        bare = [cell.strip() for cell in cells]
        if self.dtype in ("bool", "object"):
            truth = [None if cell in self.empty else cell.lower() == "true" for cell in bare]
            return np.array(truth, dtype=self.dtype)
        if self.dtype == "str":
            return pd.array([None if cell in self.empty else cell for cell in bare], dtype="str")
        usual = not self.dialect.thousands and self.dialect.decimal != ","
        bare = [
            cell if (usual and cell.isascii()) or cell in self.empty else self.dialect.number(cell) for cell in bare
        ]
        if self.dtype == "int64":
            return np.array(list(map(int, bare)), dtype=np.int64)
        return np.array([np.nan if cell in self.empty else float(cell) for cell in bare], dtype=np.float64)

    def joined(self, parts: list[Any]) -> Any:
        """All cells as a series, without the numbers that count as empty."""
        if not parts:
            return pd.Series([], dtype=self.dtype)
        numbers = self.dtype != "str"
        cells = pd.Series(np.concatenate(parts)) if numbers else pd.concat(map(pd.Series, parts), ignore_index=True)
        wrong = cells.isin(self.empty_numbers) if self.empty_numbers and self.dtype in ("int64", "float64") else None
        return cells if wrong is None or not wrong.any() else cells.mask(wrong)


def _columns(block: Sequence[tuple[int, list[str]]], width: int) -> list[list[str]]:
    """The cells of each column of some records; what a record lacks is empty."""
    rows = [cells if len(cells) == width else (cells + [""] * width)[:width] for _, cells in block]
    return [[row[position] for row in rows] for position in range(width)]


def _nameless(path: Path, names: list[str], position: int) -> str:
    """What is wrong with a header that lacks a name."""
    if sum(map(bool, names)) == 1:
        return _title(path, 1, max(names), len(names))
    return f"{path}: column {position + 1} of the header has no name: name it"


def _too_long(path: Path, first: int, names: list[str], line: int, cells: list[str]) -> str:
    """What is wrong with a record that has more cells than the header."""
    if names[0].startswith("#"):
        return f"{path}, line {first} is a comment, and no header: delete all lines above the header"
    if len(names) == 1:
        return _title(path, first, names[0], len(cells))
    return (
        f"{path}, line {line} has {len(cells)} cells, more than the {len(names)} of the header: look for a separator "
        "inside of a cell, which needs quotes"
    )


def _title(path: Path, line: int, title: str, width: int) -> str:
    return (
        f"{path}, line {line}: {title.strip()!r} is one cell, and the lines below have {width}: the first line of a "
        "table names its columns. Delete the lines above, or put quotes around cells with a separator inside"
    )


def _count(tally: _Tally, cells: Sequence[str], empty: Collection[str], numbers: bool) -> None:
    """Adds the styles of some cells.

    Args:
        tally: the counts.
        cells: the cells.
        empty: cells that count as empty.
        numbers: whether there are numbers among the latter.
    """
    lines, known = "\n".join([*cells, ""]), len(cells) - cells.count("")
    if known and not numbers and lines.count("\n") == len(cells):
        for name, usual in _USUAL.items():
            if usual.fullmatch(lines):
                tally.counts[name] += known
                if name not in tally.first:
                    tally.first[name] = max(cells, key=lambda cell: ("." in cell, len(cell)))
                return

    def style(cell: str) -> str:
        return "" if cell in empty else style_of(cell)

    found = list(map(style, cells))
    for position, name in enumerate(found):
        if name == "text":  # perhaps only for spaces around
            bare = cells[position].strip()
            found[position] = "" if bare in empty else style(bare)
    for name, number in Counter(found).items():
        if name:
            tally.counts[name] += number
            tally.first.setdefault(name, cells[found.index(name)].strip())


def _lines(file: TextFile, start: int) -> Iterator[str]:
    blank = BlankLines(file.path)
    for match in _LINE.finditer(file.text, start):
        if (line := match[0]).isspace():
            blank.add()
        yield line


def _split(file: TextFile, separator: str, ahead: tuple[int, int]) -> Iterator[tuple[int, list[str]]]:
    """Number of the first line and cells of each record; blank lines are none."""
    lines, characters = ahead
    reader = csv.reader(_lines(file, characters), delimiter=separator, strict=True)
    start = 1 + lines
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and (cells[0] == "" or cells[0].strip())):
                yield start, cells
            start = reader.line_num + 1 + lines
    except csv.Error as error:
        raise ValueError(
            f"{file.path}, line {start}: a quote is opened and not closed, or not followed by a separator ({error}). "
            'Close it, or write a quotation mark inside of a cell twice, ""'
        ) from None


def _separator(file: TextFile, ahead: tuple[int, int]) -> str:
    """The separator whose records agree most often with a header of several names.

    Raises:
        ValueError: if the first line has one cell, and all others have several.
    """

    def records(separator: str) -> list[list[str]]:
        reader = csv.reader(_lines(file, ahead[1]), delimiter=separator)
        try:
            return list(islice((cells for cells in reader if any(cells)), SAMPLED))
        except csv.Error:
            return []

    fits: dict[str, tuple[float, float, int, int]] = dict.fromkeys(SEPARATORS, (0.0, 0.0, 0, 0))
    titles: list[str] = []
    for separator in SEPARATORS:
        found = records(separator)
        width = len(found[0]) if found else 0
        if width > 1:
            cells = [cell.strip() for record in found[1:] for cell in record]
            # Where several separators fit, as in `a, m;b, m` above `1,5;2,5`, the right one makes more numbers.
            numbers = sum(map(bool, map(styles_of, cells))) / max(len(cells), 1)
            spaces = sum(name.startswith(" ") for name in found[0])
            fits[separator] = (sum(len(c) == width for c in found) / len(found), numbers, -spaces, width)
        if width == 1 and len(found) > 3 and separator != ",":
            widths = {len(cells) for cells in found[1:]}
            if len(widths) == 1 and (other := widths.pop()) > 1:
                titles.append(_title(file.path, 1 + ahead[0], found[0][0], other))
    best = max(SEPARATORS, key=lambda separator: fits[separator])
    if fits[best][0] == 1.0:
        return best
    if titles:
        raise ValueError(titles[0])
    if fits[best][-1] > 1:
        return best
    lines = [line.split() for line in islice(_lines(file, ahead[1]), SAMPLED) if line.strip()]
    width = len(lines[0]) if lines else 0
    even = len(lines) > 1 and width > 1 and all(len(pieces) == width for pieces in lines)
    if even and any(map(styles_of, lines[1])):
        raise ValueError(f"{file.path}: cells are separated by spaces: write commas, semicolons or tabs")
    return ","


def _numbers(names: list[str], tallies: list[_Tally], dialect: Dialect, path: Path) -> Dialect:
    """The dialect with its decimal sign and its sign of thousands, from the columns of which most cells are numbers."""
    example: dict[str, tuple[str, str]] = {}  # column and cell of each style
    for name, tally in zip(names, tallies, strict=True):
        if 2 * tally.numbers > tally.known:
            for cell in tally.first.values():
                for style in styles_of(cell):
                    # Codes, such as addresses of computers, have groups as well: then not all of them are numbers.
                    if tally.numbers == tally.known or not style.startswith("thousands "):
                        example.setdefault(style, (name, cell))
    decimal, thousands = dialect.decimal, dialect.thousands
    if decimal is None:
        if "decimal ," in example and "decimal ." in example:
            pairs = [f"{example[style][1]!r} in column {example[style][0]}" for style in ("decimal .", "decimal ,")]
            raise ValueError(
                f"{path} has numbers with a decimal point and with a decimal comma ({', '.join(pairs)}): name the "
                "decimal sign"
            )
        if "decimal ." in example:
            example.pop("thousands .", None)  # codes: no number has both
        if {"decimal ,", "thousands ,"} <= example.keys():
            (one, point), (other, group) = example["decimal ,"], example["thousands ,"]
            raise ValueError(
                f"{path} has decimal commas ({point!r} in column {one}) and thousands grouped by commas ({group!r} in "
                f"column {other}): name the decimal sign"
            )
        settled = example.keys() & {"decimal ,", "decimal .", "thousands ,", "thousands ."}
        if "either ," in example and not settled and thousands is None:
            name, cell = example["either ,"]
            raise ValueError(
                f"{path}, column {name}: {cell!r} is {cell.replace(',', '.')} or {cell.replace(',', '')}: name the "
                "decimal sign, a point or a comma"
            )
        decimal = "," if settled & {"decimal ,", "thousands ."} or thousands == "." else "."
    if thousands is None:
        signs = {style[-1] for style in example if style.startswith(("thousands ", "either "))} - {decimal}
        if len(signs) > 1:
            raise ValueError(f"{path} groups thousands by {' and by '.join(map(repr, sorted(signs)))}: name one sign")
        thousands = next(iter(signs), "")
    return replace(dialect, decimal=decimal, thousands=thousands)
