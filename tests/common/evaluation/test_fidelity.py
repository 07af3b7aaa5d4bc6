import pytest
import torch

from common.conditions.attributes import Categorical
from common.evaluation.fidelity import (
    density_and_coverage,
    diversity,
    fidelity_figures,
    frechet_distance,
    kernel_distance,
)


def features(count=2000, size=4):
    return torch.randn(count, size) @ torch.randn(size, size) + torch.randn(size)


def test_the_distance_of_a_set_to_itself_is_zero():
    real = features()
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(real, real[torch.randperm(2000)]) == pytest.approx(0, abs=1e-6)


def test_a_shift_costs_its_squared_length():
    real, shift = features(), torch.tensor([1.0, -2.0, 0.0, 3.0])
    assert frechet_distance(real, real + shift) == pytest.approx(14, rel=1e-4)


def test_a_stretch_costs_its_share_of_the_variance():
    real = features()
    real = real - real.mean(0)
    # tr(S + 9 S - 2 * 3 S) = 4 tr(S)
    assert frechet_distance(real, 3 * real) == pytest.approx(4 * real.var(0).sum().item(), rel=1e-4)


def test_large_samples_of_two_gaussians_have_their_closed_form_distance():
    first = torch.randn(50_000, 3) * torch.tensor([1.0, 2.0, 0.5])
    second = torch.randn(50_000, 3) * torch.tensor([2.0, 2.0, 1.5]) + torch.tensor([1.0, 0.0, -1.0])
    # |shift|^2 + sum_d (s_d - t_d)^2 for diagonal covariances
    assert frechet_distance(first, second) == pytest.approx(2 + 1 + 0 + 1, abs=0.1)


def test_the_distance_is_symmetric_and_takes_sets_of_different_sizes():
    first, second = features(500), features(800)
    assert frechet_distance(first, second) == pytest.approx(frechet_distance(second, first), rel=1e-6)


def test_the_kernel_distance_of_samples_of_one_distribution_is_zero_within_its_error():
    both = torch.randn(2000, 8)
    value, error = kernel_distance(both[:1000], both[1000:])
    assert abs(value) < 3 * error
    far, error = kernel_distance(both[:1000], both[1000:] + 1)
    assert far > 10 * error


def test_the_kernel_distance_has_its_closed_form():
    # E k(x, y) of y = (x.y / 1 + 1)^3 with x ~ N(m, 1) and y ~ N(n, 1) in one dimension: 1 + 3 m n + 3 (m^2 + 1)
    # (n^2 + 1) + (m^3 + 3 m) (n^3 + 3 n).
    def kernel(m, n):
        return 1 + 3 * m * n + 3 * (m**2 + 1) * (n**2 + 1) + (m**3 + 3 * m) * (n**3 + 3 * n)

    x, y = torch.randn(20_000, 1), torch.randn(20_000, 1) + 0.5
    exact = kernel(0, 0) + kernel(0.5, 0.5) - 2 * kernel(0, 0.5)
    assert kernel_distance(x, y)[0] == pytest.approx(exact, rel=0.15)


def test_density_and_coverage_of_samples_like_the_data_are_one_and_nearly_one():
    real, like = torch.randn(1500, 6), torch.randn(1500, 6)
    density, coverage = density_and_coverage(real, like)
    assert density == pytest.approx(1.0, abs=0.08)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)  # Naeem et al. 2020, equation 11


def test_density_tells_of_samples_far_from_the_data_and_coverage_of_data_without_samples():
    left, right = torch.randn(400, 3) - 50, torch.randn(400, 3) + 50
    both, one_mode = torch.cat([left, right]), torch.randn(800, 3) - 50
    density, coverage = density_and_coverage(both, one_mode)
    assert density == pytest.approx(1.0, abs=0.15)
    assert coverage == pytest.approx(0.5, abs=0.03)
    density, coverage = density_and_coverage(left, torch.cat([left + torch.randn(400, 3) * 1e-3, right]))
    assert density == pytest.approx(0.5, abs=0.1)
    assert coverage > 0.99
    with pytest.raises(ValueError, match="no 5 neighbours"):
        density_and_coverage(left[:5], right)


def test_diversity_compares_samples_of_a_condition_with_real_examples_of_it():
    kind = torch.arange(600) % 3
    centres = 100.0 * kind.unsqueeze(1)
    real = torch.randn(600, 4) + centres
    for spread in (1.0, 0.5, 0.0):
        ratio, count = diversity(real, centres + spread * torch.randn(600, 4), {"kind": kind}, {"kind": kind})
        assert count == 3
        assert ratio == pytest.approx(spread, abs=0.05)
    # As one set they would look diverse: three outcomes far apart.
    assert diversity(real, centres.expand(-1, 4), {}, {})[0] > 0.9
    lonely = {"kind": torch.arange(600)}
    with pytest.raises(ValueError, match="no condition"):
        diversity(real, real, lonely, lonely)


def test_figures_that_need_more_examples_are_left_out():
    styles, real = {"style": Categorical(["a", "b"])}, torch.randn(40, 3)
    fields = {"style": torch.arange(40) % 2}
    names = set(fidelity_figures(real, real + 0.1, fields, fields, styles, 0))
    assert names == {
        f"test/{name}" for name in ("frechet_distance", "kernel_distance", "density", "coverage", "diversity")
    }
    few = {"style": torch.tensor([0, 1, 0])}
    assert set(fidelity_figures(real[:3], real, few, fields, styles, 0)) == {"test/frechet_distance", "test/diversity"}
    assert fidelity_figures(real[:1], real, {}, {}, {}, 0) == {}
