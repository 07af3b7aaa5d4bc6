"""What a user writes for a CVAE on new data: the model, its data and a training, in under 60 lines."""

import inspect

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import random_split
from common.distributions.likelihoods import Gaussian
from common.distributions.posterior import diagonal_normal
from common.nn.film import concatenate
from common.training import ConditionalELBO
from common.training.evaluator import Evaluator

# --- what the user writes


class Label(ConditionEncoder):
    dim = 3

    def forward(self, fields):
        return Condition(nn.functional.one_hot(fields["cluster"], 3).float())


class BlobCVAE(ConditionalELBO):
    """Points in the plane, conditioned on the cluster they belong to."""

    def __init__(self, condition, hidden=32):
        super().__init__(condition, latent_dim=2, optimizer=lambda weights: torch.optim.Adam(weights, lr=0.01))
        self.encoder = nn.Sequential(nn.Linear(2 + condition.dim, hidden), nn.SiLU(), nn.Linear(hidden, 4))
        self.decoder = nn.Sequential(nn.Linear(2 + condition.dim, hidden), nn.SiLU(), nn.Linear(hidden, 2))
        self.likelihood = Gaussian()

    def encode(self, x, c):
        return diagonal_normal(self.encoder(concatenate(x, c.vector)))

    def decode(self, z, c):
        return self.likelihood(self.decoder(concatenate(z, c.vector)), event_ndim=1)


class Blobs(ConditionalDataModule):
    """Three Gaussian clusters."""

    def load(self):
        cluster = torch.arange(600) % 3
        centres = torch.tensor([[0.0, 3.0], [3.0, 0.0], [-3.0, 0.0]])
        x = centres[cluster] + 0.5 * torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
        splits = random_split(600, (0.2, 0.2), seed=0)
        return Examples(x, {"cluster": cluster}, {"cluster": Categorical(["up", "right", "left"])}, splits)


def train(folder):
    data = Blobs(batch_size=30)
    model = BlobCVAE(Label(data.attributes))
    trainer = Trainer(max_epochs=30, default_root_dir=folder, logger=False, enable_progress_bar=False, devices=1)
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    return trainer, model, data


# --- what the suite promises


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(tmp_path_factory.mktemp("blobs"))


def test_a_new_cvae_takes_under_60_lines():
    source = inspect.getsource(inspect.getmodule(train))
    own = source.split("# --- what the user writes")[1].split("# --- what the suite promises")[0]
    assert len([line for line in own.splitlines() if line.strip()]) < 60


def test_a_new_cvae_trains_generates_scores_and_comes_back_from_its_checkpoint(trained, tmp_path):
    trainer, model, data = trained
    results = Evaluator.of(trainer).results
    # the entropy of a cluster, log(2 pi e 0.25), is the best that any model can do
    assert results["test/nll"].value < 1.45 + 0.35
    assert results["test/condition_gain"].value > 0.8  # knowing one of three clusters is worth log 3 = 1.10
    samples = model.sample({"cluster": torch.tensor([0, 1, 2])}, num_samples=200)
    assert torch.allclose(samples.mean(0), torch.tensor([[0.0, 3.0], [3.0, 0.0], [-3.0, 0.0]]), atol=0.35)
    trainer.save_checkpoint(tmp_path / "blob.ckpt")
    again = BlobCVAE.load_from_checkpoint(tmp_path / "blob.ckpt")
    batch = data.batch("test", 20)
    assert torch.equal(again.log_likelihood(batch, 50), model.log_likelihood(batch, 50))
    assert isinstance(again.condition, Label)


def test_a_hole_in_x_is_filled_from_what_is_observed(trained):
    _, model, data = trained
    batch = data.batch("test", 60)
    mask = torch.tensor([True, False]).expand(60, 2)
    hidden = batch.replace(x=torch.where(mask, batch.x, 1000.0), mask=mask)
    filled = model.impute(hidden, num_samples=20)
    assert filled.shape == (20, 60, 2)
    assert torch.equal(filled[..., 0], batch.x[:, 0].expand(20, -1))  # observed values come back as they were
    error = (filled.mean(0)[:, 1] - batch.x[:, 1]).pow(2).mean().sqrt()
    assert error < 0.75  # the cluster's own deviation is 0.5


def test_a_model_without_declared_sizes_works():
    class Bare(BlobCVAE):
        def __init__(self, condition):
            ConditionalELBO.__init__(self, condition)
            self.encoder, self.decoder = nn.Linear(5, 4), nn.Linear(5, 2)
            self.likelihood = Gaussian(1.0)

    data = Blobs(batch_size=60)
    model = Bare(Label(data.attributes))
    batch: Batch = data.batch("train", 10)
    terms = model.elbo(batch)
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
    assert model.sample({"cluster": 1}, num_samples=4).shape == (4, 1, 2)
