"""Search spaces: what W&B's syntax means, and what is refused."""

import math

import pytest

from common.sweeps.space import combinations, constants, options, size, space
from common.sweeps.specification import read_sweep
from tests.common.sweeps.stub import write_sweep


def part(tmp_path, entry, method="random"):
    return space(read_sweep(write_sweep(tmp_path, {"model.x": entry}, method)))["model.x"]


def test_whole_numbers_and_steps_are_counted_and_others_are_endless(tmp_path):
    assert part(tmp_path, {"min": 1, "max": 4}).points == [1, 2, 3, 4]
    quantised = part(tmp_path, {"min": 0.0, "max": 1.0, "q": 0.25, "distribution": "q_uniform"})
    assert quantised.points == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert part(tmp_path, {"min": 0.0, "max": 1.0}).size == math.inf
    assert part(tmp_path, {"min": 0.1, "max": 1, "distribution": "log_uniform_values"}).log


def test_combinations_follow_the_file_and_lists_keep_their_values(tmp_path):
    parameters = {"model.x": {"values": [[1], [1, 2]]}, "model.y": {"min": 0, "max": 2}}
    sweep = read_sweep(write_sweep(tmp_path, parameters))
    parts = space(sweep)
    assert size(parts) == 6
    found = [options(parts, points) for points in combinations(parts)]
    assert found[:4] == [
        {"model.x": [1], "model.y": 0}, {"model.x": [1], "model.y": 1}, {"model.x": [1], "model.y": 2},
        {"model.x": [1, 2], "model.y": 0},
    ]  # fmt: skip
    assert constants(sweep) == {"trainer.max_epochs": 2, "seconds": 0.0}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"min": "1e-4", "max": 0.1}, "min is the text '1e-4'"),
        ({"min": 1, "max": 2.5}, "both be whole numbers or both have a point"),
        ({"min": 3, "max": 3}, "min must be less than max"),
        ({"min": 0.0, "max": 1.0, "distribution": "log_uniform_values"}, "above 0"),
        ({"min": 0.0, "max": 1.0, "distribution": "normal"}, "log_uniform_values; got"),
        ({"min": 0.0, "max": 1.0, "q": 0.3, "distribution": "q_uniform"}, "multiple of q"),
        ({"min": 0.0, "max": 1.0, "q": 0.5}, "q belongs to the distribution q_uniform"),
        ({"values": []}, "not empty"),
        ({"values": [1, 1.0]}, "two of its values are the same"),
        ({"values": [None, 1]}, "writes null as None"),
        ({"parameters": {"a": {"value": 1}}}, "one dotted option for each"),
    ],
)
def test_a_parameter_that_is_not_understood_is_named(tmp_path, entry, message):
    with pytest.raises(ValueError, match=r"parameters\.model\.x") as refused:
        part(tmp_path, entry)
    assert message in str(refused.value)


def test_a_grid_has_values_alone_and_a_sweep_searches_something(tmp_path):
    with pytest.raises(ValueError, match=r"parameters\.model\.x: a grid needs values"):
        part(tmp_path, {"min": 0.0, "max": 1.0}, method="grid")
    with pytest.raises(ValueError, match="nothing is searched"):
        part(tmp_path, {"value": 3})
