import math

import pytest
import torch

from common.batch import Batch
from common.data.subset import Subset
from common.evaluation.evaluation import Evaluation
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.data import TextFiles
from modalities.text.evaluation.report import TextReport, perplexity, text_tables
from modalities.text.networks.architectures import Compact

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_test_measures_perplexity_diversity_fluency_and_rewriting(tested):
    names = {name.removeprefix("test/") for name in tested.results}
    assert {"elbo", "nll", "control_accuracy", "judge_accuracy", "frechet_distance", "leakage"} <= names
    assert {"perplexity", "fluency", "fluency_real", "distinct_1", "distinct_2_real"} <= names
    for pair in ("old-new", "new-old"):
        assert {f"rewrite/{pair}/{name}" for name in ("accuracy", "input_bleu", "reference_bleu")} <= names


def test_perplexity_is_the_nll_a_token(tested):
    data, results = tested.data, tested.results
    rows = data.examples.splits["test"]
    nll = results["test/nll"].value
    expected = math.exp(nll * len(rows) / data.lengths[rows].sum().item())
    assert results["test/perplexity"].value == pytest.approx(expected, rel=1e-4)
    assert results["test/perplexity"].n == len(rows)


def test_an_nll_beyond_any_perplexity_leaves_the_figure_out():
    lengths, nan = torch.tensor([2, 3, 5]), float("nan")
    (figure,) = perplexity(torch.tensor([1.0, 4.0, nan]), lengths, "by counting").values()
    assert figure.value == pytest.approx(math.e)
    assert perplexity(torch.tensor([1e4, 2e4, nan]), lengths, "by counting") == {}


def test_real_sentences_are_more_fluent_than_those_of_a_hardly_trained_model(tested):
    results = tested.results
    assert results["test/fluency_real"].value < results["test/fluency"].value / 3


def test_rewritings_are_as_many_as_asked_for(tested):
    results = tested.results
    assert {results[f"test/rewrite/old-new/{name}"].n for name in ("accuracy", "input_bleu", "reference_bleu")} == {5}


def test_rewriting_is_summed_up_over_the_pairs(tested):
    results = tested.results
    pairs = [results[f"test/rewrite/{pair}/input_bleu"].value for pair in ("old-new", "new-old")]
    assert results["test/rewrite/input_bleu"].value == pytest.approx(sum(pairs) / 2)


def test_real_sentences_of_a_value_are_those_that_have_it_where_training_sees_permuted_ones(tested):
    old = tested.data
    data = TextFiles(old.root, group="number", vocabulary=300, length=24, shares=(0.2, 0.2))
    Subset(shuffle=["style"]).take_from(data)
    judge = TextReport().judge(data)
    judge.real.scores["style"] = data.whole.fields["style"][data.whole.splits["test"]].float()  # right of "new" alone
    new, old = (data.attributes["style"].values.index(value) for value in ("new", "old"))
    table = {"nll": torch.ones(1), "index": torch.zeros(1, dtype=torch.int64)}
    report = TextReport()
    report._judges[data] = judge
    figures = report.figures(tested.model, data, tested.model.evaluation, table)
    assert figures["test/judge_accuracy/style/new"].value == new
    assert figures["test/judge_accuracy/style/old"].value == old


def test_a_sentence_that_pairs_repeat_counts_once_among_the_real_ones(tmp_path):
    versions = ("kind words", "good words", "fine words", "nice words")
    lines = [
        f"{words} of number {n} here,{s},{n}" for n in range(60) for s, words in zip("abcd", versions, strict=True)
    ]
    (tmp_path / "t.csv").write_text("text,style,number\n" + "\n".join(lines) + "\n")
    options = {"group": "number", "vocabulary": 300, "length": 24, "shares": (0.2, 0.2)}
    found = {}
    for pairs in ("none", "sources"):
        data = TextFiles(tmp_path / "t.csv", pairs=pairs, **options)
        condition = StyleEncoder(data.attributes, data.tokenizer, dim=6, length=24)
        small = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1)
        model = TextStyleCVAE(condition, data.tokenizer, 24, latent_dim=4, architecture=small, rewrites=0)
        table = {"nll": torch.ones(1), "index": torch.zeros(1, dtype=torch.int64)}
        evaluation = Evaluation(control_samples=4)
        figures = TextReport().figures(model.eval(), data, evaluation, table)
        found[pairs] = [figures[f"test/{name}_real"] for name in ("distinct_1", "distinct_2", "fluency")]
    assert found["none"] == found["sources"]
    assert found["none"][0].n < 300


def test_what_is_shown_is_one_line_each(tested, monkeypatch):
    monkeypatch.setattr(TextStyleCVAE, "texts", lambda _, tokens: ["to\rthe\nking\u2028and"] * len(tokens))
    batch = tested.data.batch("test", 3)
    for table in text_tables(tested.model, batch).values():
        assert {text for name in table.columns.drop("style") for text in table[name]} == {"to the king and"}
        assert set(table["style"]) <= {"old", "new"}


def test_what_is_shown_is_written_after_exemplars_of_its_style(tested, monkeypatch):
    words = tested.model.tokenizer
    x = words.rows(["unto god", "to light", "unto bread"], 24)
    batch = Batch(x, {"style": torch.tensor([0, 1, 0]), "exemplar": words.rows(["old a", "new b", "old c"])})
    asked = []
    monkeypatch.setattr(TextStyleCVAE, "transfer", lambda _, batch, wanted, *rest: asked.append(wanted) or batch.x)
    sampled = []
    monkeypatch.setattr(
        TextStyleCVAE, "sample", lambda _, wanted, *rest: sampled.append(wanted) or x[:1].expand(4, 1, -1)
    )
    text_tables(tested.model, batch)
    exemplars = [words.decode(wanted["exemplar"]) for wanted in [*asked[1:], *sampled]]  # the first reconstructs
    assert exemplars == [["old a"], ["new b"]] * 2
