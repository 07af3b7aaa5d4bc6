import math
import warnings

import pytest
import torch
from torch.distributions import Independent, Normal

from common.batch import Batch
from common.conditions.attributes import OBSERVED, Categorical, Continuous
from common.conditions.condition import Condition
from common.conditions.encoders import Composition, FieldEncoder
from common.model.generation import Generation, WeightedLatents
from tests.common.models import LinearGaussian

COUNT = 20_000


def test_latents_are_picked_in_proportion_to_their_weights():
    z = torch.tensor([[[0.0], [10.0]], [[1.0], [11.0]], [[2.0], [12.0]]])  # z[k, b] = k + 10 b
    weights = torch.tensor([[0.2, 0.0], [0.3, 0.9], [0.5, 0.1]])
    log_weights = weights.log() + torch.tensor([3.0, -200.0])  # a constant of each example changes nothing
    chosen = WeightedLatents(z, log_weights, Condition(torch.zeros(2, 1))).resample(COUNT)
    assert chosen.shape == (COUNT, 2, 1)
    for example in range(2):
        position = chosen[:, example, 0] - 10 * example
        shares = torch.stack([(position == k).float().mean() for k in range(3)])
        assert shares.sum() == 1  # every latent stays with its example
        assert shares.tolist() == pytest.approx(weights[:, example].tolist(), abs=4 * math.sqrt(0.25 / COUNT))


def test_a_latent_is_picked_whole():
    first = torch.arange(5.0).reshape(5, 1, 1)
    z = torch.cat([first, 100 - first], dim=-1)
    chosen = WeightedLatents(z, torch.zeros(5, 1), Condition(torch.zeros(1, 1))).resample(50)
    assert torch.equal(chosen.sum(-1), torch.full((50, 1), 100.0))


class LinearGeneration(LinearGaussian, Generation):
    """The linear model with the verbs."""


def test_resampled_latents_follow_the_exact_posterior_however_wrong_the_encoder():
    model, exact = LinearGeneration(shift=0.3, stretch=1.5), LinearGaussian()
    batch = model.batch(3)
    found = model.weighted_latents(batch, 20_000, seed=0)
    z = found.resample(COUNT)
    posterior = exact.encode(batch.x, found.condition).base_dist
    assert torch.allclose(z.mean(0), posterior.loc, atol=0.03)
    assert torch.allclose(z.std(0), posterior.scale, rtol=0.05)
    assert (found.z.mean(0) - posterior.loc - 0.3).abs().max() < 0.03  # unweighted, they follow the encoder


class NamedGeneration(LinearGeneration):
    """The linear model under fields with names."""

    def __init__(self, **dropout):
        super().__init__()
        attributes = {"kind": Categorical(["circle", "square"]), "age": Continuous(30.0, 10.0)}
        self.condition = FieldEncoder(
            {**attributes, "unread": Categorical("ab")}, dim=1, use=["kind", "age"], **dropout
        )


def drawn(model, condition, **options):
    torch.manual_seed(0)
    return model.sample(condition, **options)


def test_samples_are_asked_for_by_name_or_by_raw_value():
    model = NamedGeneration()
    by_name = drawn(model, {"kind": ["square", "circle"], "age": "30"}, num_samples=3)
    assert by_name.shape == (3, 2, 3)
    assert torch.equal(by_name, drawn(model, {"kind": [1, 0], "age": 30}, num_samples=3))
    raw = {"kind": torch.tensor([1, 0]), "age": torch.tensor([30.0, 30.0])}
    assert torch.equal(by_name, drawn(model, raw, num_samples=3))
    assert not torch.equal(by_name[:, :1], drawn(model, {"kind": "circle", "age": 30}, num_samples=3))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"kind": "blob"}, "condition kind: 'blob' is not one of circle, square"),
        ({"kind": 2}, "condition kind: 2 is no position .* among circle, square"),
        ({"colour": 1}, "unknown condition 'colour'; this model knows: kind, age"),
        ({"colour": torch.tensor([1])}, "unknown condition 'colour'; this model knows: kind, age"),
        ({"kind": "circle", "colour": "red"}, "unknown condition 'colour'; this model knows: kind, age"),
        ({"kind": ["circle", "square"], "age": [1, 2, 3]}, "condition kind has 2 values, for 3 examples"),
    ],
)
def test_wrong_conditions_are_refused_with_the_valid_ones(condition, message):
    model, batch = NamedGeneration(), Batch(torch.randn(3, 3), {"kind": torch.tensor([0, 1, 0])})
    with pytest.raises(ValueError, match=message):
        model.sample(condition)
    with pytest.raises(ValueError, match=message):
        model.transfer(batch, condition)


def test_further_fields_of_a_batch_are_allowed_and_change_nothing():
    model = NamedGeneration()
    read = {"kind": torch.tensor([0, 1]), "age": torch.tensor([20.0, 40.0])}
    batch = Batch(torch.randn(2, 3), {**read, "unread": torch.tensor([1, 0]), "group": torch.tensor([5, 6])})
    assert torch.equal(drawn(model, batch.condition), drawn(model, read))
    plain = batch.replace(condition=read)
    assert torch.equal(model.reconstruct(batch), model.reconstruct(plain))
    assert torch.equal(model.transfer(batch, {"kind": "square"}), model.transfer(plain, {"kind": 1}))
    assert torch.equal(model.transfer(batch, {"group": torch.tensor([6, 6])}), model.reconstruct(batch))
    with pytest.raises(ValueError, match="unknown condition 'group'"):
        model.transfer(batch, {"group": 6})


def test_an_unconditional_model_ignores_a_batch_and_refuses_a_wish():
    model = LinearGeneration()
    model.condition = FieldEncoder({"kind": Categorical(["circle", "square"])}, dim=1, use=[])
    assert model.sample({"kind": torch.tensor([0, 1, 0])}).shape == (1, 3, 3)
    with pytest.raises(ValueError, match="unknown condition 'kind'; this model knows: none: the model is uncondit"):
        model.sample({"kind": "circle"})


def test_the_seed_fixes_weighted_latents_of_an_example_by_its_index():
    model = LinearGeneration(shift=0.3)
    batch = model.batch(6)
    whole, part = model.weighted_latents(batch, 5, seed=2), model.weighted_latents(batch[slice(4, 6)], 5, seed=2)
    assert torch.equal(part.z, whole.z[:, 4:])
    assert torch.allclose(part.log_weights, whole.log_weights[:, 4:], atol=1e-5)


# The null condition

GIVEN = {"kind": "circle", "age": 30}


def unlearned(model, condition, **options):
    """What is said, when sampling, of null conditions that training never used."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.sample(condition, **options)
    return [str(warning.message) for warning in caught if "null condition" in str(warning.message)]


@pytest.mark.parametrize(
    ("condition", "options", "names"),
    [
        ({"kind": "circle"}, {}, "age"),
        ({}, {}, "kind, age"),
        (GIVEN, {"guidance": 2.0}, "kind, age"),
        ({"age": 30}, {"guidance": 0.5}, "kind, age"),
    ],
)
def test_a_null_condition_that_was_never_learned_is_warned_of_once(condition, options, names):
    model = NamedGeneration()
    (said,) = unlearned(model, condition, **options)
    assert said.startswith(f"trained without condition dropout: the null condition of {names} was never learned")
    assert said.endswith("train with model.condition.dropout")
    assert unlearned(model, condition, **options) == []


def test_what_was_learned_or_is_not_read_is_not_warned_of():
    assert unlearned(NamedGeneration(), GIVEN) == []
    for dropout in ({"dropout": 0.1}, {"field_dropout": 0.1}):
        assert unlearned(NamedGeneration(**dropout), {}, guidance=2.0) == []
    unconditional = LinearGeneration()
    unconditional.condition = FieldEncoder({"kind": Categorical("ab")}, dim=1, use=[])
    assert unlearned(unconditional, {}, guidance=2.0) == []
    batch = Batch(torch.randn(2, 3), {"kind": torch.tensor([0, 1]), "age": torch.tensor([20.0, 40.0])})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NamedGeneration().reconstruct(batch)


def test_a_part_of_a_composition_is_warned_of_by_its_own_dropout():
    model = LinearGeneration()
    parts = [FieldEncoder({"kind": Categorical("ab")}, dim=1, dropout=0.2), FieldEncoder({"age": Continuous()}, dim=1)]
    model.condition = Composition(parts)
    model.u = torch.zeros(2, 3)
    model.decode = lambda z, c: Independent(Normal(z @ model.W.T, 1.0), 1)
    (said,) = unlearned(model, {})
    assert "the null condition of age was" in said


class Observing(FieldEncoder):
    """Takes an observed part as well."""

    reads_observed = True


def test_an_observed_part_that_is_left_out_is_no_null_condition():
    model = LinearGeneration()
    model.condition = Observing({"kind": Categorical("ab")}, dim=1)
    assert unlearned(model, {"kind": "a"}) == []
    assert unlearned(model, {"kind": "a", OBSERVED: torch.randn(1, 3)}) == []


def test_the_posterior_mean_is_that_of_the_values_that_are_shown():
    model = LinearGeneration()
    model.missing_value = 9.0
    batch = model.batch(4)
    mask = torch.tensor([True, False, True]).expand(4, 3)
    shown = torch.where(mask, batch.x, 9.0)
    expected = model.encode(shown, model.embed(batch)).base_dist.loc
    assert torch.equal(model.posterior_mean(batch.replace(mask=mask)), expected)
    assert torch.equal(model.posterior_mean(batch), model.encode(batch.x, model.embed(batch)).base_dist.loc)
