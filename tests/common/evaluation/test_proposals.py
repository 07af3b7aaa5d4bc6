import math

import pytest
import torch
from torch.distributions import Independent, Normal

from common.batch import Batch
from common.eval_mode import eval_mode
from common.evaluation.bounds import Candidates, Sandwich, gain_of, log_likelihood, sandwiched
from common.evaluation.evaluation import Evaluation
from common.evaluation.proposals import Mixture, Proposal, gradients_of_z, refined
from common.evaluation.simulation import simulated
from common.model.latent_model import LatentModel
from tests.audio.models import perturb
from tests.common.evaluation.test_annealing import IMPERFECT, Folded, batches, exact_of
from tests.common.models import LinearGaussian, Number, Watched
from tests.every_model import MODELS

PROPOSALS = {
    "refined": Proposal(refine=30, covariance="diagonal"),
    "full": Proposal(refine=60, covariance="full"),
    "laplace": Proposal(refine=100, covariance="laplace", starts=3),
    "tails": Proposal(refine=0, degrees=5),
    "defensive": Proposal(refine=0, prior=0.2),
    "all": Proposal(refine=30, modes=2, degrees=8, prior=0.1),
}


@pytest.mark.parametrize("name", PROPOSALS)
def test_the_estimate_is_that_of_the_exact_likelihood_whatever_samples_are_drawn_from(name):
    torch.manual_seed(0)
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(100)
    with eval_mode(model):
        found = log_likelihood(model, batch, 1000, proposal=PROPOSALS[name])
    difference = found.log_likelihood - exact_of(model, batch)
    assert difference.mean().item() == pytest.approx(0.0, abs=0.01)
    assert difference.abs().max() < 0.5


class Sum(LatentModel):
    """x = z_1 + z_2 + .3 noise: in the posterior each unit is known only together with the other."""

    def __init__(self):
        super().__init__(Number(), latent_dim=2)

    def encode(self, x, c):
        return Independent(Normal((x / 2).expand(-1, 2), torch.full((len(x), 2), 0.3)), 1)

    def decode(self, z, c):
        return Independent(Normal(z.sum(-1, keepdim=True), 0.3), 1)


def test_a_full_covariance_fits_units_that_depend_on_each_other():
    torch.manual_seed(0)
    model = Sum()
    batch = Batch(2**0.5 * torch.randn(50, 1), {"c": torch.zeros(50)}, index=torch.arange(50))
    kinds = {
        "q": None,
        "diagonal": Proposal(refine=300, covariance="diagonal"),
        "full": Proposal(refine=300, covariance="full"),
    }
    kinds["laplace"] = Proposal()
    with eval_mode(model):
        found = {name: log_likelihood(model, batch, 500, proposal=kind) for name, kind in kinds.items()}
    effective = {name: estimate.effective_sample_size.mean().item() / 500 for name, estimate in found.items()}
    assert max(effective["q"], effective["diagonal"]) < 0.5
    assert effective["full"] > 0.9
    assert effective["laplace"] > 0.99  # the posterior is Gaussian: it is exact
    exact = Normal(0.0, 2.09**0.5).log_prob(batch.x[:, 0])
    assert (found["full"].log_likelihood - exact).abs().max() < 0.05


def test_several_modes_find_both_of_a_posterior_of_which_the_encoder_knows_one():
    torch.manual_seed(0)
    model = Folded()
    batch = Batch(torch.ones(100, 1), {"c": torch.zeros(100)}, index=torch.arange(100))
    with eval_mode(model):
        one, several = (
            log_likelihood(model, batch, 400, proposal=Proposal(refine=100, modes=modes)) for modes in (1, 5)
        )
    exact = model.exact(batch.x)
    assert (one.log_likelihood - exact).mean().item() == pytest.approx(-math.log(2), abs=0.05)
    assert (several.log_likelihood - exact).mean().item() == pytest.approx(0.0, abs=0.05)


class Valleys(LatentModel):
    """Two units, each of which has a low mode near -3, where the encoder takes z to be, and a high one near 3."""

    def __init__(self):
        super().__init__(Number(), latent_dim=2)

    def encode(self, x, c):
        return Independent(Normal(torch.full((len(x), 2), -2.7), 0.3), 1)

    def decode(self, z, c):
        squared = (z.square() - 9).square() / 4 - 2 * z
        return Independent(Normal(squared.sum(-1, keepdim=True), 1.0), 1)


def test_more_ways_of_search_find_higher_modes_and_crossing_joins_what_they_found():
    model = Valleys()
    batch = Batch(torch.full((200, 1), -12.0), {"c": torch.zeros(200)}, index=torch.arange(200))
    share = {}
    with eval_mode(model), gradients_of_z():
        for starts in (4, 32):
            z = refined(model, batch, Proposal(refine=100, starts=starts), 0).first
            share[starts] = [((z > 0).sum(1) == high).float().mean().item() for high in range(3)]
    assert share[4][0] > 0.9
    assert share[32][2] > 0.2  # where .03 of the starts end high in one unit, and .001 in both


def test_a_search_begins_near_a_mode_that_is_known():
    model = Folded()
    batch = Batch(torch.ones(6, 1), {"c": torch.zeros(6)}, index=torch.arange(6))
    valleys, rows = Valleys(), Batch(torch.full((6, 1), -12.0), {"c": torch.zeros(6)}, index=torch.arange(6))
    with eval_mode(model), eval_mode(valleys), gradients_of_z():
        assert (refined(model, batch, Proposal(), 0, torch.full((6, 1), -1.0)).first.abs() > 0.9).all()
        far = refined(valleys, rows, Proposal(), 0, torch.full((6, 2), 3.0)).first
    assert (far > 2).all()


def test_the_gain_compares_with_modes_near_that_of_the_own_condition():
    asked = []

    def estimate(part, near):
        asked.append(near)
        return log_likelihood(model, part, 50, proposal=Proposal(refine=200), near=near)

    model = LinearGaussian(**IMPERFECT, effect=0.0)
    batch = model.batch(20, values=3)
    drawn = Candidates({"c": torch.arange(2)}, torch.tensor([0.5, 0.5]), drawn=2)
    with eval_mode(model):
        gain = gain_of(estimate, batch, drawn)
    assert asked[0] is None
    assert all(near.shape == (20, model.latent_prior.size) for near in asked[1:3])
    assert gain.abs().max() < 0.05


def test_an_own_condition_whose_search_failed_is_searched_near_the_mode_of_another():
    """In the valleys a search succeeds only where it begins near a high mode, as under condition 1."""
    model = Valleys()

    def estimate(part, near):
        if near is None or (part.condition["c"] == 1).all():
            near = torch.where((part.condition["c"] == 1).unsqueeze(1), 3.0, -3.0).expand(-1, 2)
        return log_likelihood(model, part, 50, proposal=Proposal(), near=near)

    batch = Batch(torch.full((6, 1), -12.0), {"c": torch.zeros(6, dtype=torch.int64)}, index=torch.arange(6))
    other = Candidates({"c": torch.ones(1, dtype=torch.int64)}, torch.ones(1))
    with eval_mode(model):
        failed = (
            estimate(batch, None).log_likelihood
            - estimate(batch.replace(condition={"c": batch.condition["c"] + 1}), None).log_likelihood
        )
        gain = gain_of(estimate, batch, other)
    assert failed.max() < -5
    assert gain.abs().max() < 0.1


def test_with_a_share_of_the_prior_no_weight_is_larger_than_the_likelihood_over_the_share():
    torch.manual_seed(0)
    model = LinearGaussian(shift=3.0, stretch=0.2)  # an encoder that misses the posterior
    batch = model.batch(50)
    with eval_mode(model):
        mixture = Mixture.of(model, batch, Proposal(refine=0, prior=0.25), 100, 0)
        c, z = model.embed(batch), mixture.draws(0, batch.positions)
        log_weights = model.log_likelihood_of_latents(batch, z, c) + model.prior(c).log_prob(z) - mixture.log_density(z)
        most = model.log_likelihood_of_latents(batch, z, c) - math.log(0.25)
        plain, safe = (
            log_likelihood(model, batch, 1000, proposal=p).log_likelihood
            for p in (None, Proposal(refine=0, prior=0.25))
        )
    assert (log_weights <= most + 1e-4).all()
    exact = exact_of(model, batch)
    assert (safe - exact).abs().mean() < 0.2 * (plain - exact).abs().mean()


def test_shares_are_those_of_all_samples():
    assert Proposal(refine=1, modes=3, prior=0.1).shares(100) == [30, 30, 30, 10]
    assert Proposal(refine=1, modes=3).shares(4) == [2, 1, 1, 0]
    assert Proposal(prior=0.01).shares(10) == [9, 1]
    assert Proposal(prior=0.9).shares(1) == [1, 0]


@pytest.mark.parametrize("name", ["full", "laplace", "all"])
def test_an_example_has_the_same_estimate_in_any_batch_and_memory(name):
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(9)

    def found(part, seed=0, at_once=1000):
        with eval_mode(model):
            both = sandwiched(model, part, 12, seed, at_once, PROPOSALS[name])
            return torch.stack(
                [log_likelihood(model, part, 12, seed, at_once, PROPOSALS[name]).log_likelihood, both.lower, both.upper]
            )

    whole, order = found(batch), torch.randperm(9)
    assert torch.allclose(found(batch[order]), whole[:, order], atol=1e-3)
    assert torch.allclose(found(batch, at_once=1), whole, atol=1e-3)
    assert not torch.allclose(found(batch, seed=1), whole, atol=1e-2)


@pytest.mark.parametrize("name", [None, *PROPOSALS])
def test_of_simulated_examples_the_likelihood_is_bounded_from_both_sides(name):
    torch.manual_seed(0)
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(400)
    exact = torch.cat([exact_of(model, simulated(model, batch, seed)[0]) for seed in range(3)])
    for count, most in ((3, 0.6), (100, 0.03)):
        with eval_mode(model):
            both = Sandwich.joined(
                sandwiched(model, batch, count, seed, proposal=PROPOSALS.get(name)) for seed in range(3)
            )
        for difference in (exact - both.lower, both.upper - exact):
            error = difference.std().item() / len(exact) ** 0.5
            assert -3 * error < difference.mean().item() < most


def test_the_upper_bound_of_a_mixture_holds_where_its_parts_differ():
    """The exact z takes the place of a sample of the part that explains it; in that of another, it breaks the bound."""
    torch.manual_seed(0)
    model = LinearGaussian(shift=4.0, stretch=0.3)  # q explains next to nothing of the posterior, the prior all
    batch = model.batch(2000)
    exact = exact_of(model, simulated(model, batch, 0)[0])
    mixture = Proposal(refine=0, covariance="diagonal", prior=0.5)
    with eval_mode(model):
        both = sandwiched(model, batch, 2, proposal=mixture)
    for difference in (exact - both.lower, both.upper - exact):
        assert difference.mean().item() > -3 * difference.std().item() / len(exact) ** 0.5
    made, z = simulated(model, batch, 0)
    drawn = Mixture.of(model, made, mixture, 2, 0)
    assert (drawn.places(z, 0, made.positions) == 1).float().mean() > 0.9


def test_memory_is_bounded():
    model = Watched()
    log_likelihood(model, LinearGaussian().batch(7), 20, at_once=8, proposal=PROPOSALS["all"])
    assert 0 < model.most <= 8


@pytest.mark.parametrize("name", ["pictures", "pictures, mixture", "text", "audio", "table"])
def test_refining_makes_more_samples_count_in_every_modality(name):
    torch.manual_seed(0)
    model, batch = MODELS[name](), batches()[name.partition(",")[0]][slice(0, 8)]
    if name == "audio":
        perturb(model, 0.1)
    with eval_mode(model), torch.inference_mode():
        plain, refined = (
            log_likelihood(model, batch, 50, proposal=proposal) for proposal in (None, Proposal(80, "full"))
        )
        laplace = log_likelihood(model, batch, 50, proposal=Proposal(80))
    assert laplace.effective_sample_size.mean() > plain.effective_sample_size.mean()
    assert refined.effective_sample_size.mean() > plain.effective_sample_size.mean()
    assert (refined.log_likelihood - plain.log_likelihood).mean() > -0.5  # both are bounds, of 50 samples


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"refine": -1}, "refine"),
        ({"refine": 1, "modes": 0}, "modes"),
        ({"degrees": 0}, "degrees"),
        ({"prior": 1.0}, "share"),
        ({"refine": 0, "modes": 2}, "refining"),
        ({"starts": 2, "covariance": "full"}, "laplace"),
    ],
)
def test_settings_that_make_no_proposal_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        Proposal(**options)


def test_the_estimator_says_what_samples_were_drawn_from():
    with_all = Evaluation(proposal=PROPOSALS["all"])
    assert with_all.estimator(100) == (
        "importance sampling, 100 samples of 2 modes, q refined by 30 steps for each example, Laplace's covariance, "
        "t with 8 degrees of freedom, 10% from the prior"
    )
    with pytest.raises(ValueError, match="proposal"):
        Evaluation(proposal=Proposal(prior=0.1), nll_method="ais")
