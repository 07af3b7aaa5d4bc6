import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Categorical, Independent, LogNormal, Normal

from common.distributions.likelihoods import clamp, log_prob
from common.distributions.mixed import Mixed, ZeroSafeLogNormal, ordinal_logits


def test_ordinal_probabilities_are_differences_of_the_logistic_cdf():
    location, thresholds = torch.tensor([-1.0, 0.3, 40.0]), torch.tensor([-2.0, 0.5, 1.0])
    found = ordinal_logits(location, thresholds).exp()
    edges = np.array([-np.inf, -2.0, 0.5, 1.0, np.inf])
    expected = np.diff(scipy.stats.logistic.cdf(edges - location.numpy()[:, None]), axis=1)
    assert found.numpy() == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(found.sum(-1), torch.ones(3), atol=1e-5)


def test_a_log_normal_equals_scipy_and_survives_a_hidden_zero():
    location = torch.tensor(0.4, requires_grad=True)
    distribution = ZeroSafeLogNormal(location, torch.tensor(0.7))
    found = distribution.log_prob(torch.tensor([0.2, 3.0]))
    assert found.tolist() == pytest.approx(scipy.stats.lognorm.logpdf([0.2, 3.0], 0.7, scale=np.exp(0.4)), abs=1e-5)
    torch.where(torch.tensor([False, True]), distribution.log_prob(torch.tensor([0.0, 1.0])), 0.0).sum().backward()
    assert location.grad.isfinite()


def mixed():
    """Columns 0 and 2 normal, column 1 a choice of three; two rows."""
    normal = Normal(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor(0.5))
    choice = Categorical(probs=torch.tensor([[[0.2, 0.3, 0.5]], [[0.6, 0.1, 0.3]]]))
    return Mixed([(torch.tensor([0, 2]), normal), (torch.tensor([1]), choice)])


def test_columns_keep_their_order_and_add_up():
    x = torch.tensor([[0.1, 2.0, 0.9], [2.5, 0.0, 3.0]])
    found = mixed().log_prob(x)
    expected = scipy.stats.norm.logpdf(x[:, [0, 2]], [[0, 1], [2, 3]], 0.5)
    assert found[:, [0, 2]].numpy() == pytest.approx(expected, abs=1e-5)
    assert found[:, 1].tolist() == pytest.approx(np.log([0.5, 0.6]), abs=1e-5)
    mask = torch.tensor([[True, True, False], [False, True, True]])
    total = log_prob(Independent(mixed(), 1), x, mask)
    assert total.tolist() == pytest.approx(torch.where(mask, found, 0).sum(1).tolist())


def test_what_is_observed_has_probability_one_and_is_repeated():
    observed = torch.tensor([[5.0, float("nan"), float("nan")], [float("nan"), 2.0, float("nan")]])
    distribution = clamp(Independent(mixed(), 1), observed)
    each = distribution.base_dist.log_prob(torch.zeros(2, 3))
    assert each[[0, 1], [0, 1]].tolist() == [0, 0]
    hidden = observed.isnan()
    assert torch.equal(each[hidden], mixed().log_prob(torch.zeros(2, 3))[hidden])
    assert distribution.log_prob(torch.zeros(2, 3)).tolist() == pytest.approx(each.sum(1).tolist())
    samples = distribution.sample((4,))
    assert (samples[:, 0, 0] == 5).all()
    assert (samples[:, 1, 1] == 2).all()
    assert distribution.mean.tolist() == [[5, 2, 1], [2, 2, 3]]


def test_averaged_statistics_are_those_of_the_mixture():
    first, second = (
        Categorical(probs=torch.tensor([[0.6, 0.4, 0.0]])),
        Categorical(probs=torch.tensor([[0.0, 0.4, 0.6]])),
    )
    parts = [Mixed([(torch.tensor([0]), choice)]) for choice in (first, second)]
    averaged = [sum(entries) / 2 for entries in zip(*(part.statistics() for part in parts), strict=True)]
    assert parts[0].point(averaged).item() == 1  # the likeliest of the mixture is the likeliest of neither


def test_the_mean_of_a_log_normal_is_its_expectation():
    part = Mixed([(torch.tensor([0]), LogNormal(torch.tensor([1.0]), torch.tensor([0.5])))])
    assert part.mean.item() == pytest.approx(np.exp(1 + 0.125), rel=1e-5)
