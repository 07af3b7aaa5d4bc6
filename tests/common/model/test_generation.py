import math

import pytest
import torch

from common.conditions.condition import Condition
from common.model.generation import Generation, WeightedLatents
from tests.common.models import LinearGaussian

COUNT = 20_000


def test_latents_are_picked_in_proportion_to_their_weights():
    z = torch.tensor([[[0.0], [10.0]], [[1.0], [11.0]], [[2.0], [12.0]]])  # z[k, b] = k + 10 b
    weights = torch.tensor([[0.2, 0.0], [0.3, 0.9], [0.5, 0.1]])
    log_weights = weights.log() + torch.tensor([3.0, -200.0])  # a constant of each example changes nothing
    chosen = WeightedLatents(z, log_weights, Condition(torch.zeros(2, 1))).resample(COUNT)
    assert chosen.shape == (COUNT, 2, 1)
    for example in range(2):
        position = chosen[:, example, 0] - 10 * example
        shares = torch.stack([(position == k).float().mean() for k in range(3)])
        assert shares.sum() == 1  # every latent stays with its example
        assert shares.tolist() == pytest.approx(weights[:, example].tolist(), abs=4 * math.sqrt(0.25 / COUNT))


def test_a_latent_is_picked_whole():
    first = torch.arange(5.0).reshape(5, 1, 1)
    z = torch.cat([first, 100 - first], dim=-1)
    chosen = WeightedLatents(z, torch.zeros(5, 1), Condition(torch.zeros(1, 1))).resample(50)
    assert torch.equal(chosen.sum(-1), torch.full((50, 1), 100.0))


class LinearGeneration(LinearGaussian, Generation):
    """The linear model with the verbs."""


def test_resampled_latents_follow_the_exact_posterior_however_wrong_the_encoder():
    model, exact = LinearGeneration(shift=0.3, stretch=1.5), LinearGaussian()
    batch = model.batch(3)
    found = model.weighted_latents(batch, 20_000, seed=0)
    z = found.resample(COUNT)
    posterior = exact.encode(batch.x, found.condition).base_dist
    assert torch.allclose(z.mean(0), posterior.loc, atol=0.03)
    assert torch.allclose(z.std(0), posterior.scale, rtol=0.05)
    assert (found.z.mean(0) - posterior.loc - 0.3).abs().max() < 0.03  # unweighted, they follow the encoder


def test_the_seed_fixes_weighted_latents_of_an_example_by_its_index():
    model = LinearGeneration(shift=0.3)
    batch = model.batch(6)
    whole, part = model.weighted_latents(batch, 5, seed=2), model.weighted_latents(batch[slice(4, 6)], 5, seed=2)
    assert torch.equal(part.z, whole.z[:, 4:])
    assert torch.allclose(part.log_weights, whole.log_weights[:, 4:], atol=1e-5)
