import math

import pytest
import torch

from common.distributions.flows import FlowPrior


@pytest.fixture
def prior():
    flow = FlowPrior(layers=4, hidden=16)
    flow.build(2, 3, encode=None, shape=None)
    return flow


def disturbed(flow, scale=0.3):
    for weight in flow.parameters():
        torch.nn.init.normal_(weight, std=scale)
    return flow


def test_an_untrained_flow_is_the_standard_normal(prior):
    z = torch.randn(5, 4, 2)
    expected = -0.5 * z.pow(2).sum(-1) - math.log(2 * math.pi)
    assert torch.allclose(prior(torch.randn(4, 3)).log_prob(z), expected, atol=1e-6)


def test_a_flow_integrates_to_one(prior):
    axis = torch.linspace(-15, 15, 1501)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 2)
    with torch.no_grad():
        density = disturbed(prior)(torch.randn(1, 3)).log_prob(grid).exp()
    assert density.sum().item() * (axis[1] - axis[0]).item() ** 2 == pytest.approx(1.0, abs=5e-3)


def test_samples_follow_the_density(prior):
    flow = disturbed(prior)(torch.randn(1, 3))
    with torch.no_grad():
        z = flow.sample((20_000,))
        # E_p[q / p] = 1 for any normalised q: here a wide normal
        wide = torch.distributions.Independent(torch.distributions.Normal(z.mean(0), 1.5 * z.std(0)), 1)
        inner = torch.distributions.Independent(torch.distributions.Normal(z.mean(0), 0.7 * z.std(0)), 1)
        ratio = (inner.log_prob(z) - flow.log_prob(z)).exp()
    assert ratio.mean().item() == pytest.approx(1.0, abs=4 * ratio.std().item() / math.sqrt(len(z)) + 0.02)
    assert wide.log_prob(z).mean() < flow.log_prob(z).mean()  # no other density explains the samples better


def test_the_inverse_undoes_the_forward_pass(prior):
    flow = disturbed(prior)(torch.randn(4, 3))
    u = torch.randn(6, 4, 2)
    z = flow.push(u)
    for coupling in prior.couplings:
        z, _ = coupling(z, flow.c)
    assert torch.allclose(z, u, atol=1e-5)


def test_the_condition_moves_the_density(prior):
    disturbed(prior)
    z = torch.zeros(1, 2)
    assert prior(torch.ones(1, 3)).log_prob(z) != prior(-torch.ones(1, 3)).log_prob(z)


def test_an_unconditional_flow_ignores_the_condition():
    flow = FlowPrior(layers=2, hidden=8, conditional=False)
    flow.build(2, 3, encode=None, shape=None)
    disturbed(flow)
    z = torch.zeros(1, 2)
    assert flow(torch.ones(1, 3)).log_prob(z) == flow(-torch.ones(1, 3)).log_prob(z)
    assert flow(torch.ones(4, 3)).sample((5,)).shape == (5, 4, 2)


def test_a_single_latent_dimension_is_refused():
    with pytest.raises(ValueError, match="at least two latent dimensions"):
        FlowPrior().build(1, 3, encode=None, shape=None)


def test_the_noise_of_a_value_gives_it_back(prior):
    flow = disturbed(prior)(torch.randn(4, 3))
    z = torch.randn(5, 4, 2)
    noise, log_determinant = flow.pull(z)
    assert torch.allclose(flow.push(noise), z, atol=1e-4)
    assert torch.allclose(flow.base.log_prob(noise) + log_determinant, flow.log_prob(z))
