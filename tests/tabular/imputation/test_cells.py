"""Whatever the dtypes of a table are, observed cells are not touched and filled ones are of the same kind."""

import datetime

import numpy as np
import pandas as pd
import pytest

from modalities.tabular import CVAEImputer
from modalities.tabular.imputation.cells import put

QUICK = {"members": 1, "max_steps": 20, "proposals": 20, "draws": 20, "hidden": 8, "latent_dim": 1, "random_state": 0}
ROWS = 120
Z = np.random.default_rng(0).normal(size=ROWS)
GRADE = np.digitize(Z, [-1, 0, 1])
DAYS = pd.Timestamp("2021-01-01") + pd.to_timedelta(np.round(100 * Z), unit="D")
WHOLE = {
    "number": pd.Series(Z),
    "float32": pd.Series(Z, dtype="float32"),
    "category": pd.Series(pd.Categorical(np.where(Z > 0, "hi", "lo"), categories=["never", "lo", "hi"])),
    "ordered": pd.Series(pd.Categorical(GRADE, ordered=True)),
    "truth": pd.Series((Z > 0).tolist(), dtype=object),
    "Int64": pd.Series(np.round(5e9 + 1000 * Z)).astype("Int64"),
    "Int8": pd.Series(GRADE).astype("Int8"),
    "boolean": pd.Series(Z > 0).astype("boolean"),
    "string": pd.Series(np.where(Z > 0, "yes", "no")).astype("string"),
    "text": pd.Series(np.where(Z > 0, "yes", "no")),
    "labels": pd.Series([datetime.date(2021, 1, 1 + int(grade)) for grade in GRADE], dtype=object),
    "day": pd.Series(DAYS),
    "moment": pd.Series(DAYS + pd.Timedelta(seconds=1)).dt.tz_localize("Europe/Berlin"),
}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    columns = {}
    for name, cells in WHOLE.items():
        columns[name] = cells.mask(rng.random(ROWS) < 0.2)
    return pd.DataFrame(columns).set_axis(range(7, 7 + ROWS))


@pytest.fixture(scope="module")
def imputer(table):
    return CVAEImputer(**QUICK).fit(table)


@pytest.mark.parametrize("name", WHOLE)
def test_a_column_comes_back_filled_with_its_dtype_and_its_observed_cells(imputer, table, name):
    for filled in (imputer.transform(table), *imputer.impute(table, 1)):
        known = table[name].notna()
        assert filled[name].dtype == table[name].dtype == WHOLE[name].dtype
        assert filled[name].index.equals(table.index)
        assert filled[name][known].equals(table[name][known])
        assert not filled[name].isna().any()
    hidden, truth = filled[name][~known], WHOLE[name][~known.to_numpy()]
    if imputer.columns_[list(WHOLE).index(name)].discrete:
        assert set(hidden) <= set(truth) | set(WHOLE[name])
        assert {type(cell) for cell in hidden} == {type(cell) for cell in truth}


def test_dates_are_imputed_near_the_truth_and_as_exactly_as_they_are_written(imputer, table):
    filled, hidden = imputer.transform(table), table["day"].isna()
    assert (filled["day"] == filled["day"].dt.normalize()).all()
    assert (filled["moment"] == filled["moment"].dt.floor("s")).all()
    error = (filled["day"] - pd.Series(WHOLE["day"].array, index=table.index))[hidden] / pd.Timedelta(days=1)
    assert error.abs().mean() < 50  # their deviation is 100 days


def test_an_array_of_objects_is_filled_as_the_frame(imputer, table):
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        filled = imputer.transform(table.to_numpy(dtype=object))
    expected = imputer.transform(table).astype(object)
    for position, name in enumerate(table.columns):
        if imputer.columns_[position].discrete:
            assert list(filled[:, position]) == list(expected[name])
        assert {type(cell) for cell in filled[:, position]} == {type(cell) for cell in expected[name]}


def test_a_category_that_a_frame_lacks_is_added_to_its_dtype_in_place_of_nan():
    cells = pd.Series(pd.Categorical([None, "lo"], categories=["lo"]))
    filled = put(cells, np.array([True, False]), ["hi"])
    assert list(filled) == ["hi", "lo"]
    assert list(filled.cat.categories) == ["lo", "hi"]


def test_whole_numbers_stay_within_their_dtype():
    cells = pd.Series([0, 3], dtype="uint8")
    assert put(cells, np.array([True, False]), [-4.2]).tolist() == [0, 3]
    assert put(cells, np.array([True, False]), [300.0]).tolist() == [255, 3]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (pd.Series([None, None, None], dtype="Int16"), 0),
        (pd.Series([None, None, None], dtype="string"), "missing_value"),
        (pd.Series(pd.Categorical([None, None, None], categories=["a"])), "missing_value"),
        (pd.Series([pd.NaT] * 3, dtype="datetime64[ns, UTC]"), pd.Timestamp(0, tz="UTC")),
    ],
)
def test_a_kept_column_without_any_cell_is_filled_with_nothing_and_keeps_its_dtype(cells, expected):
    table = pd.DataFrame({"x": [1.0, 2.5, np.nan], "empty": cells})
    filled = CVAEImputer(**QUICK, keep_empty_features=True).fit_transform(table)
    assert list(filled["empty"]) == [expected] * 3
    assert isinstance(filled["empty"].dtype, type(cells.dtype))
