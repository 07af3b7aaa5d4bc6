"""Errors of means over examples of groups, against the deviation of such means over many data sets."""

import numpy as np
import pytest
import torch

from common.clusters import by_group
from common.results import Measurement


def test_without_groups_and_with_groups_of_one_nothing_changes():
    values = np.array([3.0, 1.0, 2.0])
    assert by_group(values, None) is values
    assert by_group(values, np.array([7, 5, 6])) is values
    assert (
        Measurement.mean(torch.tensor([3.0, 1.0, 2.0]), "nats", "exact", torch.tensor([7, 5, 6])).estimator == "exact"
    )


def test_copies_of_an_example_say_no_more_than_the_example():
    values = np.random.default_rng(0).normal(size=40)
    once = Measurement.mean(torch.from_numpy(values), "nats", "exact")
    copies = Measurement.mean(
        torch.from_numpy(values.repeat(5)), "nats", "exact", torch.arange(40).repeat_interleave(5)
    )
    assert copies.value == pytest.approx(once.value)
    assert copies.stderr == pytest.approx(once.stderr)
    assert (copies.n, copies.estimator) == (200, "exact, error of 40 groups")


def test_the_error_is_that_of_means_over_groups_of_many_sizes_drawn_anew():
    random = np.random.default_rng(0)
    means, errors, naive = [], [], []
    for _ in range(600):
        owner = np.repeat(np.arange(60), random.integers(1, 9, size=60))
        values = 10 + random.normal(size=60)[owner] + random.normal(size=len(owner))
        apart = by_group(values, owner)
        assert apart.mean() == pytest.approx(values.mean())
        means.append(values.mean())
        errors.append(apart.std(ddof=1) / 60**0.5)
        naive.append(values.std(ddof=1) / len(values) ** 0.5)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.08)
    assert np.mean(naive) < 0.65 * np.std(means)


def test_a_single_group_has_no_error():
    assert Measurement.mean(torch.tensor([1.0, 2.0]), "nats", "exact", torch.tensor([3, 3])).stderr is None
