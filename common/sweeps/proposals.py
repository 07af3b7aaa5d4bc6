"""Which options the next trial has: all combinations in turn, at random, or by what earlier trials gave."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from common.sweeps.extra import optuna
from common.sweeps.space import Space, combinations, size
from common.sweeps.specification import Sweep

STARTUP = 5  # trials at random before TPE: half of Optuna's 10, as trainings are dear and sweeps short
DRAWS = 50  # attempts to draw a combination that no trial has had


def sampler(sweep: Sweep, number: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler for one trial, seeded by its number: a sweep that was killed goes on as one that was not."""
    seed = int(np.random.SeedSequence([0, number]).generate_state(1)[0])
    if sweep.method == "bayes":
        return optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def proposal(sweep: Sweep, parts: Space, study: optuna.Study) -> dict[str, Any] | None:
    """The options of the next trial, as Optuna names them; None where all combinations have been tried.

    Args:
        sweep: the specification.
        parts: its search space.
        study: the trials so far, among them those that are running.
    """
    trials = study.get_trials(deepcopy=False)
    taken = {_key(trial.params) for trial in trials}
    if len(taken) >= size(parts):
        return None
    untried = (points for points in combinations(parts) if _key(points) not in taken) if _finite(parts) else iter(())
    if sweep.method == "grid":
        return next(untried)
    # The draws are made in a copy: the storage never holds a trial that will not run.
    copy = optuna.create_study(direction=study.direction, sampler=sampler(sweep, len(trials)))
    copy.add_trials(trials)
    distributions = {name: part.distribution() for name, part in parts.items()}
    for _ in range(DRAWS):
        points = copy.ask(distributions).params
        if _key(points) not in taken:
            return points
    left = list(itertools.islice(untried, 10_000))
    return left[int(np.random.default_rng(len(trials)).integers(len(left)))]


def _finite(parts: Space) -> bool:
    return size(parts) < math.inf


def _key(points: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(points.items()))
