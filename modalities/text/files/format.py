"""Files of sentences: read as tokens, rewritten and scored a part at a time, so that memory is flat in their length."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import Fields
from common.model.files import Columns, RowFormat, RowOptions, Scores, Work, Worked, examples
from common.seeding import seeded
from modalities.text.files.reading import Sentence, Source, census, open_source, sentences
from modalities.text.files.writing import write_texts, writer
from modalities.text.model import TextStyleCVAE
from modalities.text.tokenizer import Tokenizer, pad_rows

SENTENCES = 64  # that are rewritten at once; a search follows several beams of each
SCORED = 20  # sentences that are scored at once, with all of their importance samples
PATIENCE = 3.0  # seconds before a progress bar appears


class TextFormat(RowFormat[TextStyleCVAE]):
    """Sentences in lines (`.txt`), or in a column of a table (CSV, TSV, JSONL, Parquet, Excel); `-` is the standard
    input and output.
    """

    suffix = ".txt"

    def read(self, model: TextStyleCVAE, path: Path) -> Tensor:
        """The sentences [N, T]."""
        return read_texts(path, model.tokenizer, model.length, self.options)

    def write(self, model: TextStyleCVAE, samples: Tensor, path: Path) -> None:
        """Writes sentences [..., T] as text, one per line, as JSONL or as CSV."""
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

    def rewrite(
        self,
        model: TextStyleCVAE,
        paths: Sequence[Path],
        condition: Fields,
        out: Path,
        work: Work,
        seed: int | None = None,
    ) -> Worked:
        """As in the base; texts that are empty or left unread become empty ones."""
        sources = [open_source(path, self.options) for path in paths]
        count, notes = _counted(sources, model, self.options)
        names = list(dict.fromkeys(name for source in sources for name in source.names))
        tables = [source for source in sources if source.column is not None]
        column, separator = (str(tables[0].column), tables[0].separator) if tables else ("text", None)
        for table in tables:
            if table.column != column:
                raise ValueError(
                    f"{tables[0].path} has texts in {column}, {table.path} in {table.column}: one at a time"
                )
        size = 1 if seed is not None else max(1, SENTENCES // max(1, model.decoding.beams))

        def texts(batch: Batch) -> list[str]:
            if seed is None:
                return model.texts(work(batch))
            with seeded((seed * 1_000_003 + int(batch.positions[0])) % 2**63):
                return model.texts(work(batch))

        with writer(out, names, column, separator) as write, _progress(count, "rewriting") as progress:
            for _, start, chunk in _chunks(sources, model, self.options):
                written = [""] * len(chunk)
                for positions, batch in _batches(chunk, start, condition, model.tokenizer.pad, size):
                    for position, text in zip(positions, texts(batch), strict=True):
                        written[position] = text
                    progress.update(len(positions))
                write(written, [sentence.row.cells for sentence in chunk])
                progress.update(sum(not sentence.tokens for sentence in chunk))
        return Worked(count, notes)

    def scored(
        self,
        model: TextStyleCVAE,
        paths: Sequence[Path],
        condition: Fields,
        texts: Mapping[str, str],
        nll: Work,
    ) -> Scores:
        """As in the base; other columns of the files stand beside the scores."""
        sources = [open_source(path, self.options) for path in paths]
        count, notes = _counted(sources, model, self.options)
        place = "line" if any(source.place == "line" for source in sources) else "row"
        further = list(dict.fromkeys(name for s in sources for name in s.names if name != s.column))
        unread = [name for name in further if name in model.condition.attributes and name not in texts]
        if unread:
            notes.append(
                f"the column {', '.join(unread)} is not read as a condition: all are scored without it, or under "
                f"--condition {unread[0]}=..."
            )

        def parts() -> Iterator[Columns]:
            for source, start, chunk in _chunks(sources, model, self.options):
                values = [_UNREAD] * len(chunk)
                for positions, batch in _batches(chunk, start, condition, model.tokenizer.pad, SCORED):
                    columns = self.scores(model, source.path, batch, nll(batch))
                    for number, position in enumerate(positions):
                        values[position] = {name: column[number] for name, column in columns.items()}
                own: Columns = {name: [row[name] for row in values] for name in _UNREAD}
                own_places: Columns = {"file": [str(source.path)] * len(chunk), place: [s.row.number for s in chunk]}
                given: Columns = {name: [text] * len(chunk) for name, text in texts.items()}
                beside: Columns = {name: [sentence.row.cells.get(name, "") for sentence in chunk] for name in further}
                taken = own_places.keys() | own.keys()
                given = {f"condition/{name}" if name in taken else name: column for name, column in given.items()}
                taken = taken | given.keys()
                beside = {f"input/{name}" if name in taken else name: column for name, column in beside.items()}
                yield {**own_places, **beside, **given, **own}

        return Scores(count, parts(), notes)


_UNREAD: dict[str, Any] = {
    "nll_nats": float("nan"), "tokens": 0, "nats_per_token": float("nan"), "perplexity_per_token": float("nan")
}  # fmt: skip


def _counted(sources: Sequence[Source], model: TextStyleCVAE, options: RowOptions) -> tuple[int, list[str]]:
    """Rows of all files, and notes on those that are not read; a faulty file is named before anything is done."""
    count, notes = 0, list[str]()
    for source in sources:
        rows, said = census(source, model.tokenizer, model.length, options.on_long)
        count, notes = count + rows, notes + said
    return count, notes


def _chunks(
    sources: Sequence[Source], model: TextStyleCVAE, options: RowOptions
) -> Iterator[tuple[Source, int, list[Sentence]]]:
    """Some rows of a file at a time, with the position of the first one among all rows of all files."""
    start = 0
    for source in sources:
        for chunk in sentences(source, model.tokenizer, model.length, options.on_long):
            yield source, start, chunk
            start += len(chunk)


def _batches(
    chunk: Sequence[Sentence], start: int, condition: Fields, pad: int, size: int
) -> Iterator[tuple[list[int], Batch]]:
    """Batches of sentences of similar length: their places in the chunk, and the batch with positions among all."""
    order = sorted((n for n, sentence in enumerate(chunk) if sentence.tokens), key=lambda n: len(chunk[n].tokens))
    for first in range(0, len(order), size):
        places = order[first : first + size]
        x = pad_rows([chunk[n].tokens for n in places], pad)
        fields = {name: field.expand(len(x), *field.shape[1:]) for name, field in condition.items()}
        yield places, Batch(x, fields, index=torch.tensor([start + n for n in places]))


def _progress(total: int, title: str) -> tqdm:
    return tqdm(total=total, desc=title, unit="line", disable=None, delay=PATIENCE)


def read_texts(
    path: Path,
    tokenizer: Tokenizer,
    length: int,
    options: RowOptions = RowOptions(),  # noqa: B008 (frozen)
) -> Tensor:
    """The texts of a file, or of the standard input (`-`), all at once: tokens [N, T].

    Raises:
        ValueError: if a text is empty or too long, or a row holds none; the message names the line.
    """
    source = open_source(path, options)
    census(source, tokenizer, length, options.on_long)
    found = [sentence for chunk in sentences(source, tokenizer, length, options.on_long) for sentence in chunk]
    for sentence in found:
        if not sentence.tokens:
            raise ValueError(f"{path}, {source.place} {sentence.row.number} is empty: remove it")
    return pad_rows([sentence.tokens for sentence in found], tokenizer.pad, length)
