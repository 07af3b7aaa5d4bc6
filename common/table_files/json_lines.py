"""Tables of JSONL: an object on each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.lazy import pd
from common.table_files.text import text_file


def json_lines(path: Path, encoding: str = "utf-8") -> pd.DataFrame:
    """The objects of a file as a table; a key that an object lacks is an empty cell.

    Raises:
        ValueError: for a line that is no object of plain values.
    """
    rows, lines = [], []
    for number, line in enumerate(text_file(path, encoding).text.split("\n"), start=1):
        if line.strip():
            rows.append(json_object(line, path, number))
            lines.append(number)
    if not rows:
        raise ValueError(f"{path} is empty: a line of JSONL is an object")
    return pd.DataFrame(rows, index=pd.Index(lines, name="line"))


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
    if not isinstance(row, dict):
        raise ValueError(f'{file}, line {number}: expected an object, such as {{"text": "..."}}')
    for name, value in row.items():
        if isinstance(value, dict | list):
            raise ValueError(f"{file}, line {number}: {name} is {json.dumps(value)}: nested values are not read")
    return row
