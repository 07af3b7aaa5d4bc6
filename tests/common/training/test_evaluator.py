"""Evaluation never costs a training: what fails is named, and the other figures are measured."""

import lightning.pytorch as pl
import pytest
import torch

from common.evaluation.evaluation import Evaluation
from common.evaluation.report import Report
from common.training.evaluator import Evaluator, _not_finite
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.data import Digits
from modalities.image.networks import MLP

FEW = Evaluation(num_samples=5, gain_samples=2, gain_examples=3, control_samples=4)


class Failing(Report):
    """A report that can measure nothing."""

    def make_judge(self, data):
        raise ValueError("no terms remain")

    def figures(self, model, data, evaluation, table):
        return {"never": 1 / 0}


def measured(report, **options):
    data = Digits(binarize="static", batch_size=16, **options)
    model = ImageCVAE(AttributeEncoder(data.attributes), latent_dim=2, architecture=MLP([8]), evaluation=FEW)
    evaluator = Evaluator(FEW, report)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = pl.Trainer(accelerator="cpu", devices=1, callbacks=[evaluator], **quiet)
    trainer.test(model, datamodule=data, verbose=False)
    return evaluator


def test_figures_that_fail_are_named_and_the_others_measured():
    with pytest.warns(UserWarning, match="judge: not measured .ValueError: no terms remain."):
        found = measured(Failing(), limit=60)
    assert set(found.failed) == {"judge", "report"}
    assert "ZeroDivisionError" in found.failed["report"]
    assert {"test/nll", "test/kl", "test/active_units", "test/condition_gain"} <= found.results.keys()
    assert found.results["test/nll"].n == 6


def test_a_single_test_example_is_measured_as_far_as_it_goes():
    found = measured(Report(), limit=10)
    assert found.failed == {}
    assert found.results["test/nll"].n == 1
    assert found.results["test/nll"].stderr is None
    assert "test/mutual_information" not in found.results


def test_examples_whose_likelihood_is_not_measured_are_no_fault():
    table = {"index": torch.arange(3), "reconstruction": torch.zeros(3), "kl": torch.zeros(3)}
    assert _not_finite({**table, "nll": torch.tensor([1.0, float("nan"), 2.0])}, None) is None
    table["kl"] = torch.tensor([0.0, float("inf"), float("nan")])
    assert _not_finite(table, None) == "kl of 2 of 3 test examples: position 1; position 2"


def test_a_batch_that_fails_costs_its_own_examples_alone(monkeypatch):
    columns = Evaluation.columns
    for place in (0, 1):
        sizes = []

        def failing(*arguments, place=place, sizes=sizes):
            sizes.append(len(arguments[2]))
            if len(sizes) == place + 1:
                raise torch.OutOfMemoryError("no memory for this batch")
            return columns(*arguments)

        monkeypatch.setattr(Evaluation, "columns", failing)
        with pytest.warns(UserWarning, match="likelihood of each example: not measured .OutOfMemoryError"):
            found = measured(Report(), limit=400)
        assert set(found.failed) == {"likelihood of each example"}
        assert found.results["test/elbo"].n == 40
        assert found.results["test/nll"].n == 40 - sizes[place]
        assert len(sizes) == 3
