import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from common.distributions.noise import example_noise
from common.evaluation import bounds
from common.evaluation.bounds import (
    Candidates,
    condition_candidates,
    condition_gain,
    log_likelihood,
    prior_log_likelihood,
    random_latent_cost,
)
from common.evaluation.information import active_units, effective_units, informative_units, mutual_information
from common.evaluation.probes import divides, latent_leakage
from tests.common.models import LinearGaussian, Watched

IMPERFECT = {"shift": 0.3, "stretch": 1.4}


def exact_of(model, batch):
    return model.exact(batch.x, batch.condition["c"])


# log p(x | c)


def test_one_sample_of_the_exact_posterior_gives_the_exact_likelihood():
    model = LinearGaussian()
    batch = model.batch(50)
    found = log_likelihood(model, batch, num_samples=1).log_likelihood
    assert (found - exact_of(model, batch)).abs().max() < 1e-3


def test_enough_samples_of_an_imperfect_posterior_give_the_exact_likelihood():
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(100)
    exact = exact_of(model, batch)
    found = log_likelihood(model, batch, num_samples=2000).log_likelihood
    assert found.mean().item() == pytest.approx(exact.mean().item(), abs=0.01)
    assert (found - exact).abs().max() < 0.2


def test_one_sample_of_an_imperfect_posterior_is_the_elbo_below_the_likelihood():
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(2000)
    gap = (exact_of(model, batch) - log_likelihood(model, batch, 1).log_likelihood).mean()
    c = model.condition(batch.condition)
    kl = torch.distributions.kl_divergence(model.encode(batch.x, c), LinearGaussian().encode(batch.x, c)).mean()
    assert gap.item() == pytest.approx(kl.item(), rel=0.15)


def test_enough_samples_of_the_prior_give_the_exact_likelihood_too():
    model = LinearGaussian()
    batch = model.batch(50)
    found = prior_log_likelihood(model, batch, num_samples=20_000)
    assert found.mean().item() == pytest.approx(exact_of(model, batch).mean().item(), abs=0.05)
    few = prior_log_likelihood(model, batch, num_samples=5).mean()
    assert few < found.mean()  # a lower bound
    assert torch.allclose(
        prior_log_likelihood(model, batch[slice(7, 9)].replace(index=torch.tensor([7, 8])), 5),
        prior_log_likelihood(model, batch, 5)[7:9],
        atol=1e-5,
    )


def test_effective_sample_size_is_k_at_the_exact_posterior_and_less_elsewhere():
    model = LinearGaussian()
    batch = model.batch(20)
    assert log_likelihood(model, batch, 40).effective_sample_size.tolist() == pytest.approx([40] * 20, rel=1e-4)
    elsewhere = log_likelihood(LinearGaussian(**IMPERFECT), batch, 40).effective_sample_size
    assert (elsewhere < 38).all()
    assert (elsewhere >= 1).all()


def test_the_likelihood_of_an_example_does_not_depend_on_its_batch():
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(30)
    whole = log_likelihood(model, batch, 7).log_likelihood
    order = torch.randperm(30)
    assert torch.allclose(log_likelihood(model, batch[order], 7).log_likelihood, whole[order], atol=1e-5)
    parts = [log_likelihood(model, batch[rows], 7).log_likelihood for rows in torch.arange(30).split(4)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


@pytest.mark.parametrize(("at_once", "noise"), [(1, 8_000_000), (45, 8_000_000), (1000, 60)])
@pytest.mark.parametrize("indexed", [True, False])
def test_the_likelihood_does_not_depend_on_what_is_in_memory_at_once(monkeypatch, at_once, noise, indexed):
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(30)
    whole, prior = log_likelihood(model, batch, 7), prior_log_likelihood(model, batch, 7)
    monkeypatch.setattr(bounds, "NOISE_NUMBERS", noise)
    given = batch if indexed else batch.replace(index=None)
    part = log_likelihood(model, given, 7, at_once=at_once)
    assert torch.allclose(part.log_likelihood, whole.log_likelihood, atol=1e-5)
    assert torch.allclose(part.effective_sample_size, whole.effective_sample_size, rtol=1e-4)
    assert torch.allclose(prior_log_likelihood(model, given, 7, at_once=at_once), prior, atol=1e-5)


@pytest.mark.parametrize("bound", [log_likelihood, prior_log_likelihood])
@pytest.mark.parametrize(("count", "num_samples"), [(4, 50), (50, 1), (50, 4)])
def test_memory_is_bounded_whatever_the_numbers_of_examples_and_samples(bound, count, num_samples):
    model = Watched()
    bound(model, LinearGaussian().batch(count), num_samples, at_once=10)
    assert 0 < model.most <= 10


def test_the_seed_alone_decides_the_noise():
    model = LinearGaussian(**IMPERFECT)
    batch = model.batch(10)
    first = log_likelihood(model, batch, 5, seed=3).log_likelihood
    torch.manual_seed(99)
    assert torch.equal(log_likelihood(model, batch, 5, seed=3).log_likelihood, first)
    assert not torch.allclose(log_likelihood(model, batch, 5, seed=4).log_likelihood, first, atol=1e-3)


def test_masked_likelihood_is_the_marginal_of_the_observed_values():
    class Broad(LinearGaussian):
        def encode(self, x, c):  # knows neither x nor c
            return Independent(Normal(torch.zeros(len(x), 2), torch.full((len(x), 2), 1.2)), 1)

    model = Broad(sigma=1.0)
    batch = model.batch(40)
    observed = torch.tensor([True, False, True])
    batch = batch.replace(x=torch.where(observed, batch.x, 1e3), mask=observed.expand(40, 3))
    found = log_likelihood(model, batch, 5000).log_likelihood
    exact = model.exact(batch.x, batch.condition["c"], observed=(0, 2))
    assert found.mean().item() == pytest.approx(exact.mean().item(), abs=0.01)
    assert (found - exact).abs().max() < 0.3


# Condition gain


def candidates(weights):
    return Candidates({"c": torch.arange(len(weights))}, torch.tensor(weights))


def test_condition_gain_is_the_log_ratio_to_the_mixture_over_conditions():
    model = LinearGaussian(effect=1.5)
    batch = model.batch(60, values=3)
    three = candidates([0.2, 0.3, 0.5])
    under = torch.stack([model.exact(batch.x, torch.full((60,), value)) for value in range(3)])
    expected = exact_of(model, batch) - torch.logsumexp(under + three.weights.double().log().unsqueeze(1), dim=0)
    found = condition_gain(model, batch, three, num_samples=1)
    assert torch.allclose(found.double(), expected, atol=1e-3)


def test_condition_gain_is_zero_where_the_condition_does_nothing():
    model = LinearGaussian(effect=0.0, **IMPERFECT)
    gain = condition_gain(model, model.batch(60, values=3), candidates([0.2, 0.3, 0.5]), num_samples=4)
    assert gain.abs().max() < 1e-4


def test_condition_gain_is_the_entropy_of_a_condition_that_x_gives_away():
    model = LinearGaussian(sigma=0.2, effect=100.0)
    gain = condition_gain(model, model.batch(40, values=4), candidates([0.25] * 4), num_samples=1)
    assert gain.mean().item() == pytest.approx(math.log(4), abs=1e-3)


def test_few_conditions_are_all_taken_with_their_frequencies():
    fields = {"kind": torch.tensor([0, 1, 0, 0, -1]), "size": torch.tensor([0.5, 0.5, 0.5, 2.0, 0.5])}
    found = condition_candidates(fields, {name: field[:3] for name, field in fields.items()}, limit=4)
    columns = found.fields["kind"].tolist(), found.fields["size"].tolist(), found.weights.tolist()
    table = {(kind, size): weight for kind, size, weight in zip(*columns, strict=True)}
    assert found.drawn is None
    assert table == pytest.approx({(0, 0.5): 0.4, (1, 0.5): 0.2, (0, 2.0): 0.2, (-1, 0.5): 0.2})
    assert found.fields["kind"].dtype == torch.int64


def test_a_missing_number_is_one_condition_however_many_rows_lack_it():
    fields = {"size": torch.tensor([1.0, float("nan"), float("nan"), float("nan")])}
    found = condition_candidates(fields, {"size": torch.tensor([float("nan")])}, limit=2)
    assert found.drawn is None
    assert dict(zip(found.fields["size"].isnan().tolist(), found.weights.tolist(), strict=True)) == {
        False: 0.25,
        True: 0.75,
    }


def test_of_many_conditions_some_are_drawn_from_the_table():
    fields = {"size": torch.randn(500), "kind": torch.arange(500)}
    found = condition_candidates(fields, limit=20, seed=1)
    chosen = found.fields
    assert found.drawn == 20
    assert found.weights.tolist() == pytest.approx([1 / 20] * 20)
    assert len(chosen["kind"].unique()) == 20
    assert torch.equal(chosen["size"], fields["size"][chosen["kind"]])  # rows stay together
    again, other = (condition_candidates(fields, limit=20, seed=seed).fields["kind"] for seed in (1, 2))
    assert torch.equal(again, chosen["kind"])
    assert not torch.equal(other, chosen["kind"])


def test_where_a_tested_combination_is_absent_from_training_the_candidates_are_draws():
    fields = {"kind": torch.tensor([0, 0, 0, 1]).repeat(25), "sort": torch.tensor([0, 1, 0, 1]).repeat(25)}
    unseen = {"kind": torch.tensor([0, 1]), "sort": torch.tensor([0, 0])}  # either value is known, 1 with 0 is not
    found = condition_candidates(fields, unseen, limit=32)
    assert found.drawn == 32
    rows = list(zip(found.fields["kind"].tolist(), found.fields["sort"].tolist(), strict=True))
    assert rows == [(0, 0), (0, 1), (1, 1)]  # repeated draws count in the weights
    assert found.weights.sum().item() == pytest.approx(1)
    assert found.weights.tolist() == pytest.approx([0.5, 0.25, 0.25], abs=0.25)
    assert (found.weights * 32).tolist() == pytest.approx((found.weights * 32).round().tolist(), abs=1e-4)
    few = {name: field[:4] for name, field in fields.items()}
    assert condition_candidates(few, unseen, limit=32).drawn == 4
    assert condition_candidates(fields, {name: field[:4] for name, field in fields.items()}).drawn is None


def test_with_drawn_conditions_an_examples_own_is_one_more():
    model = LinearGaussian(effect=1.5)
    batch = model.batch(60, values=3)
    drawn = Candidates({"c": torch.arange(2)}, torch.tensor([0.75, 0.25]), drawn=4)  # 2 is not among them
    own = exact_of(model, batch)
    under = [model.exact(batch.x, torch.full((60,), value)) for value in range(2)]
    weights = torch.tensor([3.0, 1.0, 1.0]).double() / 5
    expected = own - torch.logsumexp(torch.stack([*under, own]) + weights.log().unsqueeze(1), dim=0)
    assert torch.allclose(condition_gain(model, batch, drawn, num_samples=1).double(), expected, atol=1e-3)


def test_the_gain_of_a_condition_that_training_lacks_stays_below_its_bound():
    model = LinearGaussian(sigma=0.2, effect=100.0)
    batch = model.batch(40, values=4)
    known = condition_candidates({"c": torch.arange(300) % 3}, batch.condition)
    gain = condition_gain(model, batch, known, num_samples=1)
    assert gain.max().item() <= math.log(33) + 1e-3
    assert gain[3].item() == pytest.approx(math.log(33), abs=1e-3)


def test_densities_are_in_float32_whatever_the_precision_of_a_test(monkeypatch):
    seen = []

    def watched(likelihood, x, mask=None):
        seen.append(torch.is_autocast_enabled("cpu"))
        return likelihood.log_prob(x)

    monkeypatch.setattr("common.model.latent_model.log_prob", watched)
    model = LinearGaussian()
    batch = model.batch(6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        log_likelihood(model, batch, 3)
        prior_log_likelihood(model, batch, 3)
        random_latent_cost(model, batch, model.draws(batch))
    assert seen == [False] * 4


# What the latent carries


def test_identical_posteriors_carry_no_information():
    information, count = mutual_information(torch.zeros(200, 3), torch.ones(200, 3))
    assert information == pytest.approx(0, abs=1e-9)
    assert count == 200


def test_separated_posteriors_carry_log_n():
    information, _ = mutual_information(torch.arange(150).unsqueeze(1).float(), torch.full((150, 1), 1e-3))
    assert information == pytest.approx(math.log(150), abs=1e-6)


@pytest.mark.parametrize(("spread", "std"), [(2.0, 1.0), (1.0, 1.0), (1.0, 0.3)])
def test_mutual_information_of_gaussian_posteriors_is_the_channel_capacity(spread, std):
    mean = spread * torch.randn(2000, 1)
    information, _ = mutual_information(mean, torch.full_like(mean, std))
    assert information == pytest.approx(0.5 * math.log(1 + spread**2 / std**2), abs=0.08)


def test_mutual_information_is_that_of_all_pairs_of_densities():
    """Many units whose posteriors overlap, lie far from zero and differ in width: the formula, term by term."""
    generator = torch.Generator().manual_seed(0)
    mean = 50 + 0.1 * torch.randn(60, 200, generator=generator).double()
    std = 0.9 + 0.2 * torch.rand(60, 200, generator=generator).double()
    z = mean + std * example_noise(0, torch.arange(60), (1, 200))[0].double()
    log_q = Normal(mean, std).log_prob(z.unsqueeze(1)).sum(-1)
    expected = float((log_q.diagonal() - log_q.logsumexp(1) + math.log(60)).mean())
    assert 0.5 < expected < 3.5
    assert mutual_information(mean, std)[0] == pytest.approx(expected, abs=1e-9)


def test_mutual_information_uses_at_most_the_limit():
    information, count = mutual_information(torch.arange(500).unsqueeze(1), torch.full((500, 1), 1e-3), limit=50)
    assert count == 50
    assert information == pytest.approx(math.log(50), abs=1e-6)


def test_units_that_repeat_each_other_count_once():
    first, second = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    assert effective_units(torch.stack([first, second], 1)) == pytest.approx(2.0, abs=0.01)
    assert effective_units(torch.stack([first, -first, first, second], 1)) < 2.0
    assert effective_units(torch.stack([first, first, -first], 1)) == pytest.approx(1.0, abs=1e-6)
    assert effective_units(torch.stack([first, 0.01 * second], 1)) == pytest.approx(1.0, abs=0.01)
    assert effective_units(torch.zeros(10, 3)) == 0.0


def test_active_units_are_those_whose_mean_varies():
    column = torch.linspace(-1, 1, 101)  # variance .343
    mean = torch.stack([column, 0.01 * column, torch.full((101,), 5.0), 0.18 * column, 0.16 * column], dim=1)
    assert active_units(mean) == 2  # .343 * .18^2 = .0111 is above .01, .343 * .16^2 = .0088 below
    assert active_units(mean, threshold=0.005) == 3


def test_informative_units_are_those_with_a_mean_kl_above_the_threshold():
    kl = torch.tensor([[0.0, 0.2, 0.04, 1.0], [0.0, 0.0, 0.04, 1.0]])
    assert informative_units(kl) == 2
    assert informative_units(kl, threshold=0.03) == 3


def latent_cost(model, batch, seed=0):
    return random_latent_cost(model, batch, model.draws(batch, 1, seed), seed)


def test_a_random_latent_costs_nothing_where_the_decoder_ignores_it():
    model = LinearGaussian(use_latent=False)
    assert torch.equal(latent_cost(model, model.batch(20)), torch.zeros(20))


def test_a_random_latent_costs_its_expected_squared_error_in_nats():
    model = LinearGaussian()
    batch = model.batch(4000)
    c = model.condition(batch.condition)
    posterior = model.encode(batch.x, c).base_dist

    def error(mean, variance):
        """E |x - c u - W z|^2 for z ~ N(mean, variance)."""
        residual = batch.x - c.vector * model.u - mean @ model.W.T
        return residual.pow(2).sum(-1) + (variance * model.W.pow(2).sum(0)).sum(-1)

    expected = (error(torch.zeros(4000, 2), torch.ones(2)) - error(posterior.loc, posterior.variance)) / 0.5
    found = latent_cost(model, batch)
    difference = found - expected
    assert expected.mean() > 5
    assert abs(difference.mean().item()) < 4 * difference.std().item() / math.sqrt(4000)


class WithMixture(LinearGaussian):
    def prior(self, c):
        means = torch.tensor([[-2.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
        components = Independent(Normal(means, torch.ones(3, 2)), 1).expand((len(c), 3))
        return MixtureSameFamily(Categorical(torch.tensor([0.2, 0.3, 0.5]).expand(len(c), 3)), components)


@pytest.mark.parametrize("model", [LinearGaussian(), WithMixture()])
def test_the_cost_of_a_random_latent_does_not_depend_on_the_batch(model):
    batch = model.batch(30)
    whole = latent_cost(model, batch)
    parts = [latent_cost(model, batch[rows]) for rows in torch.arange(30).split(7)]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-4)
    assert not torch.allclose(latent_cost(model, batch, seed=1), whole, atol=1e-2)


# Leakage

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 30)
MAJORITY = 0.5


def code_of(labels):
    """A code that gives the label away."""
    return torch.nn.functional.one_hot(labels, 3).float() + 0.01 * torch.randn(len(labels), 3)


def test_a_code_that_is_the_label_leaks_all_of_it():
    leakage, error, count = latent_leakage(code_of(LABELS), LABELS)
    assert leakage == pytest.approx(1 - MAJORITY)
    assert error == 0
    assert count == 120


def test_a_zero_code_leaks_nothing():
    leakage, error, _ = latent_leakage(torch.zeros(120, 3), LABELS)
    assert leakage == pytest.approx(0)
    assert error == pytest.approx(math.sqrt(0.25 / 120))


def test_a_random_code_leaks_about_nothing():
    labels = LABELS.repeat(10)
    assert abs(latent_leakage(torch.randn(1200, 3), labels)[0]) < 0.03


def test_a_duplicated_latent_leaks_what_the_single_one_does():
    mean = torch.nn.functional.one_hot(LABELS, 3) + 0.7 * torch.randn(120, 3)
    single, *_ = latent_leakage(mean, LABELS)
    double, *_ = latent_leakage(torch.cat([mean, mean], dim=1), LABELS)
    assert 0.1 < single < 0.45
    assert double == pytest.approx(single, abs=0.03)


def test_examples_without_a_label_do_not_count():
    mean = code_of(LABELS)
    with_missing = torch.cat([torch.randn(50, 3), mean]), torch.cat([torch.full((50,), -1), LABELS])
    assert latent_leakage(*with_missing) == latent_leakage(mean, LABELS)


def test_classes_rarer_than_the_folds_do_not_count():
    mean = code_of(LABELS)
    with_rare = torch.cat([mean, torch.randn(4, 3)]), torch.cat([LABELS, torch.full((4,), 3)])
    assert latent_leakage(*with_rare) == latent_leakage(mean, LABELS)


def test_a_code_that_knows_the_recording_does_not_leak_its_label_to_folds_of_whole_recordings():
    groups = torch.arange(60).repeat_interleave(20)
    labels = torch.randint(3, (60,))[groups]
    code = torch.randn(60, 40)[groups] + 0.1 * torch.randn(1200, 40)
    majority = labels.bincount().max().item() / len(labels)
    divided, small, _ = latent_leakage(code, labels)
    assert divided == pytest.approx(1 - majority, abs=0.02)  # the probe knows each recording
    apart, error, count = latent_leakage(code, labels, groups=groups)
    assert apart < error  # 40 numbers of 48 recordings predict no other one
    assert count == 1200
    assert error > 3 * small  # 60 recordings, not 1,200 clips


def test_folds_of_whole_groups_find_what_every_group_shows():
    groups = torch.arange(60).repeat_interleave(5)
    labels = torch.arange(300) % 3
    leakage, error, _ = latent_leakage(code_of(labels), labels, groups=groups)
    assert (leakage, error) == (pytest.approx(2 / 3), 0)


def test_folds_are_of_groups_where_these_can_tell():
    artist = torch.arange(10).repeat_interleave(4)
    assert divides(torch.arange(20).repeat_interleave(2), artist % 2)
    assert not divides(None, artist)
    assert not divides(torch.arange(40), artist % 2)  # each stands for itself
    assert not divides(artist, artist)  # what is one with its group is never known from another one


def test_leakage_of_a_single_class_is_refused():
    with pytest.raises(ValueError, match="two classes"):
        latent_leakage(torch.randn(20, 3), torch.zeros(20, dtype=torch.int64))
    with pytest.raises(ValueError, match="two classes"):
        latent_leakage(torch.randn(24, 3), torch.tensor([0] * 20 + [1] * 4))
