"""What a test says of its own estimates, and that a validation leaves the training alone."""

import warnings

import pytest
import torch
from lightning.pytorch import Trainer

from common.conditions.attributes import Categorical
from common.conditions.encoders import FieldEncoder
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import random_split, some_rows
from common.distributions.likelihoods import Gaussian
from common.evaluation.evaluation import Evaluation
from common.evaluation.information import mutual_information
from common.evaluation.report import Report
from common.training.evaluator import Evaluator
from tests.common.models import PointCVAE


class Points(ConditionalDataModule):
    def load(self):
        x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        return Examples(x, {}, {}, random_split(100, (0.1, 0.5), 0))


class Kinds(ConditionalDataModule):
    """Points of two kinds; the second one has 4 test examples, too few for a probe of 5 folds, and 3 have none."""

    def load(self):
        x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        splits = random_split(100, (0.1, 0.5), 0)
        kind = torch.arange(100) % 2
        kind[splits["test"]] = torch.tensor([0] * 20 + [1] * 23 + [2] * 4 + [-1] * 3)
        return Examples(x, {"kind": kind}, {"kind": Categorical(("a", "b", "c"))}, splits)


QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}


def figures_of(**numbers):
    """The figures of a model of points whose kinds the test has and training has not, and the reasons for failures."""
    data = Kinds()
    model = PointCVAE(evaluation=Evaluation(num_samples=5, gain_samples=2, **numbers))
    model.condition = FieldEncoder(data.attributes, dim=1)
    trainer = Trainer(accelerator="cpu", devices=1, **QUIET)
    trainer.test(model, data, verbose=False)
    return Evaluator.of(trainer).results, Evaluator.of(trainer).failed


def test_a_figure_of_no_example_is_left_out():
    figures, failed = figures_of(nll_examples=0, gain_examples=0)
    assert failed == {}
    assert not {"test/nll", "test/effective_sample_size", "test/condition_gain"} & figures.keys()
    assert (figures["test/elbo"].n, figures["test/active_units_kl"].n) == (50, 50)
    assert all(figure.finite for figure in figures.values())


def test_a_figure_says_what_is_behind_it():
    figures, _ = figures_of(nll_examples=7, gain_examples=6)
    assert (figures["test/nll"].n, figures["test/condition_gain"].n) == (7, 6)
    assert figures["test/condition_gain"].estimator == "importance sampling, 2 samples, own and 32 drawn conditions"
    assert figures["test/leakage"].n == 43  # of 50: the probe leaves out the rare kind and the examples without one


def test_some_examples_are_random_ones_the_same_for_every_model_and_batch():
    measured = {}
    for batch_size, seed in ((50, 0), (7, 3)):
        data, model = Kinds(batch_size=batch_size), PointCVAE(evaluation=Evaluation(5, nll_examples=9, seed=seed))
        model.condition = FieldEncoder(data.attributes, dim=1)
        trainer = Trainer(accelerator="cpu", devices=1, **QUIET)
        trainer.test(model, data, verbose=False)
        examples = Evaluator.of(trainer).examples
        measured[seed] = sorted(examples["index"][~examples["nll"].isnan()].int().tolist())
    assert measured[0] == measured[3] == some_rows(50, 9).sort().values.tolist()
    assert measured[0] != list(range(9))
    drawn = data.some("test", 9)
    assert drawn.index.tolist() == measured[0]
    assert torch.equal(drawn.x, data.examples.x[data.examples.splits["test"]][drawn.index])
    assert len(data.some("test", None)) == len(data.some("test", 80)) == 50


class Restless(Report):
    """Draws from torch's generator in every validation."""

    count = 0

    def after_validation(self, model, data):
        self.count += 1
        torch.randn(7)


@pytest.mark.parametrize("options", [{}, {"check_val_every_n_epoch": 2}, {"limit_val_batches": 0}])
def test_a_validation_does_not_change_the_training(options):
    def weights(report, **options):
        torch.manual_seed(0)
        model, data = PointCVAE(latent_dim=2), Points(batch_size=10)
        callback = Evaluator(model.evaluation, report)
        trainer = Trainer(accelerator="cpu", devices=1, max_epochs=3, callbacks=[callback], **QUIET, **options)
        trainer.fit(model, data)
        return torch.cat([weight.detach().flatten() for weight in model.parameters()])

    report = Restless()
    found = weights(report, **options)
    assert report.count == (0 if "limit_val_batches" in options else 3 // options.get("check_val_every_n_epoch", 1))
    assert torch.equal(found, weights(Report()))


def measured(sigma):
    """A model after its test: with a small sigma, the posterior of an untrained encoder is far from the true one."""
    torch.manual_seed(0)
    model = PointCVAE(evaluation=Evaluation(num_samples=50))
    model.likelihood = Gaussian(sigma)
    trainer = Trainer(accelerator="cpu", devices=1, **QUIET)
    trainer.test(model, Points(), verbose=False)
    return Evaluator.of(trainer).results["test/effective_sample_size"].value


def test_estimates_that_hang_on_single_samples_are_warned_of():
    with pytest.warns(UserWarning, match=r"few importance samples decide the NLL .* 1\.\d of 50\)"):
        assert measured(0.02) < 2


def test_sound_estimates_are_not():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "few importance samples")
        assert measured(3.0) > 10


class Versions(Points):
    """Points of which each is there five times, as versions of one thing."""

    def load(self):
        points = super().load()
        rows = torch.arange(100).repeat_interleave(5)
        splits = {name: torch.isin(rows, part).nonzero()[:, 0] for name, part in points.splits.items()}
        return Examples(points.x[rows], {}, {}, splits, groups=rows)


def test_versions_of_an_example_make_its_error_no_smaller():
    found = {}
    for data in (Points(), Versions()):
        trainer = Trainer(accelerator="cpu", devices=1, **QUIET)
        torch.manual_seed(0)
        trainer.test(PointCVAE(evaluation=Evaluation(num_samples=50)), data, verbose=False)
        evaluator = Evaluator.of(trainer)
        found[type(data)] = evaluator.results["test/nll"]
        assert ("group" in evaluator.examples) == (type(data) is Versions)
    alone, versions = found[Points], found[Versions]
    assert (alone.n, versions.n) == (50, 250)
    assert versions.estimator.endswith(", error of 50 groups")
    assert versions.stderr == pytest.approx(alone.stderr, rel=0.2)


def test_the_information_that_z_has_is_that_of_a_random_part_of_sorted_examples():
    mean = torch.cat([torch.zeros(3000, 1), 100 * torch.randn(3000, 1, generator=torch.Generator().manual_seed(0))])
    shared, n = mutual_information(mean, torch.full_like(mean, 0.01))
    assert n == 2000
    assert shared > 3  # of the first 2,000, which are all the same, it would be 0
