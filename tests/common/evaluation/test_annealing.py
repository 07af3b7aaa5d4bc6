import math

import pytest
import torch
from torch.distributions import Independent, Normal

from common.batch import Batch
from common.eval_mode import eval_mode
from common.evaluation.annealing import (
    Annealing,
    annealed_log_likelihood,
    sandwiched_log_likelihood,
)
from common.evaluation.bounds import log_likelihood
from common.evaluation.simulation import simulated
from common.model.latent_model import LatentModel
from tests.audio.models import perturb
from tests.common.models import LinearGaussian, Number, Watched
from tests.every_model import MODELS
from tests.tabular.models import half_hidden

IMPERFECT = {"shift": 0.3, "stretch": 1.4}
SHORT = Annealing(chains=3, temperatures=8, leapfrog=2)


class Folded(LatentModel):
    """x = |z| + sigma * noise in one dimension with z ~ N(0, 1): the posterior has a mode at each sign of z.

    `encode` knows the mode above zero alone.
    """

    def __init__(self, sigma=0.2):
        super().__init__(Number(), latent_dim=1)
        self.sigma = sigma

    def decode(self, z, c):
        return Independent(Normal(z.abs(), self.sigma), 1)

    def encode(self, x, c):
        variance = self.sigma**2 / (1 + self.sigma**2)
        return Independent(Normal(x / (1 + self.sigma**2), variance**0.5), 1)

    def exact(self, x):
        """log p(x), [B]: twice the part of the line above zero."""
        x, variance = x[:, 0].double(), 1 + self.sigma**2
        above = torch.special.log_ndtr(x / variance / (self.sigma**2 / variance) ** 0.5)
        return math.log(2) + Normal(0.0, variance**0.5).log_prob(x) + above


def exact_of(model, batch):
    return model.exact(batch.x, batch.condition["c"])


def above(differences):
    """By how much a bound is above the exact value in the mean, and two standard errors of that."""
    every = torch.cat(differences).double()
    return every.mean().item(), 2 * every.std().item() / len(every) ** 0.5


ONE_SEED, TWENTY_SEEDS = (1, 200), (20, 10)  # and examples of each
OF_SEEDS = pytest.mark.parametrize(("seeds", "count"), [ONE_SEED, pytest.param(*TWENTY_SEEDS, marks=pytest.mark.slow)])


@pytest.mark.parametrize(
    ("start", "chains", "temperatures"),
    [("posterior", 10, 100), pytest.param("prior", 40, 300, marks=pytest.mark.slow)],
)
@OF_SEEDS
def test_it_finds_the_exact_likelihood_from_below_and_from_above(start, chains, temperatures, seeds, count):
    torch.manual_seed(0)
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(count)
    lower, upper = [], []
    with eval_mode(model):
        for seed in range(seeds):
            exact = exact_of(model, simulated(model, batch, seed)[0])
            path = Annealing(chains, temperatures, 3, start)
            bounds = sandwiched_log_likelihood(model, batch, path, seed, at_once=10_000)
            lower.append(bounds.lower - exact)
            upper.append(bounds.upper - exact)
    mean, errors = above(lower)
    assert -0.01 < mean < errors
    mean, errors = above(upper)
    assert -errors < mean < 0.01


@OF_SEEDS
def test_it_finds_both_modes_of_a_posterior_of_which_the_encoder_knows_one(seeds, count):
    torch.manual_seed(0)
    model = Folded()
    batch = Batch(torch.ones(count, 1), {"c": torch.zeros(count)}, index=torch.arange(count))
    missed, lower, upper = [], [], []
    with eval_mode(model):
        for seed in range(seeds):
            made, _ = simulated(model, batch, seed)
            exact = model.exact(made.x)
            far = made.x[:, 0] > 1  # from zero, where the modes are apart
            missed.append((log_likelihood(model, made, 200, seed).log_likelihood - exact)[far])
            bounds = sandwiched_log_likelihood(model, batch, Annealing(20, 150, 3, "prior"), seed, at_once=6000)
            lower.append(bounds.lower - exact)
            upper.append(bounds.upper - exact)
    assert torch.cat(missed).mean().item() == pytest.approx(-math.log(2), abs=0.05)
    mean, errors = above(lower)
    assert -0.05 < mean < errors
    mean, errors = above(upper)
    assert -errors < mean < 0.05


def test_of_a_masked_example_it_is_the_likelihood_of_the_observed_values():
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(30)
    mask = torch.tensor([True, False, True]).expand(30, 3)
    found = annealed_log_likelihood(model, batch.replace(mask=mask), Annealing(temperatures=100)).log_likelihood
    exact = model.exact(batch.x, batch.condition["c"], observed=(0, 2))
    assert (found - exact).mean().item() == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("start", ["posterior", "refined"])
def test_an_example_has_the_same_estimate_in_any_batch_and_memory(start):
    path = Annealing(chains=3, temperatures=8, leapfrog=2, start=start, refine=20)
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(9)
    whole = annealed_log_likelihood(model, batch, path)
    order = torch.randperm(9)
    for part, rows in ((batch[order], order), (batch[slice(3, 5)], slice(3, 5))):
        again = annealed_log_likelihood(model, part, path)
        assert torch.allclose(again.log_likelihood, whole.log_likelihood[rows], atol=1e-4)
    few = annealed_log_likelihood(model, batch, path, at_once=1)
    assert torch.allclose(few.log_likelihood, whole.log_likelihood, atol=1e-4)
    other = annealed_log_likelihood(model, batch, path, seed=1)
    assert not torch.allclose(other.log_likelihood, whole.log_likelihood, atol=1e-4)


def test_memory_is_bounded():
    model = Watched()
    annealed_log_likelihood(model, LinearGaussian().batch(7), Annealing(chains=6, temperatures=5), at_once=8)
    assert 0 < model.most <= 8


def test_with_two_temperatures_it_is_importance_sampling_from_the_first_distribution():
    model = LinearGaussian()
    batch = model.batch(20)
    found = annealed_log_likelihood(model, batch, Annealing(chains=3, temperatures=2))
    assert torch.allclose(found.log_likelihood, exact_of(model, batch).float(), atol=1e-4)  # of the exact posterior
    assert found.effective_sample_size.tolist() == pytest.approx([3] * 20, rel=1e-4)


def test_a_share_of_the_prior_bounds_what_a_posterior_elsewhere_costs():
    model = Folded()
    batch = Batch(torch.ones(100, 1), {"c": torch.zeros(100)}, index=torch.arange(100))
    with eval_mode(model):
        made, z = simulated(model, batch, 0)
        exact = model.exact(made.x)
        paths = [Annealing(10, 4, 2, "refined", prior=share) for share in (0.0, 0.1)]
        narrow, wide = (sandwiched_log_likelihood(model, batch, path) for path in paths)
    missed = z[:, 0] < -1  # in the mode that the encoder does not know, far from the other
    assert missed.sum() > 10
    costs = -math.log(0.1) + (Normal(z.abs(), 0.2).log_prob(made.x) - exact.unsqueeze(1))[missed, 0]
    assert (wide.upper - exact)[missed].max() < costs.max() + 1
    assert (narrow.upper - exact)[missed].mean() > 5 * (wide.upper - exact)[missed].mean()
    mean, errors = above([wide.lower - exact])
    assert mean < errors
    mean, errors = above([wide.upper - exact])
    assert mean > -errors


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"chains": 0}, "chains"),
        ({"temperatures": 1}, "temperatures"),
        ({"leapfrog": 0}, "leap"),
        ({"prior": 0.1}, "refined"),
    ],
)
def test_settings_that_make_no_path_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        Annealing(**options)


def batches():
    """Examples for models of `tests.every_model`."""
    style, rows = torch.arange(24) % 2, torch.arange(24)
    pictures = Batch(torch.rand(24, 1, 8, 8), {"kind": rows % 3, "age": torch.full((24,), 40.0)}, index=rows)
    clips = Batch(torch.randn(24, 1, 16, 32), {"genre": rows % 3, "instrument": style}, index=rows)
    sentences = Batch(torch.randint(4, 250, (24, 12)), {"style": style}, index=rows)
    return {"pictures": pictures, "text": sentences, "audio": clips, "table": half_hidden(24)}


LONGER = [pytest.param(name, "prior", marks=pytest.mark.slow) for name in ("text", "audio", "table")]


@pytest.mark.parametrize(
    ("name", "start"),
    [
        *[(name, "posterior") for name in ("pictures", "pictures, mixture", "text", "audio", "table")],
        *[(name, "prior") for name in ("pictures", "pictures, mixture")],
        *[(name, "refined") for name in ("pictures", "text")],
        *[pytest.param(name, "refined", marks=pytest.mark.slow) for name in ("pictures, mixture", "audio", "table")],
        *LONGER,
    ],
)
def test_bounds_of_every_modality_and_prior_close_as_the_path_gets_longer(name, start):
    torch.manual_seed(0)
    model, batch = MODELS[name](), batches()[name.partition(",")[0]]
    if name == "audio":  # whose encoder is far from any posterior with large random weights
        perturb(model, 0.1)
    gaps = []
    with eval_mode(model):
        for temperatures in (3, 40):
            bounds = sandwiched_log_likelihood(model, batch, Annealing(4, temperatures, 3, start))
            gap = bounds.upper - bounds.lower
            assert gap.mean() > -2 * gap.std() / len(gap) ** 0.5
            gaps.append(gap.mean().item())
    assert gaps[1] < max(0.5 * gaps[0], 0.1), gaps
