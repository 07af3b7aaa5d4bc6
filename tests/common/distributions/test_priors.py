import pytest
import torch
from torch import nn
from torch.distributions import Normal

from common.batch import Batch
from common.conditions.condition import Condition
from common.distributions.posterior import diagonal_normal
from common.distributions.priors import ConditionalNormal, StandardNormal, VampPrior
from tests.common.models import PointCVAE


class LinearEncode(nn.Module):
    """q(z | x, c) from one linear layer on [x, c]."""

    def __init__(self, inputs, condition_dim, latent_dim):
        super().__init__()
        self.linear = nn.Linear(inputs + condition_dim, 2 * latent_dim)

    def forward(self, x, c):
        return diagonal_normal(self.linear(torch.cat([x, c.vector], dim=-1)))


def vamp(components, latent_dim, condition_dim=2, bounds=(0.0, 1.0)):
    prior = VampPrior(components, bounds)
    prior.build(latent_dim, condition_dim, LinearEncode(3, condition_dim, latent_dim), (3,))
    return prior


def test_standard_normal_ignores_the_condition():
    prior = StandardNormal()
    prior.build(3, 2, None, None)
    z = torch.randn(5, 3)
    expected = Normal(0.0, 1.0).log_prob(z).sum(-1)
    assert torch.allclose(prior(torch.randn(5, 2)).log_prob(z), expected)


def test_standard_normal_is_float32_for_a_half_precision_condition():
    prior = StandardNormal()
    prior.build(3, 2, None, None)
    assert prior(torch.randn(5, 2).bfloat16()).sample().dtype == torch.float32


def test_conditional_normal_starts_at_the_standard_normal():
    prior = ConditionalNormal(hidden=8)
    prior.build(3, 2, None, None)
    base = prior(10 * torch.randn(5, 2)).base_dist
    assert torch.equal(base.loc, torch.zeros(5, 3))
    assert torch.equal(base.scale, torch.ones(5, 3))


def test_conditional_normal_learns_a_mean_and_a_scale_for_each_condition():
    prior = ConditionalNormal(hidden=16)
    prior.build(1, 1, None, None)
    c = torch.tensor([[0.0], [1.0]])
    mean, scale = torch.tensor([[-1.0], [2.0]]), torch.tensor([[0.5], [2.0]])
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.03)
    for _ in range(300):
        base = prior(c).base_dist
        loss = torch.distributions.kl_divergence(Normal(mean, scale), base).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    base = prior(c).base_dist
    assert torch.allclose(base.loc, mean, atol=0.05)
    assert torch.allclose(base.scale, scale, atol=0.05)


def test_vamp_log_prob_is_the_weighted_mixture_of_the_pseudo_inputs_posteriors():
    prior = vamp(components=4, latent_dim=2, bounds=(-1.0, 3.0))
    c, z = torch.randn(5, 2), torch.randn(7, 5, 2)
    u = -1 + 4 * torch.sigmoid(prior.inputs)
    weights = torch.softmax(c @ prior.weights.weight.T + prior.weights.bias, dim=-1)
    posterior = prior.encode(u, Condition(prior.embeddings)).base_dist
    density = Normal(posterior.loc, posterior.scale).log_prob(z.unsqueeze(2)).sum(-1).exp()
    expected = (weights * density).sum(-1).log()
    assert torch.allclose(prior(c).log_prob(z), expected, atol=1e-5)


def test_vamp_density_integrates_to_one():
    z = torch.linspace(-30, 30, 60_001)
    density = vamp(components=5, latent_dim=1)(torch.randn(1, 2)).log_prob(z.reshape(-1, 1, 1))[:, 0].exp()
    assert torch.trapezoid(density, z).item() == pytest.approx(1, abs=1e-3)


def test_vamp_weights_depend_on_the_condition():
    prior = vamp(components=4, latent_dim=2)
    mixture = prior(torch.tensor([[0.0, 0.0], [5.0, -5.0]])).mixture_distribution.probs
    assert not torch.allclose(mixture[0], mixture[1], atol=0.05)
    assert torch.allclose(mixture.sum(-1), torch.ones(2))


def test_every_part_of_a_vamp_prior_learns():
    prior = vamp(components=4, latent_dim=2)
    prior(torch.randn(5, 2)).log_prob(torch.randn(5, 2)).sum().backward()
    for parameter in (prior.inputs, prior.embeddings, prior.weights.weight, prior.encode.linear.weight):
        assert parameter.grad.abs().sum() > 0


def test_a_vamp_prior_without_a_fixed_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        VampPrior().build(2, 2, None, None)


@pytest.mark.parametrize("prior", [StandardNormal(), ConditionalNormal(), VampPrior()])
def test_a_prior_of_unknown_size_says_what_to_pass(prior):
    with pytest.raises(RuntimeError, match="latent_dim"):
        prior(torch.zeros(2, 3))


def test_a_prior_with_parameters_is_not_made_after_the_optimiser():
    model = PointCVAE(prior=ConditionalNormal())
    with pytest.raises(RuntimeError, match="latent_dim"):
        model.elbo(Batch(torch.randn(4, 3), {}))
