from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer
from torch import nn

from common.batch import Batch
from common.objectives.schedules import Constant, Cyclical, Linear, WarmupCosine, as_schedule
from tests.common.models import PointCVAE

values = st.floats(-10, 10)
linear = st.builds(Linear, values, values, st.integers(0, 1000))
cyclical = st.builds(Cyclical, values, values, st.integers(1, 1000), st.floats(0.01, 1), st.none() | st.integers(1, 5))


def test_constant_is_constant():
    assert [Constant(0.3)(step) for step in (0, 1, 10**9)] == [0.3] * 3


@pytest.mark.parametrize(("step", "value"), [(0, 2.0), (5, 3.0), (10, 4.0), (11, 4.0), (10**9, 4.0)])
def test_linear_rises_and_stays(step, value):
    assert Linear(2, 4, 10)(step) == pytest.approx(value)


def test_linear_over_no_steps_is_its_end():
    assert Linear(2, 4, 0)(0) == 4
    assert [Linear(2, 4, 0, delay=3)(step) for step in (2, 3)] == [2, 4]


def test_a_delayed_rise_begins_when_the_delay_is_over():
    assert [Linear(0, 1, 10, delay=100)(step) for step in (0, 100, 105, 110)] == [0, 0, 0.5, 1]


@pytest.mark.parametrize(
    ("step", "value"),
    [(0, 0.0), (20, 0.5), (40, 1.0), (99, 1.0), (100, 0.0), (120, 0.5), (199, 1.0), (200, 1.0), (220, 1.0)],
)
def test_two_cycles_rise_fall_and_stay_at_the_end(step, value):
    assert Cyclical(0, 1, period=100, rise=0.4, cycles=2)(step) == pytest.approx(value)


def test_cycles_without_a_number_go_on_for_ever():
    schedule = Cyclical(0, 1, period=100, rise=0.5)
    assert schedule(100 * 10**6) == 0
    assert schedule(100 * 10**6 + 25) == pytest.approx(0.5)


def test_a_rise_over_the_whole_period_has_no_plateau():
    schedule = Cyclical(0, 1, period=10, rise=1.0)
    assert [schedule(step) for step in range(11)] == pytest.approx([*(step / 10 for step in range(10)), 0])


@settings(max_examples=100, deadline=None)
@given(linear | cyclical, st.integers(0, 10_000))
def test_schedules_stay_between_start_and_end(schedule, step):
    low, high = sorted((schedule.start, schedule.end))
    assert low - 1e-9 <= schedule(step) <= high + 1e-9


@settings(max_examples=50, deadline=None)
@given(linear | cyclical, st.lists(st.integers(0, 10_000), min_size=2))
def test_schedules_depend_on_the_step_alone(schedule, steps):
    forwards = [schedule(step) for step in steps]
    backwards = [schedule(step) for step in reversed(steps)]
    assert forwards == backwards[::-1]


def test_a_number_stands_for_its_constant():
    assert as_schedule(2) == Constant(2.0)
    schedule = Linear()
    assert as_schedule(schedule) is schedule


# Learning rate


def learning_rates(steps, **arguments):
    """The learning rate of each optimiser step, for a base of .1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = WarmupCosine(optimizer, **arguments)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_warmup_rises_to_the_base_rate_and_the_cosine_ends_at_the_floor():
    rates = learning_rates(101, warmup=0.2, floor=0.1, total_steps=100)
    assert rates[:21] == pytest.approx([0.1 * (step + 1) / 21 for step in range(21)])
    assert rates[20] == pytest.approx(0.1)
    assert rates[60] == pytest.approx(0.1 * (0.1 + 0.9 / 2))  # half way down
    assert rates[100] == pytest.approx(0.01)
    assert all(later <= earlier for earlier, later in pairwise(rates[20:]))


def test_the_rate_stays_at_the_floor_beyond_the_end():
    assert learning_rates(40, warmup=0.1, floor=0.2, total_steps=20)[-1] == pytest.approx(0.02)


def test_no_warmup_starts_at_the_base_rate():
    assert learning_rates(1, warmup=0.0, total_steps=10) == pytest.approx([0.1])


class RateKeeper(Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def test_a_run_fills_in_its_own_length_and_warms_up_from_the_first_step(tmp_path):
    model = PointCVAE(latent_dim=2, scheduler=lambda optimizer: WarmupCosine(optimizer, warmup=0.5))
    loader = torch.utils.data.DataLoader([Batch(torch.randn(4, 3), {})] * 5, batch_size=None)
    keeper = RateKeeper()
    trainer = Trainer(
        max_epochs=2,
        callbacks=keeper,
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        devices=1,
    )
    trainer.fit(model, loader)
    expected = learning_rates(10, warmup=0.5, total_steps=10)
    assert keeper.rates == pytest.approx([rate / 100 for rate in expected])  # the base rate of Adam is .001
