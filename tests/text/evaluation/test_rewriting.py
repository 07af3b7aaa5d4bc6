import pytest
import torch

from common.batch import Batch
from common.data.subset import Subset
from modalities.text.data import TextFiles
from modalities.text.evaluation.report import TextReport
from modalities.text.evaluation.rewriting import (
    baseline_results,
    parallel_test,
    rewrite_rows,
    rewriting_scores,
    rewriting_table,
)
from modalities.text.model import Decoding

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_perfect_rewriting_scores_in_every_figure_and_a_copy_in_content_alone(judge):
    inputs = ["thou made light unto god", "god made light unto thou"]
    perfect = ["you made light unto god", "god made light unto you"]
    figures = rewriting_scores(perfect, inputs, [[text] for text in perfect], judge, "style", target=1)
    copied = rewriting_scores(inputs, inputs, [[text] for text in perfect], judge, "style", target=1)
    assert figures["accuracy"].value == 1
    assert copied["accuracy"].value == 0
    assert figures["reference_bleu"].value == pytest.approx(100)
    assert copied["input_bleu"].value == pytest.approx(100)
    assert figures["input_bleu"].value == pytest.approx(copied["reference_bleu"].value)
    assert "reference_bleu" not in rewriting_scores(inputs, inputs, [], judge, "style", target=1)


def test_verses_are_tested_against_their_own_version(bible):
    styles = bible.attributes["style"].values
    source, target = styles.index("kjv"), styles.index("web")
    test = parallel_test(bible, "style", source, target, count=20)
    assert len(test.rows) == len(test.references) == 20
    assert torch.equal(bible.whole.groups[test.rows], bible.whole.groups[test.references])
    assert set(bible.examples.fields["style"][test.rows].tolist()) == {source}
    assert set(bible.examples.fields["style"][test.references].tolist()) == {target}
    assert torch.isin(torch.cat([test.rows, test.references]), bible.examples.splits["test"]).all()


def test_without_versions_the_first_test_sentences_are_rewritten_without_references(tmp_path):
    for style in "ab":
        shared = "".join(f"line {n} of both\n" for n in range(60))  # the same text is no version of itself
        (tmp_path / f"{style}.txt").write_text(shared + "".join(f"{style} line {n}\n" for n in range(60)))
    data = TextFiles(tmp_path, vocabulary=300, shares=(0.2, 0.2))
    _ = data.examples
    test = parallel_test(data, "style", 0, 1, count=5)
    assert len(test.rows) == 5
    assert len(test.references) == 0
    assert data.examples.fields["style"][test.rows].tolist() == [0] * 5


def test_rewriting_is_guided_as_the_decoding_says_and_says_so(tested, monkeypatch):
    model, data = tested.model, tested.data
    rows = data.examples.splits["test"][:3]
    monkeypatch.setattr(model, "decoding", Decoding(guidance=3.0))
    asked = []
    monkeypatch.setattr(type(model), "transfer", lambda _, batch, fields, guidance: asked.append(guidance) or batch.x)
    rewrite_rows(model, data, rows, "style", 1)
    assert asked == [3.0]
    assert tested.results["test/rewrite/old-new/accuracy"].estimator == "frozen judge, guidance 1"


def test_copying_keeps_everything_and_retrieving_the_style(tested):
    data, judge = tested.data, tested.judge
    copied = baseline_results("copy", data, judge, "style", 5).metrics
    found = baseline_results("retrieve", data, judge, "style", 5)
    assert copied["test/rewrite/input_bleu"].value == pytest.approx(100)
    assert copied["test/rewrite/accuracy"].value <= 0.2
    assert found.metrics["test/rewrite/accuracy"].value >= 0.8
    assert found.run.data_fingerprint == data.fingerprint
    # Sentences of the training split are the most fluent there are; test sentences have words that it does not have.
    fluency = [system["test/rewrite/fluency"] for system in (found.metrics, copied)]
    assert fluency[0].value < fluency[1].value
    assert [figure.n for figure in fluency] == [10, 10]  # five of each of two pairs
    assert "test/fluency" not in copied  # that of samples
    with pytest.raises(ValueError, match="there are: copy, retrieve"):
        baseline_results("guess", data, judge, "style", 5)
    with pytest.raises(ValueError, match="no label 'tone'; it has: style"):
        baseline_results("copy", data, judge, "tone", 5)
    with pytest.raises(ValueError, match="count 0 rewrites nothing"):
        baseline_results("copy", data, judge, "style", 0)
    with pytest.raises(ValueError, match="style has no two categories to rewrite between"):
        baseline_results("copy", data, None, "style", 5)


def test_a_number_is_no_style_to_rewrite_into(tmp_path):
    rows = "".join(f"line {n} of {n % 7},{'ab'[n % 2]},{n + 0.5}\n" for n in range(80))
    (tmp_path / "t.csv").write_text(f"text,tone,age\n{rows}")
    data = TextFiles(tmp_path / "t.csv", vocabulary=300, shares=(0.2, 0.2))
    with pytest.raises(ValueError, match="age has no two categories to rewrite between"):
        baseline_results("copy", data, TextReport().judge(data), "age", 5)


def test_fluency_says_what_it_was_learned_from(tested):
    model, data, judge = tested.model, tested.data, tested.judge
    rows = data.examples.splits["test"][:4]
    batch = Batch(data.examples.x[rows], {"style": torch.zeros(4, dtype=torch.int64)})
    _, systems = rewriting_table(model, data, judge, batch, "style", 1, [], 1.0)
    source = f"trained on the sentences of the training split with style {data.attributes['style'].values[1]}"
    assert {figures["fluency"].estimator for figures in systems.values()} == {f"Kneser-Ney 3-grams of tokens, {source}"}
    assert tested.results["test/fluency"].estimator == "Kneser-Ney 3-grams of tokens, trained on the training split"


def test_a_sentence_is_rewritten_after_an_exemplar_of_the_target_style(tested, monkeypatch):
    model, old = tested.model, tested.data
    data = TextFiles(old.root, group="number", exemplars=True, vocabulary=300, length=24, shares=(0.2, 0.2))
    values = data.attributes["style"].values
    source, target = values.index("old"), values.index("new")
    rows = parallel_test(data, "style", source, target, 5).rows
    asked = []
    monkeypatch.setattr(type(model), "transfer", lambda _, batch, *rest: asked.append((batch, rest[0])) or batch.x)
    rewrite_rows(model, data, rows, "style", target)
    ((batch, wanted),) = asked
    assert wanted["style"] == target
    train = {text.split()[0]: text for text in data.tokenizer.decode(data.examples.x[data.examples.splits["train"]])}
    assert train.keys() == {"unto", "to"}
    for exemplars, word in ((batch.condition["exemplar"], "unto"), (wanted["exemplar"], "to")):
        assert [text.split()[0] for text in data.tokenizer.decode(exemplars)] == [word] * 5


def test_sentences_are_told_apart_by_their_own_styles_where_training_sees_permuted_ones(tested):
    old = tested.data
    data = TextFiles(old.root, group="number", vocabulary=300, length=24, shares=(0.2, 0.2))
    Subset(shuffle=["style"]).take_from(data)
    own, permuted = parallel_test(old, "style", 0, 1, 20), parallel_test(data, "style", 0, 1, 20)
    assert torch.equal(own.rows, permuted.rows)
    assert torch.equal(own.references, permuted.references)
    assert not torch.equal(old.examples.fields["style"], data.examples.fields["style"])
