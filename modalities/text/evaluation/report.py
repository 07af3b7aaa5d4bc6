"""Metrics of text models beyond the shared ones, and tables of sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from itertools import product

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import SOURCE, Categorical, Fields
from common.conditions.classifier import Judge
from common.data.splits import some_rows
from common.evaluation.columns import Columns
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media, file_name, table_picture
from common.evaluation.report import Report
from common.evaluation.sampling import sampled
from common.evaluation.second_judge import StatisticsJudge
from common.lazy import pd
from common.results import Measurement
from common.seeding import seeded
from modalities.text.condition import EXEMPLAR
from modalities.text.data import TextData
from modalities.text.data.segmentation import Segmentation
from modalities.text.evaluation.judge import TextJudge, can_judge, letter_judge
from modalities.text.evaluation.metrics import NgramModel, distinct, rows_of, self_bleu
from modalities.text.evaluation.rewriting import judged_under, rewrite_rows, rewriting_figures
from modalities.text.files import TextFormat, one_line
from modalities.text.model import TextStyleCVAE

COLUMNS = 4  # conditions in the picture of samples
SAMPLES = 300  # sentences for diversity and fluency


class TextReport(Report[TextStyleCVAE, TextData]):
    """Perplexity, diversity and fluency, rewriting between all pairs of styles; tables of sentences."""

    files = TextFormat()

    def judge(self, data: TextData) -> TextJudge | None:
        """As in the base."""
        judge = super().judge(data)
        assert judge is None or isinstance(judge, TextJudge)
        return judge

    def make_judge(self, data: TextData) -> TextJudge | None:
        """A logistic regression on words; None without a label of several categories."""
        if not any(can_judge(attribute) for attribute in data.attributes.values()):
            return None
        judge = TextJudge.of(data.whole, data.tokenizer, data.segmentation)
        return judge if judge.attributes else None

    def make_second_judge(self, data: TextData) -> StatisticsJudge | None:
        """Naive Bayes on letters."""
        return letter_judge(data.whole, data.tokenizer, self.judge_steps)

    def figures(
        self, model: TextStyleCVAE, data: TextData, evaluation: Evaluation, table: Columns
    ) -> dict[str, Measurement]:
        """Perplexity per token, diversity and fluency of samples, and rewriting between all pairs of styles."""
        judge, rows = self.judge(data), data.examples.splits["test"]
        figures: dict[str, Measurement] = {}
        if "nll" in table:  # which it lacks where every batch has failed
            how = evaluation.estimator(evaluation.num_samples)
            figures = perplexity(table["nll"], data.lengths[rows[table["index"]]], how)
        with seeded(evaluation.seed):
            asked = some_rows(len(rows), SAMPLES)
            conditions = {name: field[asked] for name, field in data.conditions("test").items()}
            at_once, guidance = evaluation.at_once(SAMPLES), evaluation.guidance
            written = sampled(model, conditions, at_once, guidance=guidance)[0]
            once = data.once("test")
            real = data.examples.x[once[some_rows(len(once), SAMPLES)]]
            pad = model.tokenizer.pad
            ngrams = NgramModel(rows_of(data.examples.x[data.once("train")], pad), len(model.tokenizer))
            for suffix, sentences in (("", written), ("_real", real)):
                for n in (1, 2):
                    figures[f"test/distinct_{n}{suffix}"] = distinct(model.texts(sentences), n)
                figures[f"test/fluency{suffix}"] = ngrams.perplexity(rows_of(sentences, pad))
            if judge is not None and evaluation.control_samples > 0:
                figures |= _control_by_value(model, data, evaluation, judge)
            if SOURCE in conditions and model.condition.reads_source:
                figures |= _renderings(model, conditions, data.segmentation, evaluation)
            labels = (name for name, a in model.condition.attributes.items() if isinstance(a, Categorical))
            rewrite, judged = partial(rewrite_rows, model, data), judged_under(model.decoding.guidance)
            figures |= rewriting_figures(rewrite, data, judge, next(labels, None), model.rewrites, ngrams, judged)
        return figures

    def media(self, model: TextStyleCVAE, batch: Batch) -> Media:
        """Sentences with their reconstructions and rewritings, and samples under every style."""
        tables = text_tables(model, batch)
        samples = tables["samples"]
        labels = [" ".join(map(str, samples.iloc[row].drop("text"))) for row in range(len(samples))]
        by_label = {label: samples.text[[own == label for own in labels]] for label in dict.fromkeys(labels)}
        side_by_side = pd.DataFrame({label: list(by_label[label]) for label in list(by_label)[:COLUMNS]})
        names = [str(name) for name in samples.columns if name != "text"]
        pictures = {
            "rewritings": table_picture(tables["rewritings"], "validation sentences, reconstructed and rewritten"),
            "samples": table_picture(side_by_side, f"samples by {' and '.join(names)}" if names else "samples"),
        }
        captions = {
            "rewritings": "validation sentences, their reconstructions, and rewritten under each style",
            "samples": f"samples by {' and '.join(names)}: {', '.join(by_label)}" if names else "samples",
        }
        files = {"samples": file_name("samples", *(["by", *names] if names else []))}
        return Media(pictures, tables, captions=captions, files=files)


def _control_by_value(
    model: TextStyleCVAE, data: TextData, evaluation: Evaluation, judge: Judge
) -> dict[str, Measurement]:
    """The judge's accuracy on samples of each value of each label, beside that on real test sentences of the value.

    Other conditions of a sample are those of a test sentence of that value. The real sentences of a value are told by
    their own labels, even where a model is trained on permuted ones.
    """
    figures = {}
    conditions = data.conditions("test")
    for name, attribute in judge.attributes.items():
        assert isinstance(attribute, Categorical)
        truth = data.whole.fields[name][data.whole.splits["test"]]
        labels = truth[truth >= 0]  # the judge's scores leave out unlabelled sentences
        count = max(1, evaluation.control_samples // len(attribute.values))
        for number, value in enumerate(attribute.values):
            rows = (conditions[name] == number).nonzero()[:, 0]
            if len(rows) == 0:
                continue
            chosen = rows[some_rows(len(rows), count)].repeat(-(-count // len(rows)))[:count]
            requested = {field: values[chosen] for field, values in conditions.items()}
            written = sampled(model, requested, evaluation.at_once(), guidance=evaluation.guidance)[0]
            hits = judge.read(written)[name] == number
            figures[f"test/control_accuracy/{name}/{value}"] = Measurement.accuracy(
                hits, f"frozen judge, {model.sampled}, guidance {evaluation.guidance:g}"
            )
            real = judge.real.scores[name][labels == number]
            figures[f"test/judge_accuracy/{name}/{value}"] = Measurement.accuracy(real, "frozen judge, real test data")
    return figures


def _renderings(
    model: TextStyleCVAE, conditions: Fields, segmentation: Segmentation, evaluation: Evaluation, sources: int = 100,
    draws: int = 5,
) -> dict[str, Measurement]:  # fmt: skip
    """Diversity of several translations of one sentence: with only z sampled, and with the tokens sampled as well."""
    fields = {name: field[:sources] for name, field in conditions.items()}
    figures = {}
    for name, draw in (("z", False), ("z_and_tokens", True)):
        at_once = max(1, evaluation.most_decodes // (1 if draw else model.decoding.beams))
        written = sampled(model, fields, at_once, draws, draw=draw)
        renderings = list(zip(*(model.texts(sentences) for sentences in written), strict=True))
        for n in (1, 2):
            share = torch.tensor([distinct(texts, n).value for texts in renderings])
            how = f"different {n}-grams of words among {draws} translations of a sentence, {name} drawn"
            figures[f"test/renderings/{name}/distinct_{n}"] = Measurement.mean(share, "share", how)
        figures[f"test/renderings/{name}/self_bleu"] = self_bleu(renderings, segmentation)
    return figures


def perplexity(nll: Tensor, lengths: Tensor, estimator: str) -> dict[str, Measurement]:
    """The perplexity of sentences of `lengths` tokens from their NLL, both [N]; an NLL of NaN was not measured.

    Left out where it overflows, as for an autoencoder, whose z lies where the prior has no mass.
    """
    known = ~nll.isnan()
    value = float(torch.exp(nll[known].double().sum() / lengths[known].sum()))
    how = f"exp(NLL / tokens), {estimator}"
    measured = Measurement(value, None, int(known.sum()), "perplexity", how)
    return {"test/perplexity": measured} if math.isfinite(value) else {}


def text_tables(model: TextStyleCVAE, batch: Batch, rows: int = 8, samples: int = 4) -> dict[str, pd.DataFrame]:
    """Tables of text: `rewritings` of some sentences under every style, and `samples` of every style; one line each."""
    labels = {
        name: attribute.values
        for name, attribute in model.condition.attributes.items()
        if isinstance(attribute, Categorical)
    }
    chosen = batch[slice(0, rows)]
    own = {name: [values[int(v)] if v >= 0 else "" for v in chosen.condition[name]] for name, values in labels.items()}
    rewritings = pd.DataFrame(
        {**own, "text": model.texts(chosen.x), "reconstruction": model.texts(model.reconstruct(chosen))}
    )
    own_fields = {name: field for name, field in chosen.condition.items() if name != SOURCE}  # each is its own source
    alone = chosen.replace(condition=own_fields)
    for name, values in list(labels.items())[:1]:
        for number, value in enumerate(values):
            wanted = {name: number, **_exemplar(batch, {name: number})}
            rewritings[f"as {value}"] = model.texts(model.transfer(alone, wanted, model.decoding.guidance))
    lines = []
    names = list(labels)
    for numbers in list(product(*(range(len(values)) for values in labels.values())))[:12]:
        condition = {name: torch.tensor([number]) for name, number in zip(names, numbers, strict=True)}
        condition |= _exemplar(batch, dict(zip(names, numbers, strict=True)))
        if SOURCE in chosen.condition:
            condition[SOURCE] = chosen.condition[SOURCE][:1]
        for text in model.texts(model.sample(condition, samples)[:, 0]):
            lines.append({**{n: labels[n][i] for n, i in zip(names, numbers, strict=True)}, "text": text})
    tables = {"rewritings": rewritings, "samples": pd.DataFrame(lines)}
    return {name: table.map(one_line) for name, table in tables.items()}


def _exemplar(batch: Batch, wanted: Mapping[str, int]) -> Fields:
    """The exemplar [1, T] of the first sentence with the wanted categories; nothing where there is none."""
    if EXEMPLAR not in batch.condition:
        return {}
    fits = torch.ones(len(batch), dtype=torch.bool, device=batch.x.device)
    for name, number in wanted.items():
        fits &= batch.condition[name] == number
    return {EXEMPLAR: batch.condition[EXEMPLAR][fits.nonzero()[:1, 0]]} if fits.any() else {}
