import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from common.batch import Batch
from common.conditions.condition import Condition
from common.distributions.noise import reparameterize
from common.objectives.objectives import (
    ELBO,
    IWAE,
    BetaTC,
    DReG,
    Staged,
    free_bits,
    iwae_bound,
    log_aggregate_posterior,
)
from common.objectives.samples import PosteriorSamples
from common.objectives.schedules import Linear
from tests.common.models import LinearGaussian


def normal(mean, scale):
    return Independent(Normal(mean, scale), 1)


def standard(count, latent_dim):
    return normal(torch.zeros(count, latent_dim), torch.ones(count, latent_dim))


MIXTURE = MixtureSameFamily(Categorical(torch.ones(3, 2)), standard(2, 2).expand((3, 2)))  # a prior that mixes units


def samples_of(z, log_likelihood, posterior, prior, dataset_size=None):
    """PosteriorSamples of examples and conditions that no objective reads; `log_likelihood` is a function of z."""
    count, decoded = z.shape[1], z.view_as(z)
    c, batch = Condition(torch.zeros(count, 1)), Batch(torch.zeros(count, 1), {})
    return PosteriorSamples(z, decoded, log_likelihood(decoded), posterior, prior, c, batch, c, dataset_size)


def draws_of(mean, scale, num_samples=1, prior=None, log_likelihood=None, dataset_size=None):
    """PosteriorSamples from a given posterior; the log-likelihood is zero where none is given."""
    posterior = normal(mean, scale)
    z = posterior.rsample((num_samples,))
    log_likelihood = log_likelihood or (lambda z: z.new_zeros(z.shape[:2]))
    return samples_of(z, log_likelihood, posterior, prior or standard(*mean.shape), dataset_size)


def random_draws(num_samples=1, count=6, dataset_size=None):
    mean, scale = torch.randn(count, 3), torch.rand(count, 3) + 0.2
    return draws_of(mean, scale, num_samples, log_likelihood=lambda z: -z.pow(2).sum(-1), dataset_size=dataset_size)


def kl_to_standard(mean, scale):
    return (mean**2 + scale**2 - 1) / 2 - scale.log()


# ELBO


def test_kl_per_unit_is_the_closed_form():
    mean, scale, prior_mean, prior_scale = (
        torch.randn(4, 3),
        torch.rand(4, 3) + 0.1,
        torch.randn(4, 3),
        torch.tensor(2.0),
    )
    found = draws_of(mean, scale, prior=normal(prior_mean, prior_scale.expand(4, 3))).kl_per_unit()
    expected = (prior_scale / scale).log() + (scale**2 + (mean - prior_mean) ** 2) / (2 * prior_scale**2) - 0.5
    assert torch.allclose(found, expected, atol=1e-5)


def test_kl_to_a_mixture_prior_approaches_the_numerical_one():
    means, scales, weights = torch.tensor([[-2.0], [1.0]]), torch.tensor([[0.5], [1.5]]), torch.tensor([0.3, 0.7])
    prior = MixtureSameFamily(Categorical(weights.expand(1, 2)), normal(means, scales).expand((1, 2)))
    draws = draws_of(torch.tensor([[0.4]]), torch.tensor([[0.8]]), num_samples=50_000, prior=prior)
    each = draws.posterior.log_prob(draws.z) - prior.log_prob(draws.z)
    z = torch.linspace(-10, 10, 20_001)
    log_q = Normal(0.4, 0.8).log_prob(z)
    density = (weights * Normal(means[:, 0], scales[:, 0]).log_prob(z.unsqueeze(1)).exp()).sum(1)
    expected = torch.trapezoid(log_q.exp() * (log_q - density.log()), z).item()
    assert draws.terms().kl.item() == pytest.approx(expected, abs=4 * each.std().item() / math.sqrt(50_000))


def test_elbo_terms_average_the_reconstruction_over_the_draws():
    draws = random_draws(num_samples=7)
    terms = draws.terms()
    assert torch.allclose(terms.reconstruction, draws.log_likelihood.mean(0))
    assert torch.allclose(terms.elbo, draws.log_likelihood.mean(0) - draws.kl_per_unit().sum(-1))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_elbo_loss_is_the_negative_reconstruction_plus_beta_times_kl(beta):
    draws = random_draws(num_samples=2)
    terms = draws.terms()
    expected = -(terms.reconstruction.mean() - beta * terms.kl.mean())
    assert ELBO(beta)(draws, 0).item() == pytest.approx(expected.item(), rel=1e-5)


def test_elbo_follows_the_schedule_of_beta():
    draws, objective = random_draws(), ELBO(beta=Linear(0, 2, 10))
    for step, beta in [(0, 0.0), (5, 1.0), (20, 2.0)]:
        assert objective(draws, step).item() == pytest.approx(ELBO(beta)(draws, 0).item())
        assert objective.coefficients(step) == {"beta": beta}


# Free bits


def two_units():
    """Unit 0 has little KL in the mean over the batch, unit 1 much; means and scales are leaves."""
    mean = torch.tensor([[0.1, 2.0], [-0.2, -1.5], [0.0, 3.0]], requires_grad=True)
    scale = torch.tensor([[0.9, 0.3], [1.1, 0.2], [1.0, 0.1]], requires_grad=True)
    return mean, scale


def test_free_bits_are_the_floored_mean_kl_of_each_unit():
    kl = torch.tensor([[0.0, 1.0], [0.2, 3.0]])
    assert free_bits(kl, 0.5).item() == pytest.approx(0.5 + 2.0)


def test_no_free_bits_are_the_plain_elbo():
    kl = random_draws().kl_per_unit()
    assert free_bits(kl, 0.0).item() == pytest.approx(kl.sum(-1).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("group", "expected"), [(1, 0.5 + 2.0 + 0.5 + 0.7), (2, 2.1 + 0.9), (4, 3.0)])
def test_units_of_a_group_share_their_free_bits(group, expected):
    kl = torch.tensor([[0.0, 1.0, 0.2, 0.7], [0.2, 3.0, 0.2, 0.7]])
    assert free_bits(kl, 0.5, group).item() == pytest.approx(expected)


def test_groups_that_do_not_divide_the_units_are_refused():
    with pytest.raises(ValueError, match="must divide the 2 units"):
        ELBO(free_bits=0.5, free_bits_group=3)(draws_of(*two_units()), 0)


@pytest.mark.parametrize("prior", [None, MIXTURE])
def test_free_bits_of_all_units_together_are_a_floor_under_the_kl_whatever_the_prior(prior):
    draws = draws_of(*two_units(), prior=prior)
    kl = draws.terms().kl.mean().item()
    above, below = (ELBO(free_bits=kl + offset, free_bits_group=0)(draws, 0).item() for offset in (1.0, -0.1))
    assert above == pytest.approx(kl + 1.0, rel=1e-5)
    assert below == pytest.approx(kl, rel=1e-5)


def test_free_bits_leave_a_unit_below_the_floor_without_gradient():
    mean, scale = two_units()
    ELBO(free_bits=0.5)(draws_of(mean, scale), 0).backward()
    assert torch.equal(mean.grad[:, 0], torch.zeros(3))
    assert torch.equal(scale.grad[:, 0], torch.zeros(3))


def test_free_bits_leave_a_unit_above_the_floor_its_whole_gradient():
    mean, scale = two_units()
    plain_mean, plain_scale = two_units()
    ELBO(free_bits=0.5)(draws_of(mean, scale), 0).backward()
    ELBO()(draws_of(plain_mean, plain_scale), 0).backward()
    assert torch.allclose(mean.grad[:, 1], plain_mean.grad[:, 1])
    assert torch.allclose(scale.grad[:, 1], plain_scale.grad[:, 1])
    assert (mean.grad[:, 1] != 0).all()


def test_free_bits_below_every_unit_equal_the_plain_elbo():
    draws = draws_of(*two_units())
    floor = draws.kl_per_unit().mean(0).min().item() / 2
    assert ELBO(free_bits=floor)(draws, 0).item() == pytest.approx(ELBO()(draws, 0).item(), rel=1e-6)


def test_free_bits_with_a_mixture_prior_are_refused():
    with pytest.raises(ValueError, match="factorised prior"):
        ELBO(free_bits=0.5)(draws_of(*two_units(), prior=MIXTURE), 0)


# Capacity


def test_a_kl_at_its_capacity_costs_nothing():
    draws = draws_of(*two_units())
    assert ELBO(beta=10, capacity=draws.terms().kl.mean().item())(draws, 0).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("offset", [-2.0, 3.0])
def test_capacity_costs_beta_times_the_distance_on_either_side(offset):
    draws = draws_of(*two_units())
    capacity = draws.terms().kl.mean().item() + offset
    assert ELBO(beta=10, capacity=capacity)(draws, 0).item() == pytest.approx(10 * abs(offset), rel=1e-5)


def test_a_kl_below_its_capacity_is_pushed_up():
    mean, scale = two_units()
    ELBO(capacity=100)(draws_of(mean, scale), 0).backward()
    assert torch.allclose(mean.grad, -mean.detach() / 3)  # the KL's own gradient is mean / B


def test_capacity_follows_its_schedule():
    draws, objective = draws_of(*two_units()), ELBO(capacity=Linear(0, 4, 10))
    kl = draws.terms().kl.mean().item()
    for step, capacity in [(0, 0.0), (5, 2.0), (10, 4.0)]:
        assert objective(draws, step).item() == pytest.approx(abs(kl - capacity), rel=1e-5)
        assert objective.coefficients(step) == {"beta": 1.0, "capacity": capacity}


def test_free_bits_and_capacity_together_are_refused():
    with pytest.raises(ValueError, match="choose one"):
        ELBO(free_bits=0.1, capacity=5)


# Importance weighted bounds


def test_iwae_with_one_sample_is_the_single_draw_elbo():
    draws = random_draws(num_samples=1)
    single = draws.log_likelihood[0] + draws.prior.log_prob(draws.z[0]) - draws.posterior.log_prob(draws.z[0])
    assert IWAE(num_samples=1)(draws, 0).item() == pytest.approx(-single.mean().item(), rel=1e-6)


def test_the_iwae_bound_is_the_log_of_the_mean_weight():
    weights = torch.rand(5, 3)
    assert torch.allclose(iwae_bound(weights.log()), weights.mean(0).log(), atol=1e-6)


def test_the_iwae_bound_of_tiny_weights_stays_finite():
    assert iwae_bound(torch.full((3, 1), -1e4)).item() == pytest.approx(-1e4)


def test_bounds_tighten_with_the_number_of_samples_up_to_the_likelihood():
    model = LinearGaussian(shift=0.8, stretch=0.7)
    batch = model.batch(4000)
    exact = model.exact(batch.x, batch.condition["c"])
    elbo = model.draws(batch, 5).log_weights().mean(0)
    five, fifty = (iwae_bound(model.draws(batch, count).log_weights()) for count in (5, 50))

    def gap(upper, lower):
        """Mean difference and its standard error."""
        difference = (upper - lower).double()
        return difference.mean().item(), difference.std().item() / math.sqrt(len(difference))

    for upper, lower in [(five, elbo), (fifty, five), (exact, fifty)]:
        mean, error = gap(upper, lower)
        assert mean > 4 * error
    # the gap of the ELBO is KL(q || posterior), known in closed form
    c = model.condition(batch.condition)
    wrong, right = model.encode(batch.x, c), LinearGaussian().encode(batch.x, c)
    mean, error = gap(exact, elbo)
    assert mean == pytest.approx(kl_divergence(wrong, right).mean().item(), abs=4 * error)


class Learned:
    """One example x repeated B times, each with its own copy of the posterior's parameters, under a decoder W.

    The gradient of a sum over B then holds B independent gradient draws.
    """

    def __init__(self, count, num_samples, seed=0, exact=False):
        torch.manual_seed(seed)
        model = LinearGaussian()
        x = torch.tensor([[1.0, -0.5, 2.0]]).expand(count, 3)
        truth = model.encode(x, Condition(torch.zeros(count, 1))).base_dist
        wrong = 0.0 if exact else 0.3
        self.mean = (truth.loc + wrong).clone().requires_grad_()
        self.log_scale = (truth.scale.log() - wrong).clone().requires_grad_()
        self.W = model.W.clone().requires_grad_()
        posterior = normal(self.mean, self.log_scale.exp())
        z = reparameterize(posterior, torch.randn(num_samples, count, 2))

        def log_likelihood(z):
            return normal(z @ self.W.T, torch.full((3,), model.sigma)).log_prob(x)

        self.draws = samples_of(z, log_likelihood, posterior, standard(count, 2))
        self.count = count

    def gradients(self, objective, further=lambda z: 0.0):
        """Value, gradient of the decoder, and of the B posteriors [B, 4]; `further` is one more term of the loss."""
        value = objective(self.draws, 0)
        (value + further(self.draws.z)).backward()
        posterior = torch.cat([self.mean.grad, self.log_scale.grad], dim=1) * self.count
        return value.item(), self.W.grad, posterior


def test_dreg_has_the_value_and_the_decoder_gradient_of_iwae():
    iwae_value, iwae_decoder, _ = Learned(10, 5).gradients(IWAE())
    dreg_value, dreg_decoder, _ = Learned(10, 5).gradients(DReG())
    assert dreg_value == pytest.approx(iwae_value, rel=1e-6)
    assert torch.allclose(dreg_decoder, iwae_decoder, atol=1e-5)


def test_dreg_has_the_encoder_gradient_of_iwae_in_expectation():
    count = 40_000
    _, _, iwae = Learned(count, 4, seed=0).gradients(IWAE())
    _, _, dreg = Learned(count, 4, seed=1).gradients(DReG())
    error = ((iwae.var(0) + dreg.var(0)) / count).sqrt()
    assert ((iwae.mean(0) - dreg.mean(0)).abs() < 4 * error).all()
    assert (dreg.mean(0).abs() > 10 * error).all()  # there is a gradient to agree on


@pytest.mark.parametrize("objective", [ELBO(), IWAE(), DReG()])
def test_a_further_term_of_the_loss_keeps_its_gradient_whatever_the_objective(objective):
    _, _, alone = Learned(10, 5).gradients(objective)
    _, _, both = Learned(10, 5).gradients(objective, further=lambda z: z[0].sum())
    moved = Learned(10, 5)
    moved.draws.z[0].sum().backward()
    assert torch.allclose(moved.mean.grad, torch.ones(10, 2))  # dz / d mean
    expected = 10 * torch.cat([moved.mean.grad, moved.log_scale.grad], dim=1)
    assert torch.allclose(both - alone, expected, atol=1e-3)


def test_dreg_encoder_gradient_has_no_variance_at_the_exact_posterior():
    _, _, iwae = Learned(100, 4, exact=True).gradients(IWAE())
    _, _, dreg = Learned(100, 4, exact=True).gradients(DReG())
    assert iwae.std(0).min() > 0.1
    assert dreg.abs().max() < 1e-4


# beta-TC


@pytest.mark.parametrize("dataset_size", [6, 1000])
def test_beta_tc_with_all_weights_one_is_the_single_draw_elbo(dataset_size):
    draws = random_draws(dataset_size=dataset_size)
    expected = -draws.log_weights()[0].mean().item()
    assert BetaTC(alpha=1, beta=1, gamma=1)(draws, 0) == pytest.approx(expected, rel=1e-5)


def test_log_aggregate_posterior_is_the_minibatch_weighted_sum():
    draws = random_draws(count=4)
    z, base = draws.z[0], draws.posterior.base_dist
    joint, per_unit = log_aggregate_posterior(z, draws.posterior, dataset_size=50)
    for row in range(4):
        density = Normal(base.loc, base.scale).log_prob(z[row]).exp()  # of draw `row` under each posterior
        assert joint[row].exp().item() == pytest.approx(density.prod(-1).sum().item() / (4 * 50), rel=1e-4)
        assert per_unit[row].exp().tolist() == pytest.approx((density.sum(0) / (4 * 50)).tolist(), rel=1e-4)


def total_correlation(mean, scale):
    """What beta weighs: the difference that one more unit of it makes to the loss, in nats."""
    # A data set of one leaves the mixture of the batch's posteriors: exact where the batch is all the data.
    draws = draws_of(mean, torch.full_like(mean, scale), dataset_size=1)
    return (BetaTC(beta=2)(draws, 0) - BetaTC(beta=1)(draws, 0)).item()


def test_total_correlation_of_independent_units_is_zero():
    assert total_correlation(torch.randn(2000, 2), 0.5) == pytest.approx(0, abs=0.03)


def test_total_correlation_of_units_with_the_same_mean_is_that_of_the_gaussian():
    mean, scale = torch.randn(2000, 1).expand(2000, 2), 0.5
    correlation = 1 / (1 + scale**2)  # of z_1 and z_2, which share their mean
    assert total_correlation(mean, scale) == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.06)


def test_beta_tc_follows_its_schedule():
    draws, objective = random_draws(dataset_size=100), BetaTC(beta=Linear(1, 5, 10))
    assert objective(draws, 5).item() == pytest.approx(BetaTC(beta=3)(draws, 0).item())
    assert objective.coefficients(5) == {"beta": 3.0}


def test_beta_tc_without_the_size_of_the_data_set_is_refused():
    with pytest.raises(ValueError, match="number of training examples"):
        BetaTC()(random_draws(), 0)


def test_beta_tc_with_a_mixture_prior_is_refused():
    prior = MixtureSameFamily(Categorical(torch.ones(3, 2)), standard(2, 2).expand((3, 2)))
    with pytest.raises(ValueError, match="factorised prior"):
        BetaTC()(draws_of(*two_units(), prior=prior, dataset_size=10), 0)


def test_objectives_that_would_ignore_further_draws_refuse_them():
    with pytest.raises(ValueError, match=r"BetaTC reads a single draw of z .*: num_samples must be 1; got 5"):
        BetaTC(num_samples=5)
    with pytest.raises(ValueError, match=r"Staged leaves the number of draws to its stages: .* must be 1; got 3"):
        Staged(ELBO(num_samples=2), IWAE(), 10, num_samples=3)
    staged = Staged(ELBO(num_samples=2), IWAE(num_samples=7), 10)
    assert [staged.at(step).num_samples for step in (9, 10)] == [2, 7]
