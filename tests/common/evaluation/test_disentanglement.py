"""Scores of codes whose answers are known."""

import math

import numpy as np
import pytest
import torch

from common.evaluation.disentanglement import figures

FACTORS, ORDERED = ("kind", "size", "place"), ("size", "place")
SIZES = (3, 6, 10)


@pytest.fixture(scope="module")
def factors():
    """All combinations, ten of each, in random order."""
    grid = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), -1).reshape(-1, 3).repeat(10, 0)
    return np.random.default_rng(0).permutation(grid)


def scores(codes, factors):
    columns = {name: torch.from_numpy(factors[:, number]) for number, name in enumerate(FACTORS)}
    found = figures(torch.from_numpy(np.asarray(codes, float)), columns, ORDERED)
    assert {figure.n for figure in found.values()} == {len(factors)}
    return {name.removeprefix("test/"): figure.value for name, figure in found.items()}


def standardised(factors):
    return (factors - factors.mean(0)) / factors.std(0)


def test_a_code_that_is_the_factors_has_every_score(factors):
    found = scores(standardised(factors), factors)
    assert found["mig"] == pytest.approx(1, abs=0.01)
    # Classes of three values are told by one number up to its middle; the other units are at chance.
    assert 0.5 < found["sap"] < 1
    for name in ("dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae_score"):
        assert found[name] > 0.95, name


def test_a_constant_code_has_none(factors):
    found = scores(np.ones((len(factors), 4)), factors)
    assert found["dci_informativeness"] < 0.2  # chance for the kind, nothing of the others
    assert [value for name, value in found.items() if name != "dci_informativeness"] == [0] * 5


def test_a_code_that_has_each_factor_twice_is_disentangled_and_not_complete(factors):
    found = scores(np.repeat(standardised(factors), 2, axis=1), factors)
    assert found["mig"] == pytest.approx(0, abs=1e-6)
    assert found["sap"] == pytest.approx(0, abs=1e-6)
    assert found["dci_disentanglement"] > 0.95
    assert found["dci_completeness"] == pytest.approx(1 - math.log(2) / math.log(6), abs=0.05)
    assert found["factor_vae_score"] > 0.95


def test_a_rotated_code_is_informative_alone(factors):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    found, own = scores(standardised(factors) @ rotation, factors), scores(standardised(factors), factors)
    assert found["mig"] < 0.5
    assert found["sap"] < 0.8 * own["sap"]
    assert found["dci_disentanglement"] < 0.6
    assert found["dci_completeness"] < 0.6
    assert found["dci_informativeness"] > 0.7


def test_a_unit_of_noise_changes_little(factors):
    noise = np.random.default_rng(2).normal(size=(len(factors), 2))
    found, own = scores(np.hstack([standardised(factors), noise]), factors), scores(standardised(factors), factors)
    for name in ("mig", "sap", "dci_completeness", "dci_informativeness", "factor_vae_score"):
        assert found[name] == pytest.approx(own[name], abs=0.08), name


def test_scores_depend_on_the_seed_alone(factors):
    first, again = (scores(standardised(factors), factors) for _ in range(2))
    assert first == again
