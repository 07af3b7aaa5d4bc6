import math

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

from common.conditions.attributes import Categorical, Continuous
from common.objectives.invariance import Adversary, InformationPenalty

KIND = {"kind": Categorical(["a", "b"]), "age": Continuous()}
BOTH = {"kind": Categorical(["a", "b"]), "sort": Categorical(["x", "y", "z"])}


def gaussian(mean, scale):
    return Independent(Normal(mean, scale), 1)


def penalty(attributes=KIND, latent_dim=2, **arguments):
    made = InformationPenalty(**{"momentum": 1.0, **arguments})
    made.build(latent_dim, attributes)
    return made


def value_of(made, mean, scale, **fields):
    return made(mean, gaussian(mean, scale), fields)


# Information


def two_classes(requires_grad=False):
    """One unit at 0 and 3 with deviations 1 and 2, another that is alike in both; a quarter is of the second class."""
    kind = torch.tensor([0] * 6 + [1] * 2)
    mean = torch.stack([3.0 * kind, torch.tensor([1.0, -1.0] * 4)], dim=1).requires_grad_(requires_grad)
    scale = torch.stack([1.0 + kind, torch.full((8,), 0.5)], dim=1)
    return kind, mean, scale


def test_the_penalty_is_the_information_of_gaussian_moments():
    kind, mean, scale = two_classes()
    whole = Normal(0.75, math.sqrt(0.75 * 1 + 0.25 * (4 + 9) - 0.75**2))
    first, second = (kl_divergence(Normal(m, s), whole).item() for m, s in ((0.0, 1.0), (3.0, 2.0)))
    expected = 0.75 * first + 0.25 * second  # the other unit tells nothing
    assert value_of(penalty(), mean, scale, kind=kind).item() == pytest.approx(expected, rel=1e-5)
    assert value_of(penalty(weight=3.0), mean, scale, kind=kind).item() == pytest.approx(3 * expected, rel=1e-5)


def test_the_penalty_is_the_mean_over_fields():
    kind, mean, scale = two_classes()
    sort = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    alone = [
        value_of(penalty({name: BOTH[name]}), mean, scale, **{name: field})
        for name, field in (("kind", kind), ("sort", sort))
    ]
    both = value_of(penalty(BOTH), mean, scale, kind=kind, sort=sort)
    assert both.item() == pytest.approx((alone[0] + alone[1]).item() / 2, rel=1e-5)


def test_classes_of_the_same_moments_share_no_information():
    kind = torch.tensor([0, 1] * 10)
    mean = torch.randn(10, 2).repeat_interleave(2, dim=0)
    assert value_of(penalty(), mean, torch.ones(20, 2), kind=kind).item() == pytest.approx(0, abs=1e-6)


def test_examples_without_a_label_do_not_count():
    kind, mean, scale = two_classes()
    more = torch.cat([kind, torch.tensor([-1, -1])])
    strange = value_of(
        penalty(), torch.cat([mean, torch.full((2, 2), 50.0)]), torch.cat([scale, torch.ones(2, 2)]), kind=more
    )
    assert strange.item() == pytest.approx(value_of(penalty(), mean, scale, kind=kind).item(), rel=1e-5)


def test_its_gradient_pulls_the_means_of_classes_together():
    kind, mean, scale = two_classes(requires_grad=True)
    value_of(penalty(), mean, scale, kind=kind).backward()
    assert (mean.grad[kind == 1, 0] > 0).all()  # a step down brings 3 nearer to 0
    assert (mean.grad[kind == 0, 0] < 0).all()
    assert mean.grad[:, 0].sum().item() == pytest.approx(0, abs=1e-6)  # and leaves the mean of all where it is
    assert mean.grad[:, 1].abs().max() < 1e-6


def test_running_averages_forget_old_batches_at_their_momentum():
    made = penalty({"kind": KIND["kind"]}, latent_dim=1, momentum=0.25)
    mean, kind = torch.tensor([[2.0], [4.0]]), torch.tensor([0, 1])
    for _ in range(2):
        value_of(made, mean, torch.ones(2, 1), kind=kind)
    share = 1 - 0.75**2
    assert made.first[:, 0].tolist() == pytest.approx([share * 2, share * 4])
    assert made.second[:, 0].tolist() == pytest.approx([1 + share * 4, 1 + share * 16])
    value_of(made, mean[:1], torch.ones(1, 1), kind=kind[:1])  # a class that the batch does not show stays
    assert made.first[1, 0].item() == pytest.approx(share * 4)


def test_a_small_momentum_keeps_the_scale_of_the_gradient():
    gradients = []
    for momentum in (1.0, 0.01):
        kind, mean, scale = two_classes(requires_grad=True)
        made = penalty(momentum=momentum)
        steady = InformationPenalty(momentum=1.0)
        steady.build(2, KIND)
        with torch.no_grad():
            value_of(steady, mean, scale, kind=kind)
        made.load_state_dict(steady.state_dict())  # averages that the batch confirms
        value_of(made, mean, scale, kind=kind).backward()
        gradients.append(mean.grad)
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-2, atol=1e-5)


# The adversary


def test_the_adversary_is_the_cross_entropy_below_chance():
    made = Adversary(hidden=8)
    made.build(3, BOTH)
    for head in made.heads:
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    fields = {"kind": torch.tensor([0, 1, -1]), "sort": torch.tensor([2, 0, 1])}
    assert made(torch.randn(3, 3), None, fields).item() == pytest.approx(0, abs=1e-6)
    made.heads[0].bias.data[0] = 5.0
    right = -math.log(1 / (1 + math.exp(-5)))
    expected = ((right + right + 5) / 2 - math.log(2)) / 2
    assert made(torch.randn(3, 3), None, fields).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_gradient_that_reaches_z_is_reversed_and_weighted():
    made = Adversary(weight=3.0, hidden=8)
    made.build(3, KIND)
    z, fields = torch.randn(10, 3, requires_grad=True), {"kind": torch.arange(10) % 2}
    made(z, None, fields).backward()
    found = [z.grad.clone(), *(parameter.grad.clone() for parameter in made.parameters())]
    z.grad = None
    made.zero_grad()
    nn.functional.cross_entropy(made.heads[0](made.trunk(z)), fields["kind"]).backward()
    plain = [z.grad, *(parameter.grad for parameter in made.parameters())]
    assert torch.allclose(found[0], -3 * plain[0], atol=1e-6)
    assert all(torch.allclose(own, other, atol=1e-6) for own, other in zip(found[1:], plain[1:], strict=True))


def test_a_batch_without_any_label_costs_nothing():
    made = Adversary(hidden=8)
    made.build(3, KIND)
    z = torch.randn(4, 3, requires_grad=True)
    term = made(z, None, {"kind": torch.full((4,), -1)})
    term.backward()
    assert term.item() == 0
    assert torch.equal(z.grad, torch.zeros(4, 3))


# In a model


@pytest.mark.parametrize("regulariser", [InformationPenalty, Adversary])
@pytest.mark.parametrize("attributes", [{}, {"age": Continuous()}])
def test_a_model_without_categories_has_nothing_to_remove(regulariser, attributes):
    with pytest.raises(ValueError, match="categorical condition out of z; this model has none"):
        regulariser().build(2, attributes)


def points(count):
    """Two coordinates that are 3 apart between the kinds, with deviation 1."""
    kind = torch.arange(count) % 2
    return torch.randn(count, 2) + 3.0 * kind.unsqueeze(1), kind


def draw(encoder, x, kind):
    """z and its posterior, from the point and its kind."""
    posterior = gaussian(encoder(torch.cat([x, kind.unsqueeze(1)], dim=1)), 0.3)
    return posterior.rsample(), posterior


@pytest.mark.parametrize("regulariser", [None, InformationPenalty(3.0), Adversary(3.0, hidden=16)])
def test_a_regulariser_takes_the_condition_out_of_z_and_leaves_the_rest(regulariser):
    encoder, decoder = nn.Linear(3, 2), nn.Linear(3, 2)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    if regulariser is not None:
        regulariser.build(2, KIND)
        parameters += regulariser.parameters()
    optimizer = torch.optim.Adam(parameters, lr=3e-2)
    for _ in range(600):
        x, kind = points(200)
        z, posterior = draw(encoder, x, kind)
        loss = (decoder(torch.cat([z, kind.unsqueeze(1)], dim=1)) - x).pow(2).sum(1).mean()
        if regulariser is not None:
            loss = loss + regulariser(z, posterior, {"kind": kind})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, kind = points(2000)
    z, _ = draw(encoder, x, kind)
    z = z.detach()
    accuracy = LogisticRegression().fit(z[:1000], kind[:1000]).score(z[1000:], kind[1000:])
    error = (decoder(torch.cat([z, kind.unsqueeze(1)], dim=1)) - x).pow(2).sum(1).mean()
    assert error < 0.25  # of 2 without z
    assert accuracy > 0.9 if regulariser is None else accuracy < 0.65
