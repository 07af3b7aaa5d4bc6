"""What a test says of its own estimates."""

import warnings

import pytest
import torch
from lightning.pytorch import Trainer

from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import random_split
from common.distributions.likelihoods import Gaussian
from common.evaluation.evaluation import Evaluation
from common.training.evaluator import Evaluator
from tests.common.models import PointCVAE


class Points(ConditionalDataModule):
    def load(self):
        x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        return Examples(x, {}, {}, random_split(100, (0.1, 0.5), 0))


def measured(sigma):
    """A model after its test: with a small sigma, the posterior of an untrained encoder is far from the true one."""
    torch.manual_seed(0)
    model = PointCVAE(evaluation=Evaluation(num_samples=50))
    model.likelihood = Gaussian(sigma)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", devices=1, enable_checkpointing=False, **quiet)
    trainer.test(model, Points(), verbose=False)
    return Evaluator.of(trainer).results["test/effective_sample_size"].value


def test_estimates_that_hang_on_single_samples_are_warned_of():
    with pytest.warns(UserWarning, match=r"single importance samples decide the NLL .* 1\.\d of 50\)"):
        assert measured(0.02) < 2


def test_sound_estimates_are_not():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "single importance samples")
        assert measured(3.0) > 10
