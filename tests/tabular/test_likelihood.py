import numpy as np
import pytest
import scipy.stats
import torch

from modalities.tabular.columns import Column
from modalities.tabular.likelihood import FREEDOM, MixedColumns
from modalities.tabular.schema import fit_columns
from tests.tabular.models import CELLS, COLUMNS, TABLE


def single(family, kind, **options):
    """The likelihood of one column, and a function from decoder numbers to its distribution."""
    likelihood = MixedColumns([Column("c", kind, family, **options)])
    return likelihood, lambda *numbers: likelihood(torch.tensor([numbers]), 1)


def log_probs(distribution, values):
    return [distribution.log_prob(torch.tensor([[float(value)]])).item() for value in values]


def test_gaussian_equals_scipy():
    _, make = single("gaussian", "continuous")
    expected = scipy.stats.norm.logpdf([-1, 0.5, 4], 0.3, np.exp(0.2))
    assert log_probs(make(0.3, 0.2), [-1, 0.5, 4]) == pytest.approx(expected, abs=1e-5)


def test_student_t_equals_scipy():
    _, make = single("student_t", "continuous")
    expected = scipy.stats.t.logpdf([-1, 0.5, 4], FREEDOM[1], 0.3, np.exp(0.2))
    assert log_probs(make(0.3, 0.2), [-1, 0.5, 4]) == pytest.approx(expected, abs=1e-4)


def test_log_normal_equals_scipy_in_units_of_the_geometric_mean():
    _, make = single("log_normal", "positive", location=5.0, scale=0.5)
    expected = scipy.stats.lognorm.logpdf([0.1, 1, 3], 0.5 * np.exp(0.2), scale=np.exp(0.5 * 0.3))
    assert log_probs(make(0.3, 0.2), [0.1, 1, 3]) == pytest.approx(expected, abs=1e-5)


def test_poisson_equals_scipy_and_has_the_training_mean_on_average():
    _, make = single("poisson", "count", scale=0.6, mean=3.0)
    rate = np.exp(np.log(3) - 0.18 + 0.6 * 0.3)
    assert log_probs(make(0.3), [0, 2, 9]) == pytest.approx(scipy.stats.poisson.logpmf([0, 2, 9], rate), abs=1e-5)
    likelihood, _ = single("poisson", "count", scale=0.6, mean=3.0)
    rates = likelihood(torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0)), 1).mean
    assert rates.mean().item() == pytest.approx(3.0, rel=0.02)


def test_negative_binomial_equals_scipy():
    _, make = single("negative_binomial", "count", scale=0.6, mean=3.0)
    rate, r = np.exp(np.log(3) - 0.18 + 0.18), (np.exp(0.2) * 0.6) ** -2
    expected = scipy.stats.nbinom.logpmf([0, 2, 9], r, r / (r + rate))
    assert log_probs(make(0.3, 0.2), [0, 2, 9]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("family", "kind"), [("ordinal", "ordinal"), ("categorical", "ordinal"), ("categorical", "categorical")]
)
def test_discrete_columns_are_normalised_and_start_at_their_frequencies(family, kind):
    shares = (0.2, 0.5, 0.3)
    likelihood, _ = single(family, kind, values=("a", "b", "c"), shares=shares, location=1.1, scale=0.7)
    zeros = torch.zeros(1, likelihood.size)
    probabilities = [likelihood(zeros, 1).log_prob(torch.tensor([[float(code)]])).exp().item() for code in range(3)]
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    expected = shares if kind == "categorical" or family == "ordinal" else probabilities
    assert probabilities == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("family", "kind"), [("poisson", "count"), ("negative_binomial", "count")])
def test_counts_are_normalised(family, kind):
    _, make = single(family, kind, scale=0.5, mean=4.0)
    numbers = (0.2,) if family == "poisson" else (0.2, -0.5)
    assert np.exp(log_probs(make(*numbers), range(200))).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("family", ["gaussian", "student_t", "log_normal"])
def test_densities_integrate_to_one(family):
    _, make = single(family, "positive" if family == "log_normal" else "continuous", scale=0.5)
    x = np.linspace(1e-6, 60, 40_001) if family == "log_normal" else np.linspace(-200, 200, 40_001)
    values = make(0.2, 0.1).log_prob(torch.from_numpy(x).float().reshape(-1, 1)).exp().detach().numpy()
    assert np.trapezoid(values, x) == pytest.approx(1, abs=2e-3)


def test_a_whole_row_is_the_sum_of_its_columns_and_samples_lie_in_their_columns():
    likelihood = MixedColumns(COLUMNS)
    parameters = 0.3 * torch.randn(len(CELLS), likelihood.size)
    distribution = likelihood(parameters, 1)
    assert torch.allclose(distribution.log_prob(CELLS), distribution.base_dist.log_prob(CELLS).sum(-1), atol=1e-3)
    drawn = distribution.sample((50,))
    assert drawn.shape == (50, *CELLS.shape)
    for number, column in enumerate(COLUMNS):
        values = drawn[..., number]
        if column.discrete:
            assert set(values.unique().tolist()) <= set(range(len(column.values)))
        if column.kind in ("positive", "count"):
            assert values.min() >= 0


def test_the_linear_start_keeps_ordinal_frequencies():
    column = fit_columns(TABLE[["grade"]])[0]
    likelihood = MixedColumns([column])
    likelihood.start(torch.tensor([0.3]))
    location = 0.7**0.5 * torch.randn(50_000, 1, generator=torch.Generator().manual_seed(0))
    probabilities = likelihood(location, 1).base_dist.statistics()[0][:, 0].mean(0)
    assert probabilities.tolist() == pytest.approx(column.shares, abs=0.05)
