import pytest
import torch

from modalities.tabular.fitting import Fitting, Member, fit_members, held_out_score, member_loss
from modalities.tabular.imputer import held_out_cells
from tests.tabular.models import CELLS, conditional, miwae

HELD_OUT = held_out_cells(~CELLS.isnan(), 2, 0.1, 0)


@pytest.mark.parametrize("make", [conditional, miwae])
def test_members_keep_the_weights_of_their_common_best_look(make):
    members, fitting = [make(), make()], Fitting(max_steps=45, check_every=15)
    history = fit_members(members, CELLS, HELD_OUT, fitting, seed=0)
    assert len(history) == 4
    kept = [
        held_out_score(model, CELLS, CELLS.masked_fill(hidden, float("nan")), fitting.proposals)
        for model, hidden in zip(members, HELD_OUT, strict=True)
    ]
    assert sum(kept) / 2 == pytest.approx(max(history), abs=1e-4)
    assert max(history) > history[0] + 1e-3


def test_training_stops_when_no_look_is_better():
    history = fit_members([miwae()], CELLS, HELD_OUT[:1], Fitting(max_steps=60, check_every=2, patience=2), seed=0)
    best = history.index(max(history))
    assert len(history) in (best + 3, 31)


def test_a_member_never_sees_the_cells_that_it_holds_out():
    weights = []
    for change in (0.0, 1.0):
        x = torch.where(HELD_OUT[0], CELLS + change, CELLS)
        member = Member(miwae(), x, HELD_OUT[0], Fitting(), seed=0)
        torch.manual_seed(1)
        member.train(3)
        weights.append(torch.cat([parameter.flatten() for parameter in member.model.parameters()]))
    assert torch.equal(*weights)


def test_the_weights_that_are_kept_are_a_running_average():
    member = Member(miwae(), CELLS, HELD_OUT[0], Fitting(average=0.5), seed=0)
    expected = member.model.decoder.linear.bias.detach().clone()
    for step in range(1, 4):
        member.train(1)
        expected += max(0.5, 1 / (step + 1)) * (member.model.decoder.linear.bias.detach() - expected)
    assert torch.allclose(member.averaged.decoder.linear.bias, expected, atol=1e-6)


def test_a_learned_prior_is_trained_with_a_part_of_each_row_given():
    model = conditional()
    torch.manual_seed(0)
    first = member_loss(model, CELLS[:100], 1)
    assert first.isfinite()
    first.backward()
    assert model.latent_prior.network[-1].weight.grad.abs().sum() > 0
