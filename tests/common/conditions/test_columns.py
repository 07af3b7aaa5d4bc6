"""Columns of a user's table become the conditions that they are meant to be."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.conditions.columns import condition_columns, tidy

FILE = Path("t.csv")


def read(cells, **options):
    return condition_columns(pd.DataFrame({"a": cells}), FILE, **options)


@pytest.mark.parametrize(
    ("cells", "values", "positions"),
    [
        (["b", "a", None, "b"], ("a", "b"), [1, 0, -1, 1]),
        ([2, 10, 1, 2], ("1", "2", "10"), [1, 2, 0, 1]),
        ([2.0, float("nan"), 1.0], ("1", "2"), [1, -1, 0]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (["1", "2", "3+", "2"], ("1", "2", "3+"), [0, 1, 2, 1]),
        (["Yes", "yes", "No ", "Yes", "No"], ("No", "Yes"), [1, 1, 0, 1, 0]),
        (["NA", "None", "NA"], ("NA", "None"), [0, 1, 0]),
        (["nan", "2", "inf", "10"], ("2", "10", "inf", "nan"), [3, 0, 2, 1]),
    ],
)
def test_categories_have_one_name_each(cells, values, positions):
    columns = read(cells)
    assert columns.attributes == {"a": Categorical(values)}
    assert columns.fields["a"].tolist() == positions


def test_spellings_are_said():
    labels, notes = tidy(["Yes", "yes", "YES", "Yes", "no", None], "answer")
    assert labels == ["Yes", "Yes", "Yes", "Yes", "no", None]
    assert notes == ["answer: 'YES', 'yes' are taken for 'Yes'"]


def test_numbers_are_continuous_where_they_are_many_or_no_whole_ones():
    assert isinstance(read([0.5, 1.0]).attributes["a"], Continuous)
    assert isinstance(read(list(range(30))).attributes["a"], Continuous)
    assert isinstance(read([1, 2, 1]).attributes["a"], Categorical)
    numbers = read([1, 2, 1], continuous=["a"]).fields["a"]
    assert numbers.dtype == torch.float32


def test_a_cell_that_makes_numbers_text_is_named():
    cells = [str(number) for number in range(30)] + ["n/a"]
    with pytest.raises(ValueError, match=r"t\.csv, row 31, column a: 'n/a' is not a number, as 30 others are"):
        read(cells)
    with pytest.raises(ValueError, match=r"t\.csv, row 2, column a: 'x' is not a number: correct"):
        read(["1", "x"], continuous=["a"])


def test_names_of_rows_are_no_condition_unless_they_are_wanted():
    names = [f"person {number}" for number in range(180)]
    left_out = read(names)
    assert not left_out.attributes
    assert left_out.notes == [
        "left out as a condition: a, of which 180 of 180 cells differ (data.condition takes it in)"
    ]
    assert len(read(names, wanted=["a"]).attributes["a"].values) == 180
    assert len(read(names[:20]).attributes["a"].values) == 20
    assert len(read(names[:50] * 3).attributes["a"].values) == 50  # each stands for several rows


def test_types_of_json_are_not_mixed():
    with pytest.raises(ValueError, match="column a: 1 in row 1 is a number, 'x' in row 2 is a text: write all of them"):
        read([1, "x", 1])
    with pytest.raises(ValueError, match="is a truth value"):
        read([True, "x"])


@pytest.mark.parametrize("cell", [float("inf"), 1e300, -1e19])
def test_a_number_that_would_drown_the_others_is_named(cell):
    with pytest.raises(ValueError, match=r"t\.csv, row 2, column a: .* is too large a number to condition on"):
        read([1.5, cell, 2.5])


def test_an_empty_column_is_left_out_or_refused():
    assert read([None, None]).notes == ["left out as a condition: a, which is empty"]
    with pytest.raises(ValueError, match=r"t\.csv: the column a is empty"):
        read([None, None], wanted=["a"])


def test_letters_that_are_no_capitals_of_each_other_stay_apart():
    assert read(["Ma\u00dfe", "Masse"]).attributes["a"].values == ("Masse", "Ma\u00dfe")


def test_an_unknown_column_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"t\.csv has no column b; it has: a"):
        read([1, 2], wanted=["b"])
