import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Laplace, Normal

from common.distributions.noise import example_noise, example_uniform, reparameterize
from common.distributions.posterior import diagonal_normal

indices = st.lists(st.integers(0, 10**7), min_size=1, max_size=20, unique=True)


@settings(max_examples=50, deadline=None)
@given(indices, st.integers(0, 2**31), st.data())
def test_the_noise_of_an_example_does_not_depend_on_its_company(index, seed, data):
    whole = example_noise(seed, torch.tensor(index), (3, 2))
    some = data.draw(st.lists(st.integers(0, len(index) - 1), min_size=1))  # any subset, order and repetition
    part = example_noise(seed, torch.tensor([index[row] for row in some]), (3, 2))
    assert torch.equal(part, whole[:, some])
    split = data.draw(st.integers(1, len(index)))  # any batch size
    batches = [example_noise(seed, rows, (3, 2)) for rows in torch.tensor(index).split(split)]
    assert torch.equal(torch.cat(batches, dim=1), whole)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2**31))
def test_neighbours_and_seeds_have_noise_of_their_own(position, seed):
    here = example_noise(seed, torch.tensor([position]), (4,))
    assert not torch.equal(here, example_noise(seed, torch.tensor([position + 1]), (4,)))
    assert not torch.equal(here, example_noise(seed + 1, torch.tensor([position]), (4,)))


def test_no_two_examples_of_any_seed_share_their_noise():
    index = torch.arange(2000)
    first = torch.cat([example_noise(seed, index, (3,)) for seed in range(5)], dim=1).T
    assert len(first.unique(dim=0)) == 5 * 2000


def test_uniform_noise_is_uniform_and_that_of_each_example():
    index = torch.arange(2000)
    uniform = example_uniform(3, index, (1, 4))
    assert uniform.shape == (1, 2000, 4)
    assert scipy.stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 0.01
    assert torch.equal(example_uniform(3, index[5:7], (1, 4)), uniform[:, 5:7])


def test_noise_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    example_noise(0, torch.arange(10), (2, 3))
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_is_standard_normal():
    noise = example_noise(0, torch.arange(4000), (1, 5)).flatten()
    assert noise.mean().item() == pytest.approx(0, abs=4 / 20_000**0.5)
    assert noise.var().item() == pytest.approx(1, abs=4 * (2 / 20_000) ** 0.5)
    assert scipy.stats.kstest(noise.numpy(), "norm").pvalue > 0.01


def test_neighbours_and_seeds_are_uncorrelated():
    first, second = (example_noise(seed, torch.arange(4000), (1, 5))[0] for seed in (0, 1))
    for a, b in [(first[:-1], first[1:]), (first, second), (first[:, :-1], first[:, 1:])]:
        assert (a * b).mean().item() == pytest.approx(0, abs=4 / a.numel() ** 0.5)


def test_reparameterize_scales_and_shifts():
    posterior = Independent(Normal(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 3.0]])), 1)
    assert reparameterize(posterior, torch.tensor([[[2.0, -1.0]]])).tolist() == [[[2.0, -1.0]]]


@pytest.mark.parametrize(
    "posterior", [Independent(Laplace(torch.zeros(2, 3), 1.0), 1), Normal(torch.zeros(2, 3), torch.ones(2, 3))]
)
def test_a_posterior_that_is_no_diagonal_gaussian_is_refused(posterior):
    with pytest.raises(TypeError, match="diagonal Gaussian"):
        reparameterize(posterior, torch.zeros(1, 2, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_diagonal_normal_is_float32_with_means_first_and_log_scales_after(dtype):
    posterior = diagonal_normal(torch.tensor([[1.0, 2.0, 0.0, -1.0]], dtype=dtype))
    assert posterior.event_shape == (2,)
    assert posterior.base_dist.loc.dtype == posterior.base_dist.scale.dtype == torch.float32
    assert posterior.base_dist.loc.tolist() == [[1, 2]]
    assert posterior.base_dist.scale[0].tolist() == pytest.approx([1, 0.36788], abs=1e-4)


def test_diagonal_normal_stays_finite_for_extreme_log_scales():
    scale = diagonal_normal(torch.tensor([0.0, 0.0, -1e4, 1e4])).base_dist.scale
    assert scale.isfinite().all()
    assert (scale > 0).all()
