"""Reading and writing files of sentences."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from common.batch import Batch
from common.model.files import Columns, FileFormat, examples
from modalities.text.data.corpus import decoded, json_object, lines_of
from modalities.text.model import TextStyleCVAE
from modalities.text.tokenizer import Tokenizer, pad_rows


class TextFormat(FileFormat[TextStyleCVAE]):
    """Text or JSONL files with one sentence per line; `-` is the standard input and output."""

    suffix = ".txt"

    def read(self, model: TextStyleCVAE, path: Path) -> Tensor:
        """The lines as sentences [N, T]."""
        return read_texts(path, model.tokenizer, model.length)

    def write(self, model: TextStyleCVAE, samples: Tensor, path: Path) -> None:
        """Writes sentences [..., T] as text, one per line, or as JSONL."""
        write_texts(model.texts(examples(samples, 1)), path)

    def rows(self, model: TextStyleCVAE, path: Path, x: Tensor) -> Columns:
        """The number of each sentence's line, from 1."""
        return {"line": list(range(1, len(x) + 1))}

    def scores(self, model: TextStyleCVAE, path: Path, batch: Batch, nll: Tensor) -> Columns:
        """The NLL, the number of tokens (the end of the sentence included), and NLL and perplexity of a token."""
        tokens = model.lengths(batch.x).cpu()
        nats = nll.double().cpu() / tokens
        a_token: Columns = {"nats_per_token": nats.tolist(), "perplexity_per_token": nats.exp().tolist()}
        return {**super().scores(model, path, batch, nll), "tokens": tokens.tolist(), **a_token}


def write_texts(texts: Sequence[str], path: Path) -> None:
    """Writes one sentence per line to `.txt`, one object per line to `.jsonl`; `-` is the standard output.

    Raises:
        ValueError: for any other suffix.
    """
    if path.suffix == ".jsonl":
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    elif path.suffix == ".txt" or str(path) == "-":
        lines = [one_line(text) for text in texts]
    else:
        raise ValueError(f"{path}: sentences are written to .txt or .jsonl, or to - (the standard output)")
    joined = "".join(f"{line}\n" for line in lines)
    if str(path) == "-":
        sys.stdout.write(joined)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(joined, encoding="utf-8")


def one_line(text: str) -> str:
    """A text with spaces in place of its line ends of any kind."""
    return " ".join(text.splitlines())


def read_texts(path: Path, tokenizer: Tokenizer, length: int) -> Tensor:
    """Lines of a text file, or the `text` of a JSONL file, gzipped or not, or the standard input (`-`): tokens [N, T].

    Raises:
        ValueError: if a line is empty, too long or not an object with a text; the message names the line.
    """
    lines = list(decoded(sys.stdin.buffer, path) if str(path) == "-" else lines_of(path))
    if ".jsonl" in path.suffixes:
        lines = [json_object(line, path, number)["text"] for number, line in enumerate(lines, start=1)]
    rows = tokenizer.encode(lines)
    for number, (line, row) in enumerate(zip(lines, rows, strict=True), start=1):
        if not line.strip():
            raise ValueError(f"{path}, line {number} is empty: remove it")
        if len(row) > length:
            raise ValueError(f"{path}, line {number}: {len(row)} tokens; this model reads at most {length}. Shorten it")
    if not rows:
        raise ValueError(f"{path} holds no line")
    return pad_rows(rows, tokenizer.pad, length)
