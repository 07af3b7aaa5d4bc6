"""Rewriting of sentences in another style, and its metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.data.splits import some_rows
from common.results import Measurement, Results
from common.training.baseline_run import baseline_run
from modalities.text.condition import EXEMPLAR
from modalities.text.data import TextData
from modalities.text.evaluation.baselines import copy, retrieve
from modalities.text.evaluation.judge import TextJudge, warn_at_chance
from modalities.text.evaluation.metrics import NgramModel, bleu, distinct, rows_of
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
        inputs: the N original texts.
        references: references of each output, the same number for all; empty without any.
        judge: predicts the style.
        label: the label that was changed.
        target: the category it was changed to.
        judged: estimator of the accuracy, for the results.
    """
    hits, segmentation = judge.read_texts(list(outputs))[label] == target, judge.segmentation or "spaces"
    figures = {
        "accuracy": Measurement.accuracy(hits, judged),
        "input_bleu": bleu(outputs, [[text] for text in inputs], segmentation),
    }
    if references:
        figures["reference_bleu"] = bleu(outputs, references, segmentation)
    return figures


@dataclass(frozen=True)
class ParallelTest:
    """Test sentences of one style, and their versions in another where there are any.

    Attributes:
        rows: rows of the data.
        references: for each row, the row of its version in the target style; empty without aligned data.
    """

    rows: Tensor
    references: Tensor


def parallel_test(data: TextData, label: str, source: int, target: int, count: int) -> ParallelTest:
    """Random test sentences of a style; with aligned data, only those with a version in the target style.

    The styles are those of the sentences themselves, even where a model is trained on permuted ones.
    """
    rows = data.whole.splits["test"]
    styles = data.whole.fields[label][rows]
    from_rows, to_rows = rows[styles == source], rows[styles == target]
    alone = ParallelTest(from_rows[some_rows(len(from_rows), count)], torch.zeros(0, dtype=torch.int64))
    if not data.aligned:
        return alone
    assert data.whole.groups is not None
    groups = data.whole.groups.tolist()
    by_group = {groups[row]: row for row in to_rows.tolist()}
    paired = [(row, by_group[groups[row]]) for row in from_rows.tolist() if groups[row] in by_group]
    unique = list({groups[row]: (row, other) for row, other in paired}.values())
    if not unique:
        return alone
    first, second = zip(*(unique[place] for place in some_rows(len(unique), count).tolist()), strict=True)
    return ParallelTest(torch.tensor(first), torch.tensor(second))


def rewrite_rows(model: TextStyleCVAE, data: TextData, rows: Tensor, label: str, target: int) -> list[str]:
    """Sentences of the data, rewritten by the model and its `decoding` with another category of a label.

    Where the data give exemplars, a sentence is read beside one of its own style and rewritten after one of the target.
    """
    texts: list[str] = []
    for part in rows.split(_at_once(model, model.decoding.guidance, 100)):
        batch = Batch(data.examples.x[part], {name: data.examples.fields[name][part] for name in data.attributes})
        wanted: dict[str, Any] = {label: target}
        if data.exemplars:
            other = {**batch.condition, label: torch.full((len(part),), target)}
            wanted[EXEMPLAR] = data.exemplars_of(batch.replace(condition=other), part)
            batch.condition[EXEMPLAR] = data.exemplars_of(batch, part)
        texts += model.texts(model.transfer(batch.to(model.device), wanted, model.decoding.guidance))
    return texts


def _at_once(model: TextStyleCVAE, guidance: float, most: int) -> int:
    """Sentences that are rewritten at once: every beam is a decode, and guidance decodes twice."""
    decodes = model.decoding.beams * (1 if guidance == 1.0 else 2)
    return max(1, min(most, model.evaluation.most_decodes // decodes))


def judged_under(guidance: float) -> str:
    """Estimator of the accuracy of rewritings under some guidance, for the results."""
    return f"frozen judge, guidance {guidance:g}"


Rewrite = Callable[[Tensor, str, int], list[str]]  # rows of the data, a label and its new category -> texts


def rewriting_figures(
    rewrite: Rewrite,
    data: TextData,
    judge: TextJudge | None,
    label: str | None,
    count: int,
    ngrams: NgramModel,
    judged: str = "frozen judge",
) -> dict[str, Measurement]:
    """`test/rewrite/<from>-<to>/...` for all pairs of a label's categories, and `test/rewrite/<figure>` of all of them.

    Accuracy and BLEU of all are means over pairs; fluency and different 2-grams are of all that is rewritten.

    Args:
        rewrite: the system to test.
        data: holds the test sentences and the references.
        judge: predicts the label.
        label: the label to change; without figures if it is None or the judge does not predict it.
        count: number of test sentences of each pair; without figures if it is 0.
        ngrams: measures the fluency of what is written.
        judged: as in `rewriting_scores`.
    """
    if judge is None or label not in judge.attributes or count == 0:
        return {}
    attribute = judge.attributes[label]
    assert isinstance(attribute, Categorical)
    values = attribute.values
    figures: dict[str, Measurement] = {}
    written: list[str] = []
    for (source, from_name), (target, to_name) in permutations(enumerate(values), 2):
        test = parallel_test(data, label, source, target, count)
        if len(test.rows) == 0:
            continue
        inputs = data.tokenizer.decode(data.examples.x[test.rows])
        references = [[text] for text in data.tokenizer.decode(data.examples.x[test.references])]
        outputs = rewrite(test.rows, label, target)
        written += outputs
        scores = rewriting_scores(outputs, inputs, references, judge, label, target, judged)
        figures |= {f"test/rewrite/{from_name}-{to_name}/{name}": figure for name, figure in scores.items()}
    for name in ("accuracy", "input_bleu", "reference_bleu"):
        pairs = [figure for key, figure in figures.items() if key.endswith(f"/{name}")]
        if pairs:
            mean = sum(figure.value for figure in pairs) / len(pairs)
            how = f"mean over {len(pairs)} pairs of styles: {pairs[0].estimator}"
            figures[f"test/rewrite/{name}"] = Measurement(mean, None, pairs[0].n, pairs[0].unit, how)
    if written:
        figures["test/rewrite/fluency"] = ngrams.perplexity(data.tokenizer.encode(written))
        figures["test/rewrite/distinct_2"] = distinct(written, 2)
    return figures


def rewriting_table(
    model: TextStyleCVAE,
    data: TextData,
    judge: TextJudge | None,
    batch: Batch,
    label: str,
    target: int,
    references: list[list[str]],
    guidance: float,
) -> tuple[list[str], dict[str, dict[str, Measurement]]]:
    """Rewritten sentences, and the figures of the model and of the baselines copy and retrieve.

    Args:
        model: the model that rewrites.
        data: the data of its run, whose training sentences of the target category train the fluency model.
        judge: predicts the label.
        batch: N sentences with their own conditions.
        label: the label that changes.
        target: the category it changes to.
        references: lists of N reference texts each.
        guidance: as in `TextStyleCVAE.transfer`.

    Raises:
        ValueError: if the data has no such label.
    """
    if judge is None or label not in judge.attributes:
        raise ValueError(f"the run's data has no category {label!r}: name one with --label")
    attribute = judge.attributes[label]
    assert isinstance(attribute, Categorical)
    inputs = model.texts(batch.x)
    train = data.once("train")
    own = train[data.examples.fields[label][train] == target]
    outputs: list[str] = []
    size = _at_once(model, guidance, 50)
    for start in tqdm(range(0, len(batch), size), desc="rewriting", unit="batch", disable=None):
        outputs += model.texts(model.transfer(batch[slice(start, start + size)], {label: target}, guidance))
    systems = {"model": outputs, "copy": copy(inputs)}
    if len(own):
        systems["retrieve"] = retrieve(inputs, model.texts(data.examples.x[own]), data.segmentation)
    warn_at_chance(judge, data.whole)
    source = f"the sentences of the training split with {label} {attribute.values[target]}"
    ngrams = NgramModel(rows_of(data.examples.x[own], model.tokenizer.pad), len(model.tokenizer), source=source)
    parallel = [list(texts) for texts in zip(*references, strict=True)]
    rows = {}
    for name, texts in systems.items():
        judged = judged_under(guidance) if name == "model" else "frozen judge"
        rows[name] = rewriting_scores(texts, inputs, parallel, judge, label, target, judged)
        rows[name]["fluency"] = ngrams.perplexity(model.tokenizer.encode(texts))
    return outputs, rows


BASELINES = ("copy", "retrieve")


def baseline_results(
    system: str, data: TextData, judge: TextJudge | None, label: str, count: int, seed: int = 0
) -> Results:
    """Results of a baseline that rewrites test sentences between all pairs of styles.

    Args:
        system: one of `BASELINES`.
        data: holds the test sentences.
        judge: predicts the label.
        label: the label to change.
        count: number of test sentences of each pair.
        seed: seed to record; nothing is random.

    Raises:
        ValueError: for an unknown system, a label that the data lacks or that has no categories to rewrite between, or
            where no sentence would be rewritten.
    """
    if system not in BASELINES:
        raise ValueError(f"no system {system!r}; there are: {', '.join(BASELINES)}")
    if label not in data.attributes:
        raise ValueError(f"the data has no label {label!r}; it has: {', '.join(data.attributes)}")
    if judge is None or label not in judge.attributes:
        raise ValueError(f"{label} has no two categories to rewrite between")
    if count < 1:
        raise ValueError(f"count {count} rewrites nothing: give at least 1")
    warn_at_chance(judge, data.whole)
    started, decode = datetime.now(UTC), data.tokenizer.decode
    train = data.once("train")

    def rewrite(rows: Tensor, name: str, target: int) -> list[str]:
        inputs = decode(data.examples.x[rows])
        own = train[data.examples.fields[name][train] == target]
        corpus = decode(data.examples.x[own])
        return copy(inputs) if system == "copy" else retrieve(inputs, corpus, data.segmentation)

    ngrams = NgramModel(rows_of(data.examples.x[train], data.tokenizer.pad), len(data.tokenizer))
    figures = rewriting_figures(rewrite, data, judge, label, count, ngrams)
    if not figures:
        raise ValueError(f"the test split has no sentence with a {label} to rewrite")
    run = baseline_run(system, "text", seed, started, {"label": label, "count": count}, data.fingerprint)
    return Results(run, figures)
