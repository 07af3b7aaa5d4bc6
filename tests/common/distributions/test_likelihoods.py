import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, MultivariateNormal

from common.distributions.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, GridLogistic, log_prob

LEVELS = 32
GRID = torch.arange(LEVELS) / (LEVELS - 1)

locations = st.floats(-0.5, 1.5)
log_scales = st.floats(-6, 1)


def grid_logistic(location, log_scale, levels=LEVELS):
    return GridLogistic(torch.tensor(location), torch.tensor(log_scale), levels)


def logistic_cells(location, log_scale, levels=LEVELS):
    """Probability of each level: differences of the logistic cdf, the tails in the first and last cell."""
    edges = (np.arange(levels + 1) - 0.5) / (levels - 1)
    edges[0], edges[-1] = -np.inf, np.inf
    return np.diff(scipy.stats.logistic.cdf(edges, location, np.exp(log_scale)))


# Bernoulli


def test_bernoulli_equals_scipy_summed_over_the_event():
    logits, x = torch.randn(3, 1, 2, 4), torch.randint(0, 2, (3, 1, 2, 4)).float()
    found = Bernoulli()(logits, event_ndim=3).log_prob(x)
    expected = scipy.stats.bernoulli.logpmf(x, torch.sigmoid(logits.double())).sum((1, 2, 3))
    assert found.numpy() == pytest.approx(expected, abs=1e-4)


# Gaussian


def test_gaussian_with_a_fixed_sigma_equals_scipy():
    mean, x = torch.randn(5, 3), torch.randn(5, 3)
    found = Gaussian(0.7)(mean, event_ndim=1).log_prob(x)
    assert found.numpy() == pytest.approx(scipy.stats.norm.logpdf(x, mean, 0.7).sum(1), abs=1e-4)


def test_gaussian_with_a_fixed_sigma_has_nothing_to_learn():
    assert list(Gaussian(0.7).parameters()) == []


@pytest.mark.parametrize("sigma", [0.05, "shared", "optimal"])
def test_gaussian_density_integrates_to_one(sigma):
    x = torch.linspace(-4, 4, 8001).unsqueeze(1)
    density = Gaussian(sigma).eval()(torch.full((1,), 0.3), event_ndim=1).log_prob(x).exp()
    assert torch.trapezoid(density, x[:, 0]).item() == pytest.approx(1, abs=1e-4)


def test_shared_sigma_starts_where_it_is_told():
    likelihood = Gaussian("shared", initial=0.2)
    assert likelihood(torch.zeros(3), 1).base_dist.stddev.tolist() == pytest.approx([0.2] * 3)


@pytest.mark.parametrize(("factor", "sign"), [(1.0, 0), (0.5, -1), (2.0, 1)])
def test_the_gradient_of_a_shared_sigma_has_its_root_at_the_rms_error(factor, sign):
    mean, x = torch.zeros(50, 4), 0.6 * torch.randn(50, 4)
    rms = (x - mean).pow(2).mean().sqrt().item()
    likelihood = Gaussian("shared", initial=factor * rms)
    (-likelihood(mean, 1).log_prob(x).mean()).backward()
    gradient = likelihood.log_sigma.grad.item()
    # d/d log sigma of 4 values: 4 * (1 - (rms / sigma)^2)
    assert gradient == pytest.approx(4 * (1 - factor**-2), abs=1e-4)
    assert np.sign(round(gradient, 4)) == sign


def test_optimal_sigma_in_training_is_the_rms_error_of_the_batch():
    mean, x = torch.randn(20, 3), torch.randn(20, 3)
    rms = (x - mean).pow(2).mean().sqrt()
    found = Gaussian("optimal").train()(mean, 1).log_prob(x)
    assert found.numpy() == pytest.approx(scipy.stats.norm.logpdf(x, mean, rms).sum(1), abs=1e-4)


def test_optimal_sigma_beats_every_fixed_one():
    mean, x = torch.zeros(20, 3), 0.4 * torch.randn(20, 3)
    best = Gaussian("optimal").train()(mean, 1).log_prob(x).mean()
    others = [Gaussian(sigma)(mean, 1).log_prob(x).mean() for sigma in (0.2, 0.3, 0.35, 0.45, 0.5, 0.8)]
    assert all(best > other for other in others)


def test_the_running_optimal_sigma_moves_by_its_momentum_in_log_space():
    likelihood = Gaussian("optimal", initial=0.3, momentum=0.1).train()
    x = torch.full((2, 3), 0.8)
    likelihood(torch.zeros(2, 3), 1).log_prob(x)
    assert likelihood.log_sigma.item() == pytest.approx(0.9 * np.log(0.3) + 0.1 * np.log(0.8), abs=1e-5)


def test_evaluation_uses_the_running_sigma_and_leaves_it_alone():
    likelihood = Gaussian("optimal", momentum=0.5).train()
    for _ in range(30):
        likelihood(torch.zeros(4, 3), 1).log_prob(torch.full((4, 3), 0.8))
    likelihood.eval()
    mean, x = torch.randn(5, 3), 10 * torch.randn(5, 3)
    found = likelihood(mean, 1).log_prob(x)
    assert found.numpy() == pytest.approx(scipy.stats.norm.logpdf(x, mean, 0.8).sum(1), rel=1e-4)
    assert likelihood.log_sigma.exp().item() == pytest.approx(0.8, abs=1e-4)


def test_optimal_sigma_of_a_perfect_reconstruction_stays_finite():
    x = torch.randn(4, 3)
    likelihood = Gaussian("optimal").train()
    assert likelihood(x, 1).log_prob(x).isfinite().all()
    assert likelihood.log_sigma.isfinite()


# Discretised logistic


@settings(max_examples=60, deadline=None)
@given(locations, log_scales)
def test_grid_logistic_probabilities_sum_to_one(location, log_scale):
    total = grid_logistic(location, log_scale).log_prob(GRID).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(locations, log_scales)
def test_grid_logistic_equals_differences_of_the_logistic_cdf(location, log_scale):
    found = grid_logistic(location, log_scale).log_prob(GRID).exp()
    assert found.numpy() == pytest.approx(logistic_cells(location, log_scale), abs=1e-5)


@pytest.mark.parametrize(("location", "x", "survival"), [(-0.5, 1.0, 1 - 0.5 / 255), (1.5, 0.0, None)])
def test_grid_logistic_is_exact_far_out_in_the_edge_cells(location, x, survival):
    scale = np.exp(-3)
    if survival is None:
        expected = scipy.stats.logistic.logcdf(0.5 / 255, location, scale)
    else:
        expected = scipy.stats.logistic.logsf(survival, location, scale)
    found = grid_logistic(location, -3.0, 256).log_prob(torch.tensor(x)).item()
    assert found == pytest.approx(expected, rel=1e-5)
    assert found < -20


@settings(max_examples=30, deadline=None)
@given(locations, log_scales)
def test_grid_logistic_mean_is_the_probability_weighted_level(location, log_scale):
    expected = (logistic_cells(location, log_scale) * GRID.numpy()).sum()
    assert grid_logistic(location, log_scale).mean.item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("location", "log_scale"), [(0.4, -2.0), (-0.1, -1.0), (1.2, -3.0)])
def test_grid_logistic_samples_lie_on_the_grid_with_the_right_frequencies(location, log_scale):
    levels, count = 8, 20_000
    samples = grid_logistic(location, log_scale, levels).sample((count,)) * (levels - 1)
    assert torch.allclose(samples, samples.round(), atol=1e-5)
    expected = logistic_cells(location, log_scale, levels)
    found = samples.round().long().bincount(minlength=levels).numpy() / count
    assert found == pytest.approx(expected, abs=4 * np.sqrt(0.25 / count))
    assert samples.mean().item() == pytest.approx((expected * np.arange(levels)).sum(), abs=4 * 3.5 / np.sqrt(count))


def test_predicted_scale_is_the_second_half_of_the_channels():
    likelihood = DiscretizedLogistic(LEVELS, "predicted", initial=0.1)
    location, log_scale = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    found = likelihood(torch.cat([location, log_scale], dim=1), event_ndim=3)
    x = torch.randint(0, LEVELS, (2, 3, 4, 4)) / (LEVELS - 1)
    expected = GridLogistic(location, log_scale + np.log(0.1), LEVELS).log_prob(x).sum((1, 2, 3))
    assert likelihood.outputs == 2
    assert found.log_prob(x).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_shared_scale_is_one_learned_number():
    likelihood = DiscretizedLogistic(LEVELS, "shared", initial=0.1)
    location, x = torch.rand(2, 3, 4, 4), torch.randint(0, LEVELS, (2, 3, 4, 4)) / (LEVELS - 1)
    found = likelihood(location, event_ndim=3).log_prob(x)
    expected = GridLogistic(location, torch.full_like(location, np.log(0.1)), LEVELS).log_prob(x).sum((1, 2, 3))
    assert likelihood.outputs == 1
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    found.sum().backward()
    assert likelihood.log_scale.grad.abs() > 0


# Masks and precision


def likelihoods():
    logits = torch.randn(4, 6)
    return {
        "bernoulli": Bernoulli()(logits, 1),
        "gaussian": Gaussian(0.7)(logits, 1),
        "optimal": Gaussian("optimal").train()(logits, 1),
        "logistic": DiscretizedLogistic(LEVELS, "shared")(logits, 1),
    }


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "logistic"])
def test_masked_log_prob_is_the_sum_over_observed_values(name):
    likelihood, x = likelihoods()[name], torch.randint(0, 2, (4, 6)).float()
    mask = torch.rand(4, 6) < 0.5
    each = likelihood.base_dist.log_prob(x)
    expected = [each[row][mask[row]].sum().item() for row in range(4)]
    assert log_prob(likelihood, x, mask).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "optimal", "logistic"])
def test_hidden_values_do_not_matter(name):
    likelihood, x = likelihoods()[name], torch.randint(0, 2, (4, 6)).float()
    mask = torch.rand(4, 6) < 0.5
    hidden = torch.where(mask, x, torch.tensor(1e3))
    assert torch.equal(log_prob(likelihood, x, mask), log_prob(likelihood, hidden, mask))


def test_optimal_sigma_under_a_mask_is_the_rms_error_of_the_observed_values():
    mean, x, mask = torch.randn(20, 3), torch.randn(20, 3), torch.rand(20, 3) < 0.5
    rms = (x - mean)[mask].pow(2).mean().sqrt()
    found = log_prob(Gaussian("optimal").train()(mean, 1), x, mask)
    expected = (scipy.stats.norm.logpdf(x, mean, rms) * mask.numpy()).sum(1)
    assert found.numpy() == pytest.approx(expected, abs=1e-4)


def test_a_mask_leaves_the_sample_dimension_alone():
    x, mask = torch.randn(4, 6), torch.rand(4, 6) < 0.5
    means = torch.randn(5, 4, 6)
    found = log_prob(Gaussian(1.0)(means, 1), x, mask)
    assert found.shape == (5, 4)
    assert torch.allclose(found[2], log_prob(Gaussian(1.0)(means[2], 1), x, mask))


def test_a_mask_over_a_likelihood_that_does_not_factorise_is_refused():
    joint = MultivariateNormal(torch.zeros(2, 3), torch.eye(3))
    with pytest.raises(TypeError, match="factorises"):
        log_prob(joint, torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "likelihood",
    [
        Bernoulli(),
        Gaussian(0.5),
        Gaussian("shared"),
        Gaussian("optimal"),
        DiscretizedLogistic(LEVELS),
        DiscretizedLogistic(LEVELS, "shared"),
    ],
)
def test_distributions_are_float32_whatever_the_decoder_computes_in(likelihood, dtype):
    output = torch.randn(2, 4, 3, 3).to(dtype)
    found = likelihood(output, event_ndim=3)
    assert isinstance(found, Independent)
    x = torch.zeros(found.event_shape)
    assert found.log_prob(x).dtype == found.mean.dtype == found.sample().dtype == torch.float32
    # the same numbers as from the output in float32
    assert torch.equal(found.log_prob(x), likelihood(output.float(), event_ndim=3).log_prob(x))
