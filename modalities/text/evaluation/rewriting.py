"""Rewriting sentences in another style, and what it is worth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.comparison.baseline_runs import baseline_run
from common.results import Measurement, Results
from modalities.text.evaluation.baselines import copy, retrieve
from modalities.text.evaluation.judge import TextJudge
from modalities.text.evaluation.metrics import NgramModel, bleu, distinct, rows_of

if TYPE_CHECKING:
    from modalities.text.data.datamodules import TextData
    from modalities.text.model import TextStyleCVAE


def rewriting_scores(
    outputs: Sequence[str],
    inputs: Sequence[str],
    references: Sequence[Sequence[str]],
    judge: TextJudge,
    label: str,
    target: int,
    judged: str = "frozen judge",
) -> dict[str, Measurement]:
    """Style accuracy by the judge, self-BLEU against the inputs, and BLEU against references where there are any.

    Args:
        outputs: N rewritten texts.
        inputs: what they were made from.
        references: N times the same number of references; empty without any.
        judge: reads the style.
        label: the label that was changed.
        target: the category it was changed to.
        judged: how the accuracy came about.
    """
    hits = judge.read_texts(list(outputs))[label] == target
    figures = {
        "accuracy": Measurement.accuracy(hits, judged),
        "self_bleu": bleu(outputs, [[text] for text in inputs]),
    }
    if references:
        figures["reference_bleu"] = bleu(outputs, references)
    return figures


@dataclass(frozen=True)
class ParallelTest:
    """Test sentences of one style, and their versions in another where there are any.

    Attributes:
        rows: rows of the table.
        references: for each row, the row of its version in the target style; empty without aligned data.
    """

    rows: Tensor
    references: Tensor


def parallel_test(data: "TextData", label: str, source: int, target: int, count: int) -> ParallelTest:
    """The first test sentences of a style; of aligned data, only those with a version in the target style."""
    rows = data.table.splits["test"]
    styles = data.table.fields[label][rows]
    from_rows, to_rows = rows[styles == source], rows[styles == target]
    alone = ParallelTest(from_rows[:count], torch.zeros(0, dtype=torch.int64))
    if not data.aligned:
        return alone
    by_group = {int(data.groups[row]): int(row) for row in to_rows.tolist()}
    paired = [(row, by_group[int(data.groups[row])]) for row in from_rows.tolist() if int(data.groups[row]) in by_group]
    unique = list({int(data.groups[row]): (row, other) for row, other in paired}.values())[:count]
    if not unique:
        return alone
    first, second = zip(*unique, strict=True)
    return ParallelTest(torch.tensor(first), torch.tensor(second))


def rewrite_rows(model: "TextStyleCVAE", data: "TextData", rows: Tensor, label: str, target: int) -> list[str]:
    """Some sentences of the table with another category of a label, as the model writes them by its `decoding`."""
    texts: list[str] = []
    for part in rows.split(100):
        fields = {name: field[part] for name, field in data.table.fields.items() if field.dim() == 1}
        batch = Batch(data.table.x[part], {name: fields[name] for name in data.attributes}).to(model.device)
        texts += model.texts(model.transfer(batch, {label: target}, model.decoding.guidance))
    return texts


def judged_under(guidance: float) -> str:
    """How the accuracy of rewritings under some guidance came about."""
    return f"frozen judge, guidance {guidance:g}"


Rewrite = Callable[[Tensor, str, int], list[str]]  # rows of the table, a label and its new category -> texts


def rewriting_figures(
    rewrite: Rewrite, data: "TextData", label: str | None, count: int, judged: str = "frozen judge"
) -> dict[str, Measurement]:
    """`test/rewrite/<from>-<to>/...` for all pairs of a label's categories, and `test/rewrite/<figure>`, their means.

    Args:
        rewrite: the system.
        data: of the test sentences, the references and the judge.
        label: the label to change; None, or one that no judge reads, has no figures.
        count: test sentences of each pair.
        judged: as in `rewriting_scores`.
    """
    judge = data.judge()
    if judge is None or label not in judge.attributes or count == 0:
        return {}
    values = judge.attributes[label].values  # type: ignore[attr-defined]
    figures: dict[str, Measurement] = {}
    for (source, from_name), (target, to_name) in permutations(enumerate(values), 2):
        test = parallel_test(data, label, source, target, count)
        if len(test.rows) == 0:
            continue
        inputs = data.tokenizer.decode(data.table.x[test.rows])
        references = [[text] for text in data.tokenizer.decode(data.table.x[test.references])]
        scores = rewriting_scores(rewrite(test.rows, label, target), inputs, references, judge, label, target, judged)
        figures |= {f"test/rewrite/{from_name}-{to_name}/{name}": figure for name, figure in scores.items()}
    for name in ("accuracy", "self_bleu", "reference_bleu"):
        pairs = [figure for key, figure in figures.items() if key.endswith(f"/{name}")]
        if pairs:
            mean = sum(figure.value for figure in pairs) / len(pairs)
            how = f"mean over {len(pairs)} pairs of styles: {pairs[0].estimator}"
            figures[f"test/rewrite/{name}"] = Measurement(mean, None, pairs[0].n, pairs[0].unit, how)
    return figures


def rewriting_table(
    model: "TextStyleCVAE",
    data: "TextData",
    batch: Batch,
    label: str,
    target: int,
    references: list[list[str]],
    guidance: float,
) -> tuple[list[str], dict[str, dict[str, Measurement]]]:
    """Rewritten sentences, and the figures of the model, of copying and of retrieving.

    Args:
        model: rewrites.
        data: the data of its run: the judge and the fluency model are trained on its training split.
        batch: N sentences with their own conditions.
        label: the label that changes.
        target: the category it changes to.
        references: texts that are parallel to the sentences, each list of length N.
        guidance: as in `TextStyleCVAE.transfer`.

    Raises:
        ValueError: if the data has no such label.
    """
    judge = data.judge()
    if judge is None or label not in judge.attributes:
        raise ValueError(f"the run's data has no category {label!r}: name one with --label")
    inputs = model.texts(batch.x)
    train = data.table.splits["train"]
    own = train[data.table.fields[label][train] == target]
    outputs: list[str] = []
    for start in tqdm(range(0, len(batch), 50), desc="rewriting", unit="batch"):
        outputs += model.texts(model.transfer(batch[slice(start, start + 50)], {label: target}, guidance))
    systems = {"model": outputs, "copy": copy(inputs), "retrieve": retrieve(inputs, model.texts(data.table.x[own]))}
    ngrams = NgramModel(rows_of(data.table.x[own], model.tokenizer.pad), len(model.tokenizer))
    parallel = [list(texts) for texts in zip(*references, strict=True)]
    rows = {}
    for name, texts in systems.items():
        judged = judged_under(guidance) if name == "model" else "frozen judge"
        rows[name] = rewriting_scores(texts, inputs, parallel, judge, label, target, judged)
        rows[name]["fluency"] = ngrams.perplexity(model.tokenizer.encode(texts))
    return outputs, rows


BASELINES = ("copy", "retrieve")


def baseline_results(system: str, data: "TextData", label: str, count: int, seed: int = 0) -> Results:
    """The record of a system that needs no model: its rewritings of test sentences between all pairs of styles.

    Args:
        system: one of `BASELINES`.
        data: of the test sentences.
        label: the label to change.
        count: test sentences of each pair.
        seed: of the run; nothing is random.

    Raises:
        ValueError: for an unknown system, or a label that the data lacks.
    """
    if system not in BASELINES:
        raise ValueError(f"no system {system!r}; there are: {', '.join(BASELINES)}")
    if label not in data.attributes:
        raise ValueError(f"the data has no label {label!r}; it has: {', '.join(data.attributes)}")
    started, decode = datetime.now(UTC), data.tokenizer.decode
    train = data.table.splits["train"]
    written: list[str] = []

    def rewrite(rows: Tensor, name: str, target: int) -> list[str]:
        inputs = decode(data.table.x[rows])
        own = train[data.table.fields[name][train] == target]
        texts = copy(inputs) if system == "copy" else retrieve(inputs, decode(data.table.x[own]))
        written.extend(texts)
        return texts

    figures = rewriting_figures(rewrite, data, label, count)
    figures["test/distinct_2"] = distinct(written, 2)
    ngrams = NgramModel(rows_of(data.table.x[train], data.tokenizer.pad), len(data.tokenizer))
    figures["test/fluency"] = ngrams.perplexity(data.tokenizer.encode(written))
    run = baseline_run(system, "text", seed, started, {"label": label, "count": count}, data.fingerprint)
    return Results(run, figures)
