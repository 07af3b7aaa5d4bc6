import pytest
import torch

from common.evaluation.fidelity import frechet_distance


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
