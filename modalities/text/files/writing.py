"""Writing sentences: lines, JSONL, or tables with the columns that stood beside them."""

import csv
import gzip
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from common.paths import written_whole
from common.table_files import suffix_of

Write = Callable[[Sequence[str], Sequence[Mapping[str, Any]]], None]  # texts, and the cells of their rows
SEPARATORS = {".csv": ",", ".tsv": "\t"}


def write_texts(texts: Sequence[str], path: Path) -> None:
    """Writes one sentence per line to `.txt`, one object per line to `.jsonl`, a table to `.csv`; `-` is the standard
    output.

    Raises:
        ValueError: for any other suffix.
    """
    with writer(path) as write:
        write(texts, [{}] * len(texts))


@contextmanager
def writer(
    path: Path, names: Sequence[str] = (), column: str = "text", separator: str | None = None
) -> Iterator[Write]:
    """Writes sentences some at a time to a temporary file, which takes the place of `path` at the end.

    Args:
        path: `.txt`, `.jsonl`, `.csv` or `.tsv`, gzipped with `.gz`, or `-`, the standard output.
        names: columns of a table, in their order; the column of text is one of them, or comes last.
        column: the column of text.
        separator: of a CSV; None takes a comma.

    Raises:
        ValueError: for any other suffix.
    """
    name = path.name.lower()
    suffix = ".txt" if str(path) == "-" or name.endswith(".txt.gz") else suffix_of(path)
    kind = suffix.removesuffix(".gz")
    if kind not in (".txt", ".jsonl", *SEPARATORS):
        raise ValueError(f"{path}: sentences are written to .txt, .jsonl or .csv, or to - (the standard output)")
    header = [*names, *([] if column in names else [column])]
    if str(path) == "-":
        yield _writing(sys.stdout, kind, header, column, separator)
        sys.stdout.flush()
        return
    opener: Any = gzip.open if name.endswith(".gz") else open
    with written_whole(path) as unfinished, opener(unfinished, "wt", encoding="utf-8", newline="") as out:
        yield _writing(out, kind, header, column, separator)


def _writing(out: IO[str], kind: str, header: Sequence[str], column: str, separator: str | None) -> Write:
    separator = separator if separator and kind == ".csv" else SEPARATORS.get(kind, ",")
    plain = csv.writer(out, delimiter=separator, lineterminator="\n")
    quoted = csv.writer(out, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    if kind in SEPARATORS:
        plain.writerow(header)

    def write(texts: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
        for text, cells in zip(texts, rows, strict=True):
            if kind == ".jsonl":
                out.write(json.dumps({**cells, column: text}, ensure_ascii=False, default=str) + "\n")
            elif kind in SEPARATORS:
                row = [text if name == column else _cell(cells.get(name)) for name in header]
                (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)
            else:
                out.write(f"{one_line(text)}\n")
        out.flush()

    return write


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool) else value


def one_line(text: str) -> str:
    """A text with spaces in place of its line ends of any kind."""
    return " ".join(text.splitlines())
