import pytest
import torch

from modalities.tabular.imputation.fitting import (
    Fitting,
    Member,
    cross_validate,
    fit_member,
    held_out_score,
    member_loss,
)
from modalities.tabular.imputation.imputer import held_out_cells
from tests.tabular.models import CELLS, conditional, miwae

HELD_OUT = held_out_cells(~CELLS.isnan(), 2, 0.1, 0)


@pytest.mark.parametrize("make", [conditional, miwae])
def test_folds_are_left_with_their_weights_of_the_common_best_look(make):
    folds, fitting = [make(), make()], Fitting(min_steps=15, max_steps=45, check_every=15)
    steps, history = cross_validate(folds, CELLS, HELD_OUT, fitting, seed=0)
    assert len(history) == 4
    kept = [
        held_out_score(model, CELLS, CELLS.masked_fill(hidden, float("nan")), fitting.proposals)
        for model, hidden in zip(folds, HELD_OUT, strict=True)
    ]
    assert steps == 15 * (1 + history[1:].index(max(history[1:])))
    assert sum(kept) / 2 == pytest.approx(max(history[1:]), abs=1e-4)


def test_the_search_ends_when_no_look_is_better_but_not_before_the_least_number_of_steps():
    fitting = Fitting(min_steps=20, max_steps=80, check_every=2, patience=2)
    steps, history = cross_validate([miwae()], CELLS, HELD_OUT[:1], fitting, seed=0)
    assert 20 <= steps <= 80
    assert len(history) - 1 in (steps // 2 + 2, 40)
    assert history[steps // 2] == max(history[10:])


def test_fewer_steps_than_between_two_checks_are_taken_all_the_same():
    before = miwae().decoder.linear.weight
    for most, history_length in ((7, 2), (0, 1)):
        model = miwae()
        steps, history = cross_validate([model], CELLS, HELD_OUT[:1], Fitting(max_steps=most), seed=0)
        assert (steps, len(history)) == (most, history_length)
        assert torch.equal(model.decoder.linear.weight, before) == (most == 0)


def test_a_member_never_sees_the_cells_that_it_holds_out():
    weights = []
    for change in (0.0, 1.0):
        x = torch.where(HELD_OUT[0], CELLS + change, CELLS)
        member = Member(miwae(), x, HELD_OUT[0], Fitting(), seed=0)
        torch.manual_seed(1)
        member.train(3)
        weights.append(torch.cat([parameter.flatten() for parameter in member.model.parameters()]))
    assert torch.equal(*weights)


def test_a_learned_prior_is_trained_with_a_part_of_each_row_given():
    model = conditional()
    torch.manual_seed(0)
    first = member_loss(model, CELLS[:100], 1)
    assert first.isfinite()
    first.backward()
    assert model.latent_prior.network[-1].weight.grad.abs().sum() > 0


def test_the_number_of_steps_and_the_seed_decide_a_member():
    fitted = [miwae() for _ in range(3)]
    for model, steps, seed in zip(fitted, (4, 4, 5), (0, 0, 0), strict=True):
        torch.manual_seed(1)
        fit_member(model, CELLS, steps, Fitting(), seed)
        assert not model.training
    weights = [model.decoder.linear.weight for model in fitted]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
