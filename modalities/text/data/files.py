"""Sentences as files."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from modalities.text.data.corpus import lines_of
from modalities.text.tokenizer import Tokenizer, pad_rows


def write_texts(texts: Sequence[str], path: Path) -> None:
    """One sentence a line in `.txt`, one object a line in `.jsonl`; `-` is the standard output.

    Raises:
        ValueError: for another suffix.
    """
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    elif path.suffix == ".txt" or str(path) == "-":
        lines = [" ".join(text.splitlines()) for text in texts]
    else:
        raise ValueError(f"{path}: sentences are written to .txt or .jsonl, or to - (the standard output)")
    joined = "".join(f"{line}\n" for line in lines)
    if str(path) == "-":
        sys.stdout.write(joined)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(joined, encoding="utf-8")


def read_texts(path: Path, tokenizer: Tokenizer, length: int) -> Tensor:
    """Lines of a text file, or the `text` of a JSONL file, gzip or not, or the standard input (`-`), as tokens [N, T].

    Raises:
        ValueError: naming the line that is empty, too long, or no object with a text.
    """
    lines = sys.stdin.read().splitlines() if str(path) == "-" else list(lines_of(path))
    if ".jsonl" in path.suffixes:
        lines = [_text_of(path, number, line) for number, line in enumerate(lines, start=1)]
    rows = tokenizer.encode(lines)
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
        if not line.strip():
            raise ValueError(f"{path}, line {number} is empty: remove it")
        if len(row) > length:
            raise ValueError(f"{path}, line {number}: {len(row)} tokens; this model reads at most {length}. Shorten it")
    if not rows:
        raise ValueError(f"{path} holds no line")
    return pad_rows(rows, tokenizer.pad, length)


def _text_of(path: Path, number: int, line: str) -> str:
    try:
        return str(json.loads(line)["text"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f'{path}, line {number} is no object with a "text"') from None
