"""Tables of JSONL: an object on each line."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from common.lazy import pd
from common.table_files.limits import BlankLines
from common.table_files.text import text_file

LARGEST = 10**300  # that a float can stand for


def json_lines(
    path: Path, encoding: str = "utf-8", text: Collection[str] = (), empty: Collection[str] = ()
) -> pd.DataFrame:
    """The objects of a file as a table; a key that an object lacks is an empty cell.

    Args:
        path: the file.
        encoding: its encoding.
        text: keys of text, whose values the caller checks.
        empty: texts that count as empty.

    Raises:
        ValueError: for a line that is no object of plain values, or a key whose values are of several types.
    """
    rows, lines, blank = [], [], BlankLines(path)
    for number, match in enumerate(re.finditer(r"[^\n]*\n|[^\n]+", text_file(path, encoding).text), start=1):
        if match[0].isspace():
            blank.add()
        else:
            rows.append(json_object(match[0].removesuffix("\n"), path, number))
            lines.append(number)
    if not rows:
        raise ValueError(f"{path} is empty: a line of JSONL is an object")
    _of_one_type(rows, lines, path, text, empty)
    return pd.DataFrame(rows, index=pd.Index(lines, name="line"))


def _of_one_type(
    rows: list[dict[str, Any]], lines: list[int], path: Path, text: Collection[str], empty: Collection[str]
) -> None:
    """Raises ValueError for a key whose values are numbers on some lines and texts on others."""
    first: dict[str, dict[str, int]] = {}
    for row, line in zip(rows, lines, strict=True):
        for name, value in row.items():
            if value is not None and name not in text and not (isinstance(value, str) and value.strip() in empty):
                kind = "truth value" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
                first.setdefault(name, {}).setdefault(kind, line)
    for name, kinds in first.items():
        if len(kinds) > 1:
            found = " and ".join(f"a {kind} in line {line}" for kind, line in kinds.items())
            raise ValueError(f"{path}: {name} is {found}: write all of them alike")


def json_object(line: str, file: Path, number: int) -> dict[str, Any]:
    """The object of a line of JSONL, whose values are texts, numbers, truth values or null.

    Args:
        line: the line.
        file: its file, for messages.
        number: its number, for messages.

    Raises:
        ValueError: if it is no such object; the message names the file and the line.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the object has {twice!r} twice: rename one")
        return row

    try:
        row = json.loads(line, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}, line {number}: not JSON ({error})") from error
    except ValueError as error:
        raise ValueError(f"{file}, line {number}: {error}") from error
    except RecursionError:
        raise ValueError(f"{file}, line {number}: brackets inside of brackets: nested values are not read") from None
    if not isinstance(row, dict):
        raise ValueError(f'{file}, line {number}: expected an object, such as {{"text": "..."}}')
    for name, value in row.items():
        if isinstance(value, int) and abs(value) > LARGEST:
            raise ValueError(f"{file}, line {number}: {name} is a number of {len(str(value))} digits: correct it")
        if any(isinstance(text, str) and not _is_text(text) for text in (name, value)):
            raise ValueError(f"{file}, line {number}: {name!a} holds half of a surrogate pair, which is no character")
        if isinstance(value, dict | list):
            raise ValueError(f"{file}, line {number}: {name} is {json.dumps(value)}: nested values are not read")
    return row


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)
