"""Completion of images: what is hidden, how it is coded, and what a model makes of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Independent

from common.batch import Batch
from common.conditions.attributes import OBSERVED, Categorical
from common.distributions.guidance import extrapolate
from common.distributions.likelihoods import clamp
from common.distributions.priors import ConditionalNormal
from common.evaluation.bounds import log_likelihood, prior_log_likelihood
from modalities.image import ImageCVAE, ObservedPixelsEncoder
from modalities.image.completion import Completion, Hole, Quadrants
from modalities.image.condition import HIDDEN_PIXEL
from modalities.image.data import Digits
from modalities.image.networks import MLP

ATTRIBUTES = {"digit": Categorical(["a", "b"])}
NAN = float("nan")


def small(use=(), **options):
    encoder = ObservedPixelsEncoder(ATTRIBUTES, (1, 4, 4), dim=3, use=list(use))
    prior = ConditionalNormal(8)
    return ImageCVAE(encoder, (1, 4, 4), 2, architecture=MLP([8]), prior=prior, **options).eval()


def halves(count=5):
    """Binary images [count, 1, 4, 4] with their left half observed."""
    x = (torch.rand(count, 1, 4, 4) < 0.5).float()
    observed = torch.where(Quadrants(2)(torch.zeros(count, 0), 4, 4), x, NAN)
    return Batch(x, {OBSERVED: observed, "digit": torch.zeros(count, dtype=torch.int64)})


# Hiding


@pytest.mark.parametrize(("count", "corners"), [(1, (0, 0, 1, 0)), (2, (1, 0, 1, 0)), (3, (1, 1, 1, 0))])
def test_quadrants_are_those_of_the_paper(count, corners):
    shown = Quadrants(count)(torch.zeros(2, 0), 28, 28)
    assert shown.shape == (2, 1, 28, 28)
    found = [shown[0, 0, row, column].item() for row in (0, 27) for column in (0, 27)]
    assert tuple(map(int, found)) == corners
    assert shown[0].sum() == count * 14 * 14


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**31), st.integers(4, 32), st.integers(4, 32), st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_hole_is_one_rectangle_inside_the_image_with_sides_in_range(seed, height, width, one, other):
    low, high = sorted((one, other))
    uniform = torch.rand(20, 4, generator=torch.Generator().manual_seed(seed))
    hidden = ~Hole((low, high))(uniform, height, width)[:, 0]
    for mask in hidden:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == rows.sum() * columns.sum()  # a rectangle
        for side, size in ((rows.sum().item(), height), (columns.sum().item(), width)):
            assert max(1, round(size * low) - 1) <= side <= min(size, round(size * high) + 1)


def test_holes_lie_everywhere():
    hidden = ~Hole((0.5, 0.5))(torch.rand(4000, 4), 8, 8)[:, 0]
    share = hidden.float().mean(0)
    assert share[0, 0].item() == pytest.approx(1 / 25, abs=0.015)  # one of 5 x 5 places
    assert share[4, 4].item() == pytest.approx(16 / 25, abs=0.04)


# Data


def test_a_batch_keeps_the_whole_image_and_shows_a_part_of_it():
    data = Completion(Digits(50, "dynamic"), Quadrants(1))
    batch = data.batch("test", 20)
    observed = batch.condition[OBSERVED]
    assert observed.isnan().sum() == 20 * 588
    known = ~observed.isnan()
    assert torch.equal(observed[known], batch.x[known])
    assert torch.equal(batch.x, Digits(50, "dynamic").batch("test", 20).x)
    assert data.fingerprint == Digits().fingerprint


def test_a_grey_observation_stands_beside_binary_targets():
    batch = Completion(Digits(50, "dynamic"), Quadrants(2), coding="grey").batch("test", 50)
    known = batch.condition[OBSERVED][~batch.condition[OBSERVED].isnan()]
    assert ((known > 0.2) & (known < 0.8)).any()
    assert set(batch.x.unique().tolist()) == {0.0, 1.0}


def test_evaluation_hides_the_same_of_an_image_whatever_its_batch():
    data = Completion(Digits(50), Hole())
    many, few = data.batch("test", 30).condition[OBSERVED], data.batch("test", 10).condition[OBSERVED]
    assert torch.equal(many[:10].isnan(), few.isnan())
    hidden = many.isnan().flatten(1)
    assert len(hidden.unique(dim=0)) > 25


# Likelihood


def test_given_values_have_probability_one_and_the_others_their_own():
    logits, x = torch.randn(3, 2, 5), torch.ones(2, 5)
    known = torch.full((2, 5), NAN)
    known[0, :2], known[1, 4] = 1.0, 0.0
    likelihood = clamp(Independent(Bernoulli(logits=logits), 1), known)
    expected = torch.where(known.isnan(), torch.nn.functional.logsigmoid(logits), 0.0).sum(-1)
    assert torch.allclose(likelihood.log_prob(x), expected)
    drawn = likelihood.sample((4,))
    assert (drawn[..., 0, :2] == 1).all()
    assert (drawn[..., 1, 4] == 0).all()
    assert torch.allclose(likelihood.mean[:, 0, 2:], logits[:, 0, 2:].sigmoid())
    null = clamp(Independent(Bernoulli(logits=torch.zeros(3, 2, 5)), 1), known)
    further = extrapolate(likelihood, null, 2.0)
    assert torch.allclose(further.mean[:, 0, 2:], (2 * logits[:, 0, 2:]).sigmoid())
    assert (further.mean[:, 0, :2] == 1).all()


# The model


def test_the_condition_holds_the_observed_pixels_and_no_guidance_takes_them_away():
    model, batch = small(use=["digit"]), halves()
    c = model.embed(batch)
    null = model.condition(model.condition.null(batch.condition))
    for observed in (c.observed, null.observed):
        assert torch.equal(observed.nan_to_num(7), batch.condition[OBSERVED].nan_to_num(7))
    pixels = batch.condition[OBSERVED].nan_to_num(HIDDEN_PIXEL).flatten(1)
    assert torch.equal(c.vector[:, 3:], pixels)
    assert torch.equal(null.vector[:, 3:], pixels)
    assert (null.vector[:, :3] - c.vector[:, :3]).abs().amax(1).min() > 1e-2  # the digit alone is taken away


def test_only_hidden_pixels_cost_anything_and_samples_repeat_the_others():
    model, batch = small(), halves()
    changed = batch.replace(x=torch.where(batch.condition[OBSERVED].isnan(), batch.x, 1 - batch.x))
    likelihood = model.decode(torch.randn(5, 2), model.embed(batch))
    assert torch.allclose(likelihood.log_prob(batch.x), likelihood.log_prob(changed.x))
    known = ~batch.condition[OBSERVED].isnan()
    for samples in (model.sample(batch.condition, 3), model.sample(batch.condition, 3, draw=True)):
        assert torch.equal(samples[:, known], batch.x[known].expand(3, -1))
    whole = model.decode(torch.randn(2, 2), model.condition({}).expand(2))
    assert (whole.log_prob(batch.x[:2]) < likelihood.log_prob(batch.x)[:2] + 5).all()


def test_impute_draws_from_the_learned_prior_and_never_looks_at_what_is_hidden():
    model, batch = small(), halves()
    mask = ~batch.condition[OBSERVED].isnan()
    torch.manual_seed(1)
    first = model.impute(Batch(batch.x, {}, mask), 2)
    torch.manual_seed(1)
    second = model.impute(Batch(torch.where(mask, batch.x, 1e3), {}, mask), 2)
    assert torch.equal(first, second)
    assert torch.equal(first[:, mask], batch.x[mask].expand(2, -1))


def test_without_a_latent_the_likelihood_is_exact_with_one_sample():
    model, batch = small(latent=False), halves()
    exact = model.decode(torch.zeros(5, 2), model.embed(batch)).log_prob(batch.x)
    assert torch.allclose(log_likelihood(model, batch, 1).log_likelihood, exact, atol=1e-5)
    assert torch.allclose(prior_log_likelihood(model, batch, 1), exact, atol=1e-5)
    assert model.elbo(batch).kl.abs().max() < 1e-5


def test_without_recognition_importance_sampling_is_monte_carlo_from_the_prior():
    model, batch = small(recognition=False), halves()
    assert model.elbo(batch).kl.abs().max() < 1e-5
    importance, plain = log_likelihood(model, batch, 4000).log_likelihood, prior_log_likelihood(model, batch, 4000)
    assert torch.allclose(importance, plain, atol=0.05)


def test_the_baseline_adds_its_logits_whatever_z():
    model, batch = small(baseline=True), halves()
    z, c = torch.randn(3, 5, 2), model.embed(batch)
    with_it = model.decode(z, c).base_dist.base.logits
    guess, model.baseline = model.baseline, None
    assert torch.allclose(
        with_it - model.decode(z, c).base_dist.base.logits,
        guess(torch.zeros(5, 2), c.vector).expand(3, 5, 1, 4, 4),
        atol=1e-5,
    )


def test_an_image_of_another_size_is_refused_by_name():
    with pytest.raises(ValueError, match=r"condition\.shape is"):
        small().condition({OBSERVED: torch.zeros(2, 1, 8, 8)})


def test_a_part_of_the_other_data_is_a_part_here():
    data = Completion(Digits(limit=60, map=["digit=number"]))
    assert len(data.whole.x) == 60
    assert list(data.attributes) == ["number"]
