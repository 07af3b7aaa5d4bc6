"""`evaluation.decodes`: what is decoded at once is bounded, and no likelihood depends on the bound."""

import pytest
import torch
from lightning.pytorch import Trainer

from common.evaluation.bounds import condition_candidates
from common.evaluation.evaluation import Evaluation
from common.evaluation.sampling import sampled
from common.training.evaluator import Evaluator
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.data import Digits
from modalities.image.networks import MLP
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.data import Bible
from modalities.text.evaluation.report import TextReport
from modalities.text.networks.architectures import Compact

COUNTS = {"num_samples": 9, "prior_samples": 9, "gain_samples": 3, "gain_examples": 3, "control_samples": 12}


@pytest.fixture(scope="module")
def pairs():
    """A model and data of images and of text."""
    torch.manual_seed(0)
    digits, verses = (
        Digits(limit=80, binarize="threshold"),
        Bible(vocabulary=600, limit=240, words=12, shares=(0.2, 0.4)),
    )
    image = ImageCVAE(AttributeEncoder(digits.attributes), latent_dim=4, architecture=MLP([16]))
    style = StyleEncoder(verses.attributes, verses.tokenizer, verses.length)
    text = TextStyleCVAE(style, verses.tokenizer, verses.length, 4, architecture=Compact(width=16, heads=2), rewrites=3)
    return {"image": (image, digits), "text": (text, verses)}


@pytest.fixture
def most(pairs, monkeypatch):
    """The most z that are decoded at once, from now on."""
    seen = [0]

    def watched(kind):
        decode = kind.decode

        def counts(self, z, c):
            seen.append(z.shape[:-1].numel())
            return decode(self, z, c)

        monkeypatch.setattr(kind, "decode", counts)

    for model, _ in pairs.values():
        watched(type(model))
    return lambda: max(seen)


def columns(model, data, decodes):
    evaluation = Evaluation(**COUNTS, decodes=decodes)
    model.evaluation = evaluation
    batch = data.batch("test", 8)
    fields = {name: field for name, field in data.conditions("train").items() if name in model.condition.attributes}
    with torch.no_grad():
        model.eval()
        samples = model.validation_step(batch, 0)["samples"]
        return evaluation.columns(model, batch, samples, condition_candidates(fields, limit=3))


@pytest.mark.parametrize("name", ["image", "text"])
def test_no_figure_of_an_example_depends_on_how_many_are_decoded_at_once(name, pairs, most):
    model, data = pairs[name]
    found = {}
    for decodes in (1, 7, 1000):
        found[decodes] = columns(model, data, decodes)
        every = len(data.batch("test", 8)) * 9  # examples x samples are all that there are
        assert most() == min(decodes, every)
    figures = {"elbo", "reconstruction", "random_latent_cost", "nll", "nll_from_prior", "condition_gain"}
    assert figures <= found[7].keys()
    for decodes in (1, 7):
        for figure in figures:
            torch.testing.assert_close(
                found[decodes][figure], found[1000][figure], rtol=1e-5, atol=1e-4, equal_nan=True, msg=figure
            )


@pytest.mark.parametrize("name", ["image", "text"])
def test_a_whole_test_keeps_to_the_limit_also_where_it_generates(name, pairs, most, tmp_path):
    model, data = pairs[name]
    found = {}
    for decodes in (7, 1000):
        evaluation = Evaluation(**COUNTS, decodes=decodes, nll_examples=4, judge_steps=2)
        model.evaluation = evaluation
        report = TextReport() if name == "text" else None
        trainer = Trainer(
            default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, callbacks=[Evaluator(evaluation, report)],
        )  # fmt: skip
        trainer.test(model, data, verbose=False)
        evaluator = Evaluator.of(trainer)
        assert evaluator.failed == {}
        found[decodes] = evaluator.results
        assert most() <= decodes
    assert most() > 7
    assert found[7].keys() == found[1000].keys()
    assert "test/rewrite/kjv-bbe/input_bleu" in found[7] or name == "image"
    for figure in ("test/nll", "test/elbo", "test/condition_gain"):
        assert found[7][figure].value == pytest.approx(found[1000][figure].value, rel=1e-5, abs=1e-4)  # float32


def test_a_limit_below_one_is_refused():
    with pytest.raises(ValueError, match=r"evaluation\.decodes must be at least 1; got 0"):
        Evaluation(decodes=0)


def test_guidance_counts_as_two_decodes():
    assert [Evaluation(decodes=n).at_once(100) for n in (1, 30, 1000)] == [1, 30, 100]
    assert [Evaluation(decodes=n, guidance=2.0).at_once(100) for n in (1, 30, 1000)] == [1, 15, 100]


def test_samples_come_in_the_order_of_their_conditions(pairs, most):
    model, _ = pairs["image"]
    digits = torch.arange(10)
    with torch.no_grad():
        for at_once in (3, 30):
            x = sampled(model, {"digit": digits}, at_once, 3, temperature=0.0)
            assert x.shape == (3, 10, 1, 28, 28)
            assert most() == at_once
            for row in (0, 9):
                alone = model.sample({"digit": digits[row : row + 1]}, temperature=0.0)[0, 0]
                torch.testing.assert_close(x[:, row], alone.expand(3, -1, -1, -1))
