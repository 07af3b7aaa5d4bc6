import pytest
import scipy.stats
import torch

from modalities.tabular.data.masks import mcar
from modalities.tabular.networks.factor_analysis import FactorAnalysis, _inverse, choose_factors


def drawn(rows=2000, seed=0):
    """A table of two factors and six columns, with its covariance."""
    generator = torch.Generator().manual_seed(seed)
    loadings = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    noise = torch.tensor([0.2, 0.3, 0.4, 0.2, 0.3, 0.4], dtype=torch.float64)
    z = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    x = 1.0 + z @ loadings.T + noise.sqrt() * torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    return x, loadings @ loadings.T + torch.diag(noise)


def model_of(solution):
    return (solution.loadings @ solution.loadings.T + torch.diag(solution.noise)).numpy()


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_em_finds_the_covariance_of_a_table_with_holes(rate):
    x, covariance = drawn()
    observed = torch.from_numpy(~mcar(x.shape, rate, 1))
    solution = FactorAnalysis.fit(torch.where(observed, x, 1e3), observed, 2, iterations=200, ridge=0.0)
    assert solution.mean.tolist() == pytest.approx([1.0] * 6, abs=0.25)
    assert model_of(solution) == pytest.approx(covariance.numpy(), abs=0.35)


def test_likelihood_posterior_and_prediction_are_those_of_the_joint_gaussian():
    x, _ = drawn(50)
    observed = torch.from_numpy(~mcar(x.shape, 0.4, 2))
    solution = FactorAnalysis.fit(x, observed, 2)
    mean, covariance = solution.mean.numpy(), model_of(solution)
    predicted, variance = solution.predict(x, observed)
    likelihood = solution.log_likelihood(x, observed)
    for row in range(10):
        seen = observed[row].numpy()
        if not seen.any() or seen.all():
            continue
        part = covariance[seen][:, seen]
        joint = scipy.stats.multivariate_normal(mean[seen], part)
        assert likelihood[row].item() == pytest.approx(joint.logpdf(x[row].numpy()[seen]), abs=1e-6)
        weights = covariance[~seen][:, seen] @ torch.linalg.inv(torch.from_numpy(part)).numpy()
        expected = mean[~seen] + weights @ (x[row].numpy()[seen] - mean[seen])
        assert predicted[row].numpy()[~seen] == pytest.approx(expected, abs=1e-6)
        spread = covariance[~seen][:, ~seen] - weights @ covariance[seen][:, ~seen]
        assert variance[row].numpy()[~seen] == pytest.approx(spread.diagonal(), abs=1e-6)


def test_em_never_lowers_the_likelihood():
    x, _ = drawn(200)
    observed = torch.from_numpy(~mcar(x.shape, 0.3, 3))
    values = [
        FactorAnalysis.fit(x, observed, 2, iterations, ridge=0.0).log_likelihood(x, observed).sum().item()
        for iterations in (1, 2, 5, 10, 30)
    ]
    assert values == sorted(values)


def test_the_posterior_of_a_complete_row_is_diagonal():
    x, _ = drawn(200)
    everything = torch.ones_like(x, dtype=torch.bool)
    _, covariance = FactorAnalysis.fit(x, everything, 2).posterior(x, everything)
    assert covariance[0, 0, 1].abs() < 1e-9


def test_the_number_of_factors_is_found_on_held_out_cells():
    x, _ = drawn(600)
    observed = torch.from_numpy(~mcar(x.shape, 0.2, 4))
    held_out = [observed & torch.from_numpy(mcar(x.shape, 0.1, seed)) for seed in (5, 6)]
    assert choose_factors(x, observed, held_out, (1, 2))[0] == 2


def test_a_ridge_is_chosen_where_there_are_more_factors_than_cells_can_tell():
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # nothing to find
    observed = torch.from_numpy(~mcar(x.shape, 0.3, 4))
    held_out = [observed & torch.from_numpy(mcar(x.shape, 0.1, seed)) for seed in range(5)]
    assert choose_factors(x, observed, held_out, (5,), (0.0, 1.0, 3.0, 100.0)) == (5, 100.0)


def test_elimination_inverts_as_the_library_does():
    roots = torch.randn(5, 7, 7, dtype=torch.float64)
    matrices = roots @ roots.mT + torch.eye(7)
    torch.testing.assert_close(_inverse(matrices), torch.linalg.inv(matrices))
