"""Which options the next trial has: none twice, all of them where they are finite, and better ones by TPE."""

import statistics

import pytest

from common.sweeps.space import size, space
from common.sweeps.specification import read_sweep
from tests.common.sweeps.stub import write_sweep

pytest.importorskip("optuna", reason="the extra `sweeps` is not installed")
pytestmark = pytest.mark.extras


def proposed(sweep, count, running=False):
    """The options of some trials in turn, each told its figure or left running; they end where all have been tried."""
    from common.sweeps.extra import optuna
    from common.sweeps.proposals import proposal

    study = optuna.create_study(direction="maximize")
    parts, found = space(sweep), []
    distributions = {name: part.distribution() for name, part in parts.items()}
    for _ in range(count):
        points = proposal(sweep, parts, study)
        if points is None:
            break
        found.append(points)
        value = -((points["model.x"] - 3) ** 2) - points["model.y"] ** 2
        state = optuna.trial.TrialState.RUNNING if running else optuna.trial.TrialState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                state=state, value=None if running else value, params=points, distributions=distributions
            )
        )
    return found


@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
@pytest.mark.parametrize("running", [False, True])
def test_a_finite_space_is_tried_completely_and_nothing_twice(tmp_path, method, running):
    parameters = {"model.x": {"values": [1, 3, 5]}, "model.y": {"min": 0, "max": 3}}
    sweep = read_sweep(write_sweep(tmp_path, parameters, method))
    found = [tuple(points.values()) for points in proposed(sweep, 100, running)]
    assert len(found) == size(space(sweep)) == 12
    assert len(set(found)) == 12
    if method == "grid":
        assert found[:5] == [(1, 0), (1, 1), (1, 2), (1, 3), (3, 0)]


def test_the_same_sweep_draws_the_same_trials_again(tmp_path):
    parameters = {"model.x": {"min": 0.0, "max": 6.0}, "model.y": {"min": -3.0, "max": 3.0}}
    for method in ("random", "bayes"):
        sweep = read_sweep(write_sweep(tmp_path, parameters, method))
        assert proposed(sweep, 8) == proposed(sweep, 8)


def test_tpe_comes_closer_than_chance(tmp_path):
    parameters = {"model.x": {"min": -20.0, "max": 20.0}, "model.y": {"min": -20.0, "max": 20.0}}
    distances = {}
    for method in ("random", "bayes"):
        sweep = read_sweep(write_sweep(tmp_path, parameters, method))
        last = proposed(sweep, 40)[20:]
        distances[method] = statistics.median((p["model.x"] - 3) ** 2 + p["model.y"] ** 2 for p in last)
    assert distances["bayes"] < distances["random"] / 2
