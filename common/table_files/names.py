"""Suffixes of table files, and names of columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
JSON_SUFFIXES = (".jsonl", ".jsonl.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
EXCEL_SUFFIXES = (".xlsx",)
BINARY_SUFFIXES = (*PARQUET_SUFFIXES, *EXCEL_SUFFIXES)
TABLE_SUFFIXES = (*TEXT_SUFFIXES, *JSON_SUFFIXES, *BINARY_SUFFIXES)


def suffix_of(path: Path) -> str:
    """The suffix of a table file in small letters, `.csv.gz` included."""
    name = path.name.lower()
    return next((s for s in sorted(TABLE_SUFFIXES, key=len, reverse=True) if name.endswith(s)), path.suffix.lower())


def unrepeated(names: Sequence[str], path: Path) -> None:
    """Raises ValueError if two columns have the same name; all such names are in the message."""
    known, twice = set(), []
    for name in names:
        if name in known and name not in twice:
            twice.append(name)
        known.add(name)
    if twice:
        raise ValueError(f"{path}: two columns are named {', '.join(map(repr, twice))}: rename one")
