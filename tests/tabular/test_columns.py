import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modalities.tabular.columns import encode_table, extended
from modalities.tabular.data.tables import abalone, anes96, scikit_table, synthetic
from modalities.tabular.likelihood import CensoredNormal
from modalities.tabular.networks.features import Features
from modalities.tabular.schema import fit_columns, infer_kind, read_schema, schema_of

TABLE = synthetic(500)


def test_kinds_are_read_off_dtypes_and_values():
    kinds = {column.name: column.kind for column in fit_columns(TABLE)}
    assert kinds == {
        "bend": "continuous", "wave": "continuous", "sum": "continuous", "income": "positive", "visits": "count",
        "grade": "ordinal", "member": "binary", "group": "categorical",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([True, False, None], "binary"),
        ([0, 1, 1, np.nan], "binary"),
        ([0.25, 0.75], "continuous"),
        (["a", "b", "c"], "categorical"),
        ([1, 2, 3, 4, np.nan], "ordinal"),
        (list(range(1900, 2000)), "continuous"),
        ([0, 1, 0, 3, 40, 5, 6, 7, 8, 9, 10, 11, 100], "count"),
        ([-1, 0, 1, 2], "continuous"),
        ([0, 0, 0, 0.4, 1.5, 0, 3.7], "nonnegative"),
        ([0, 0.4, 1.5, 3.7, -0.1], "continuous"),
        ([0, *np.linspace(0.1, 1, 30)], "continuous"),  # one zero in 31 is no value of its own
        ([5_000_000_000 + 100_000 * i for i in range(20)], "continuous"),
        (pd.date_range("2021-01-01", periods=3), "continuous"),
        (pd.Categorical(["a", "b", "a"], categories=["a", "b", "c"]), "categorical"),
    ],
)
def test_single_guesses(cells, kind):
    assert infer_kind(pd.Series(cells)) == kind


@pytest.mark.parametrize("table", [TABLE, synthetic(300, 0.3, 2)])
def test_encoding_is_inverted_for_every_kind(table):
    columns = fit_columns(table)
    x = encode_table(table, columns)
    assert (np.isnan(x) == table.isna().to_numpy()).all()
    for number, column in enumerate(columns):
        known = ~np.isnan(x[:, number])
        back = column.present(x[known, number].astype(float))
        cells = table[column.name][known]
        if column.discrete:
            assert list(back) == list(cells)
        else:
            assert back == pytest.approx(cells.to_numpy(dtype=float), rel=1e-4, abs=1e-4)


def test_statistics_are_those_of_the_training_rows():
    train = np.arange(100)
    column = fit_columns(TABLE[["sum"]], train=train)[0]
    assert column.location == pytest.approx(TABLE["sum"][:100].mean())
    assert column.scale == pytest.approx(TABLE["sum"][:100].std(ddof=0))


def test_features_are_standardised_and_inverted():
    columns = fit_columns(TABLE)
    x = torch.from_numpy(encode_table(TABLE, columns))
    layout = Features(columns)
    features, known = layout(x)
    assert known.all()
    assert features.mean(0).tolist() == pytest.approx([0] * layout.width, abs=1e-3)
    assert features.std(0, correction=0).tolist() == pytest.approx([1] * layout.width, abs=1e-2)
    assert torch.allclose(layout.invert(features), x, rtol=1e-3, atol=1e-3)


def test_missing_cells_have_no_features():
    columns = fit_columns(TABLE)
    features, known = Features(columns)(torch.full((2, len(columns)), float("nan")))
    assert not known.any()
    assert (features == 0).all()


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"member": ["maybe"]}, "row 1, column member: 'maybe' was not seen"),
        ({"sum": ["much"]}, "row 1, column sum: 'much' is not a number"),
        ({"sum": [np.inf]}, "is infinite"),
        ({"income": [-1.0]}, "is not positive"),
        ({"visits": [1.5]}, "is not a count"),
    ],
)
def test_a_cell_that_does_not_fit_names_itself(cells, message):
    row = TABLE.iloc[:1].astype(object).assign(**cells)
    with pytest.raises(ValueError, match=message):
        encode_table(row, fit_columns(TABLE), "mine.csv")


def test_missing_and_further_columns_are_named():
    columns = fit_columns(TABLE)
    with pytest.raises(ValueError, match=r"mine.csv lacks sum and has extra, which"):
        encode_table(TABLE.drop(columns="sum").assign(extra=1), columns, "mine.csv")


def test_a_schema_overrules_the_guess(tmp_path):
    path = tmp_path / "schema.yaml"
    path.write_text("visits: {kind: count, family: poisson}\ngroup: {kind: ordinal, values: [south, east, north]}\n")
    columns = {column.name: column for column in fit_columns(TABLE, read_schema(path))}
    assert columns["visits"].family == "poisson"
    assert columns["group"].values == ("south", "east", "north")


def test_the_schema_of_columns_keeps_what_their_values_are():
    table = pd.DataFrame(
        {"whole": [0, 1, 0], "half": [0.0, 0.5, 1.0], "truth": [True, False, True], "word": list("aba")}
    )
    columns = fit_columns(table, {"half": "ordinal"})
    again = fit_columns(table, schema_of(columns))
    assert [(c.values, c.numeric) for c in again] == [
        (("0", "1"), True), (("0", "0.5", "1"), True), (("False", "True"), True), (("a", "b"), False),
    ]  # fmt: skip
    present = [column.present(np.array([1.0])) for column in again]
    assert [cells[0] for cells in present] == [1, 0.5, True, "b"]
    assert [cells.dtype for cells in present] == [np.int64, np.float64, np.bool_, object]


def test_a_word_among_the_further_values_of_a_column_makes_it_one_of_words():
    known, fitted = (fit_columns(pd.DataFrame({"n": cells}))[0] for cells in ([0, 1, 1], ["0", "1", "unknown"]))
    column = extended(known, fitted)
    assert (column.values, column.numeric) == (("0", "1", "unknown"), False)
    assert column.present(np.arange(3.0)).tolist() == ["0", "1", "unknown"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"nothing": "count"}, "the schema names nothing"),
        ({"sum": "real"}, "'real' is no kind"),
        ({"sum": {"kind": "continuous", "family": "poisson"}}, "takes student_t, gaussian"),
        ({"group": "binary"}, "has 3 values"),
        ({"sum": "positive"}, "is not positive"),
    ],
)
def test_a_wrong_schema_is_refused(schema, message):
    with pytest.raises(ValueError, match=message):
        fit_columns(TABLE, schema)


def test_an_empty_column_is_refused():
    with pytest.raises(ValueError, match="column sum has no value"):
        fit_columns(TABLE.assign(sum=np.nan))


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5), st.floats(-1e3, 1e3)), min_size=2, max_size=30))
def test_any_column_of_numbers_has_a_kind_and_comes_back(cells):
    series = pd.Series(cells, dtype=float, name="n")
    if series.isna().all():
        return
    column = fit_columns(series.to_frame())[0]
    known = series.notna().to_numpy()
    back = column.present(column.encode(series)[known])
    assert np.asarray(back, dtype=float) == pytest.approx(series[known].to_numpy(), rel=1e-6, abs=1e-6)


@pytest.mark.extras
def test_the_installed_tables_are_understood():
    assert [column.kind for column in fit_columns(scikit_table("breast_cancer", target=True))][-1] == "binary"
    pytest.importorskip("sklego")
    assert {column.kind for column in fit_columns(abalone())} >= {"categorical", "count"}
    pytest.importorskip("statsmodels")
    assert {column.kind for column in fit_columns(anes96())} >= {"ordinal", "binary"}


def test_constant_and_nearly_constant_columns_are_told_apart_in_any_unit():
    for unit in (1e-12, 1.0, 1e15):
        table = pd.DataFrame({"a": [0.3 * unit] * 20, "b": unit * (1 + 1e-6 * np.arange(20.0))})
        constant, varying = fit_columns(table, {"a": "continuous", "b": "continuous"})
        assert constant.scale == 1
        assert varying.scale / unit == pytest.approx(1e-6 * np.arange(20.0).std(), rel=1e-6)


def test_a_column_of_numbers_that_one_cell_made_text_is_refused_with_the_cell():
    cells = [str(i / 2) for i in range(16)]
    table = pd.DataFrame({"x": [*cells, "12O"]})
    message = "column x was read as text and has 17 different values, because row 17: '12O' is not a number. Correct"
    with pytest.raises(ValueError, match=message):
        fit_columns(table)
    with pytest.raises(ValueError, match="because line 18: '12O' is not a number"):
        fit_columns(table.set_axis(pd.Index(range(2, 19), name="line")))
    assert fit_columns(table, {"x": "categorical"})[0].kind == "categorical"  # a person's word
    assert fit_columns(pd.DataFrame({"x": ["1", "2", "3", "1", "2", "none"]}))[0].kind == "categorical"  # codes


def test_a_column_of_many_texts_is_refused_and_said_to_be_text():
    table = pd.DataFrame({"x": [f"name {i}" for i in range(180)]})
    with pytest.raises(ValueError, match="column x was read as text and has 180 different values, more than 100"):
        fit_columns(table)


def test_a_cell_is_named_by_the_line_of_its_file():
    columns = fit_columns(TABLE)
    rows = TABLE.iloc[:2].astype(object).assign(sum=[1.0, "much"]).set_axis(pd.Index([2, 7], name="line"))
    with pytest.raises(ValueError, match=r"mine.csv, line 7, column sum: 'much' is not a number"):
        encode_table(rows, columns, "mine.csv")
    with pytest.raises(ValueError, match=r"mine.csv, line 2, column group: 'west' was not seen"):
        encode_table(rows.assign(sum=1.0, group="west"), columns, "mine.csv")


def test_an_unseen_value_can_be_missing():
    column = fit_columns(pd.DataFrame({"g": list("abcabc")}))[0]
    with pytest.warns(UserWarning, match=r"row 2, column g: 'new' was not seen in training.* \(2 such cells\)"):
        codes = column.encode(pd.Series(["c", "new", None, "other", "a"]), unseen="missing")
    assert np.array_equal(codes, [2, np.nan, np.nan, np.nan, 0], equal_nan=True)


def test_bounds_of_a_schema_hold_for_values_and_survive_in_the_schema_of_columns():
    schema = {"sum": {"kind": "continuous", "lower": -0.5, "upper": 0.5}}
    (column,) = fit_columns(TABLE[["sum"]], schema)
    assert column.present(np.array([-9.0, 0.0, 9.0])).tolist() == pytest.approx([-0.5, column.location, 0.5])
    assert schema_of([column])["sum"] == {"kind": "continuous", "family": "student_t", "lower": -0.5, "upper": 0.5}


def test_skewed_numbers_from_zero_on_are_imputed_from_zero_on():
    amounts = np.random.default_rng(0).exponential(size=200)
    amounts[0] = 0
    (column,) = fit_columns(pd.DataFrame({"x": amounts}))
    assert (column.kind, column.lower) == ("continuous", 0.0)
    assert column.present(np.array([-5.0, 0.0])).tolist() == [0.0, column.location]


def test_negative_cells_of_a_nonnegative_column_and_too_large_counts_are_refused():
    column = fit_columns(pd.DataFrame({"x": [0, 0, 0.5, 4.0]}), {"x": "nonnegative"})[0]
    with pytest.raises(ValueError, match="row 1, column x: -1 is negative, but the column is nonnegative"):
        column.encode(pd.Series([-1]))
    with pytest.raises(ValueError, match="too large for a count: name it positive or continuous"):
        fit_columns(pd.DataFrame({"x": [1, 2, 5_000_000_000]}), {"x": "count"})


def test_dates_are_days_and_come_back_as_they_are_written():
    for dates, unit in (
        (pd.date_range("2021-01-01", periods=5), "D"),
        (pd.date_range("2021-01-01 10:00:01", periods=5, tz="Europe/Berlin"), "s"),
        (pd.date_range("2021-01-01 10:00:01.5", periods=5), "us"),
    ):
        cells = pd.Series(dates, name="when")
        (column,) = fit_columns(cells.to_frame())
        assert (column.kind, column.date) == ("continuous", unit)
        back = pd.Series(column.present(column.encode(cells)))
        assert (back == cells.dt.tz_localize(None)).all()
    with pytest.raises(ValueError, match="'soon' is not a date"):
        column.encode(pd.Series(["soon"]))


def test_a_censored_normal_is_normalised_and_has_the_moments_of_its_draws():
    torch.manual_seed(0)
    p = CensoredNormal(torch.tensor([-1.0, 0.0, 2.0]).double(), torch.tensor([1.0, 2.0, 0.5]).double())
    grid = torch.linspace(0, 20, 200_001).double()[1:, None]
    mass = p.log_prob(torch.zeros(3)).exp()
    assert (mass + p.log_prob(grid).exp().sum(0) * 1e-4).tolist() == pytest.approx([1, 1, 1], abs=1e-4)
    draws = p.sample((100_000,))
    assert draws.min() == 0
    assert (draws == 0).double().mean(0).tolist() == pytest.approx(mass.tolist(), abs=0.01)
    assert draws.mean(0).tolist() == pytest.approx(p.mean.tolist(), abs=0.02)


def test_texts_that_look_like_numbers_stay_as_they_are():
    column = fit_columns(pd.DataFrame({"v": ["1.0", "2.0", "beta", "1"]}))[0]
    assert column.values == ("1", "1.0", "2.0", "beta")


def test_numbers_are_no_dates_and_extreme_ones_are_named():
    days = fit_columns(pd.DataFrame({"d": pd.date_range("2020-01-01", periods=5)}))[0]
    with pytest.raises(ValueError, match="2020 is not a date"):
        days.encode(pd.Series([2020]))
    number = fit_columns(pd.DataFrame({"n": [0.5, 1.5, 2.5, -1.25]}))[0]
    with pytest.raises(ValueError, match=r"1e\+39 is too large a number beside those of training"):
        number.encode(pd.Series([1e39]))
