import math

import pytest
import torch
from lightning.pytorch import Trainer

from common.evaluation.evaluation import Evaluation
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.data.datamodules import TextFiles
from modalities.text.evaluation.figures import perplexity
from modalities.text.evaluation.rewriting import baseline_results, rewrite_rows
from modalities.text.model import Decoding
from modalities.text.networks.architectures import Compact

PARTS = ["god", "light", "heaven", "earth", "the sea", "a man", "the king", "bread"]


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """A model after its test, on sentences in two versions, and the data."""
    file = tmp_path_factory.mktemp("figures") / "t.csv"
    sentences = [f"{first} and {second}" for first in PARTS for second in PARTS]
    lines = [f"unto {text},old,{n}\nto {text},new,{n}" for n, text in enumerate(sentences)]
    file.write_text("text,style,number\n" + "\n".join(lines) + "\n")
    data = TextFiles(file, group="number", vocabulary=300, length=24, shares=(0.2, 0.2))
    condition = StyleEncoder(data.attributes, data.tokenizer, dim=6, length=24)
    model = TextStyleCVAE(
        condition, data.tokenizer, 24, latent_dim=4, rewrites=5,
        architecture=Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1),
        evaluation=Evaluation(num_samples=4, gain_samples=2, gain_examples=2, control_samples=20),
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", max_steps=2, limit_val_batches=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return model, data


pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_test_measures_perplexity_diversity_fluency_and_rewriting(tested):
    names = {name.removeprefix("test/") for name in tested[0].results}
    assert {"elbo", "nll", "control_accuracy", "judge_accuracy", "frechet_distance", "leakage"} <= names
    assert {"perplexity", "fluency", "fluency_real", "distinct_1", "distinct_2_real"} <= names
    for pair in ("old-new", "new-old"):
        assert {f"rewrite/{pair}/{name}" for name in ("accuracy", "self_bleu", "reference_bleu")} <= names


def test_perplexity_is_the_nll_a_token(tested):
    model, data = tested
    rows = data.table.splits["test"]
    nll = model.results["test/nll"].value
    expected = math.exp(nll * len(rows) / data.lengths[rows].sum().item())
    assert model.results["test/perplexity"].value == pytest.approx(expected, rel=1e-4)
    assert model.results["test/perplexity"].n == len(rows)


def test_an_nll_beyond_any_perplexity_leaves_the_figure_out():
    lengths, nan = torch.tensor([2, 3, 5]), float("nan")
    (figure,) = perplexity(torch.tensor([1.0, 4.0, nan]), lengths, 10).values()
    assert figure.value == pytest.approx(math.e)
    assert perplexity(torch.tensor([1e4, 2e4, nan]), lengths, 10) == {}


def test_real_sentences_are_more_fluent_than_those_of_a_hardly_trained_model(tested):
    results = tested[0].results
    assert results["test/fluency_real"].value < results["test/fluency"].value / 3


def test_rewritings_are_as_many_as_asked_for(tested):
    results = tested[0].results
    assert {results[f"test/rewrite/old-new/{name}"].n for name in ("accuracy", "self_bleu", "reference_bleu")} == {5}


def test_rewriting_is_summed_up_over_the_pairs(tested):
    results = tested[0].results
    pairs = [results[f"test/rewrite/{pair}/self_bleu"].value for pair in ("old-new", "new-old")]
    assert results["test/rewrite/self_bleu"].value == pytest.approx(sum(pairs) / 2)


def test_rewriting_is_guided_as_the_decoding_says_and_says_so(tested, monkeypatch):
    model, data = tested
    rows = data.table.splits["test"][:3]
    monkeypatch.setattr(model, "decoding", Decoding(guidance=3.0))
    asked = []
    monkeypatch.setattr(type(model), "transfer", lambda _, batch, fields, guidance: asked.append(guidance) or batch.x)
    rewrite_rows(model, data, rows, "style", 1)
    assert asked == [3.0]
    assert model.results["test/rewrite/old-new/accuracy"].estimator == "frozen judge, guidance 1"


def test_copying_keeps_everything_and_retrieving_the_style(tested):
    _, data = tested
    copied = baseline_results("copy", data, "style", 5).metrics
    found = baseline_results("retrieve", data, "style", 5)
    assert copied["test/rewrite/self_bleu"].value == pytest.approx(100)
    assert copied["test/rewrite/accuracy"].value <= 0.2
    assert found.metrics["test/rewrite/accuracy"].value >= 0.8
    assert found.run.data_fingerprint == data.fingerprint
    with pytest.raises(ValueError, match="there are: copy, retrieve"):
        baseline_results("guess", data, "style", 5)
    with pytest.raises(ValueError, match="no label 'tone'; it has: style"):
        baseline_results("copy", data, "tone", 5)
