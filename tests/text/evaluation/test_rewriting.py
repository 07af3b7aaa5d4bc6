import pytest
import torch

from modalities.text.data import TextFiles
from modalities.text.evaluation.rewriting import baseline_results, parallel_test, rewrite_rows, rewriting_scores
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
    assert torch.equal(bible.groups[test.rows], bible.groups[test.references])
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
    with pytest.raises(ValueError, match="there are: copy, retrieve"):
        baseline_results("guess", data, judge, "style", 5)
    with pytest.raises(ValueError, match="no label 'tone'; it has: style"):
        baseline_results("copy", data, judge, "tone", 5)
