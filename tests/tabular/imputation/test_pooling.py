import numpy as np
import pytest
from scipy import stats

from modalities.tabular.imputation import pool


def test_three_estimates_are_pooled_as_by_hand():
    """Q = 2, W = 4, B = ((-1)^2 + 0 + 1^2) / 2 = 1, T = 4 + 4/3, r = 1/3, df = 2 (1 + 3)^2."""
    pooled = pool([1, 2, 3], [3, 4, 5])
    assert (pooled.estimate, pooled.within, pooled.between) == (2, 4, 1)
    assert pooled.total == pytest.approx(16 / 3)
    assert pooled.df == pytest.approx(32)
    half = 2.0369333 * (16 / 3) ** 0.5  # the 0.975 quantile of t with 32 degrees of freedom, from a table
    assert pooled.interval == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_a_small_table_lowers_the_degrees_of_freedom():
    """Barnard and Rubin 1999, equation 3: (11 / 13) 10 (1 - 1/4) = 6.346, and 1 / (1 / 32 + 1 / 6.346) = 5.296."""
    pooled = pool([1, 2, 3], [3, 4, 5], complete_df=10)
    observed = 11 / 13 * 10 * 3 / 4
    assert pooled.df == pytest.approx(1 / (1 / 32 + 1 / observed))
    assert pooled.df == pytest.approx(5.296, abs=1e-3)


def test_several_coefficients_are_pooled_each_on_its_own():
    estimates = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    pooled = pool(estimates, np.full((3, 2), 4.0), level=0.9)
    assert pooled.estimate.tolist() == [2, 5]
    assert pooled.between.tolist() == [1, 0]
    assert pooled.df[0] == pytest.approx(32)
    assert np.isinf(pooled.df[1])  # no cell was missing: a normal interval
    low, high = pooled.interval
    assert low[1] == pytest.approx(5 - 2 * stats.norm.ppf(0.95), rel=1e-6)
    assert high[0] == pytest.approx(2 + stats.t.ppf(0.95, 32) * (16 / 3) ** 0.5)


def test_intervals_of_a_mean_from_proper_imputations_cover_it():
    """100 of 200 values of N(0, 1) are missing; each table draws mean and values from their posterior."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        known = rng.normal(size=100)
        means, variances = [], []
        for _ in range(5):
            centre = rng.normal(known.mean(), 0.1)  # the variance is known to be 1
            table = np.concatenate([known, rng.normal(centre, 1, size=100)])
            means.append(table.mean())
            variances.append(1 / 200)
        low, high = pool(means, variances).interval
        covered.append(low < 0 < high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)  # its standard error is 0.011


@pytest.mark.parametrize(
    ("estimates", "variances", "options", "message"),
    [
        ([1], [1], {}, "at least 2 imputed tables"),
        ([1, 2], [1], {}, "one shape"),
        ([1, 2], [1, -1], {}, "one is negative"),
        ([1, 2], [1, 1], {"level": 1.0}, "between 0 and 1"),
    ],
)
def test_what_cannot_be_pooled_is_refused(estimates, variances, options, message):
    with pytest.raises(ValueError, match=message):
        pool(estimates, variances, **options)
