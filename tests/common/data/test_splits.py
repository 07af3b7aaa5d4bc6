from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.data.splits import given_split, hashed_split, random_split, split_column, spread

NAMES = [f"file {number}" for number in range(200)]


@pytest.mark.parametrize("shares", [(-1, 0.2), (0.1, -0.1), (1.0, 0.0), (0.6, 0.4), (float("nan"), 0.1)])
def test_shares_that_are_none_are_refused_however_rows_are_split(shares):
    for split in (lambda: random_split(10, shares, 0), lambda: hashed_split(list("abcdefghij"), shares)):
        with pytest.raises(ValueError, match=r"data\.shares .* must leave something to train on"):
            split()


def sides(splits):
    rows = torch.cat(list(splits.values()))
    assert sorted(rows.tolist()) == list(range(len(rows)))  # each row once
    return {row: name for name, part in splits.items() for row in part.tolist()}


@given(st.lists(st.integers(0, 30), min_size=100, max_size=100))
def test_each_category_has_an_example_in_training(labels):
    names, field = NAMES[:100], torch.tensor(labels)
    side = sides(hashed_split(names, (0.2, 0.2), [field]))
    assert {labels[row] for row, name in side.items() if name == "train"} == set(labels)
    plain = sides(hashed_split(names, (0.2, 0.2)))
    moved = [row for row in side if side[row] != plain[row]]
    assert len({labels[row] for row in moved}) == len(moved)  # no more than one of a category


def test_rows_of_one_name_go_to_training_together():
    names = [*NAMES[:100], "rare", "rare"]
    position = next(n for n in range(1000) if sides(hashed_split([*NAMES, f"n{n}"], (0.2, 0.2)))[200] == "test")
    names[-2:] = [f"n{position}"] * 2
    field = torch.tensor([0] * 100 + [1, 2])
    side = sides(hashed_split(names, (0.2, 0.2), [field]))
    assert side[100] == side[101] == "train"


def test_a_condition_whose_values_all_differ_leaves_the_splits_alone():
    assert sides(hashed_split(NAMES, (0.2, 0.2), [torch.arange(200)])) == sides(hashed_split(NAMES, (0.2, 0.2)))


def test_given_splits_are_kept():
    side = sides(given_split(["train"] * 100 + ["val"] * 50 + ["test"] * 50, NAMES, (0.1, 0.1)))
    assert [side[row] for row in range(200)] == ["train"] * 100 + ["val"] * 50 + ["test"] * 50


@pytest.mark.parametrize("there", ["val", "test"])
def test_a_split_that_is_not_given_is_cut_from_training(there):
    side = sides(given_split(["train"] * 150 + [there] * 50, NAMES, (0.1, 0.2)))
    other = "test" if there == "val" else "val"
    assert [side[row] for row in range(150, 200)] == [there] * 50
    assert 5 < sum(name == other for name in side.values()) < 50


def test_a_category_stays_in_training_where_a_split_is_cut_from_it():
    names = [f"name {number}" for number in range(200)]
    plain = sides(given_split(["train"] * 150 + ["val"] * 50, names, (0.1, 0.2)))
    cut = next(row for row, name in plain.items() if name == "test")
    rare = (torch.arange(200) == cut).long()
    assert sides(given_split(["train"] * 150 + ["val"] * 50, names, (0.1, 0.2), [rare]))[cut] == "train"


def test_splits_without_training_are_refused():
    with pytest.raises(ValueError, match="the data name the splits test, and none is for training"):
        given_split(["test"] * 3, NAMES[:3], (0.1, 0.1))


def test_a_column_of_splits_is_no_condition():
    table = pd.DataFrame({"a": [1, 2, 3], "Split": ["train", " Validation", "TEST"]})
    rest, splits = split_column(table, Path("t.csv"))
    assert list(rest.columns) == ["a"]
    assert splits == ["train", "val", "test"]
    other = pd.DataFrame({"split": ["banana", "peel"]})
    assert split_column(other, Path("t.csv"))[1] is None
    table.loc[1, "Split"] = "tran"
    with pytest.raises(ValueError, match=r"t\.csv, row 2, column Split: 'tran' is no split; there are train, val"):
        split_column(table, Path("t.csv"))


@given(st.integers(0, 500), st.integers(1, 600))
def test_a_part_of_the_examples_is_spread_over_all_of_them(count, limit):
    places = spread(count, limit)
    assert len(places) == min(count, limit)
    assert places == sorted(set(places))
    assert spread(count, None) == list(range(count))
    if places:
        gaps = {after - before for before, after in zip([*places], [*places[1:], count], strict=True)}
        assert max(gaps) - min(gaps) <= 1  # two of three are not the first two thirds
