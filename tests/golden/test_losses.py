"""A change of what training computes does not go unnoticed: losses of 20 steps against those on file."""

import json

import pytest

from tests.golden.cases import CASES, LOSSES, STEPS, losses

EXPECTED = json.loads(LOSSES.read_text())
TOLERANCE = 1e-3  # processors differ in the order of their sums; on one machine losses are equal to 1e-6


@pytest.mark.parametrize("name", CASES)
def test_training_gives_the_losses_on_file(name, tmp_path):
    found = losses(name, tmp_path)
    assert len(found) == STEPS + 1
    assert found == pytest.approx(EXPECTED[name], rel=TOLERANCE)


def test_every_case_is_on_file():
    assert EXPECTED.keys() == CASES.keys()
