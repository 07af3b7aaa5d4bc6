from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from common.data.splits import some_rows
from modalities.tabular import CVAEImputer
from modalities.tabular.data.masks import mcar
from modalities.tabular.data.tables import synthetic
from modalities.tabular.imputation import imputer as module
from modalities.tabular.imputation import sampling
from modalities.tabular.imputation.fitting import Fitting

QUICK = {"members": 1, "max_steps": 20, "proposals": 20, "draws": 20, "hidden": 16, "random_state": 0}


@parametrize_with_checks([CVAEImputer(**QUICK)])
def test_it_is_a_scikit_learn_estimator(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def fitted():
    table = synthetic(300, missing=0.2, seed=1)
    return CVAEImputer(**QUICK | {"members": 2, "max_steps": 60}).fit(table), table


def test_a_data_frame_comes_back_filled_with_its_dtypes_order_index_and_observed_cells(fitted):
    imputer, table = fitted
    table = table.set_axis(range(1000, 1000 + len(table)))
    filled = imputer.transform(table)
    assert not filled.isna().any().any()
    assert list(filled.columns) == list(table.columns)
    assert filled.index.equals(table.index)
    assert (filled.dtypes == table.dtypes).all()
    known = table.notna()
    for name in table.columns:
        assert list(filled[name][known[name]]) == list(table[name][known[name]])
    assert (filled["visits"] == filled["visits"].round()).all()
    assert set(filled["grade"]) <= {"low", "fair", "good", "best"}


def test_the_names_of_its_columns_are_those_of_the_input(fitted):
    imputer, table = fitted
    assert list(imputer.get_feature_names_out()) == list(table.columns)
    assert list(imputer.get_feature_names_out(table.columns)) == list(table.columns)
    with pytest.raises(ValueError, match="not equal to feature_names_in_"):
        imputer.get_feature_names_out(table.columns[::-1])
    imputer.set_output(transform="pandas")
    assert list(imputer.transform(table).columns) == list(table.columns)


def test_a_row_is_filled_alike_alone_and_among_others(fitted):
    imputer, table = fitted
    together = imputer.transform(table)
    for row in (0, 7, 100):
        alone = imputer.transform(table.iloc[[row]])
        for name in table.columns:
            first, second = alone[name].iloc[0], together[name].iloc[row]
            assert first == (pytest.approx(second, rel=1e-3, abs=1e-3) if isinstance(second, float) else second)


def test_imputations_differ_and_intervals_hold_them(fitted):
    imputer, table = fitted
    first, second = imputer.impute(table, 2)
    hole = table["sum"].isna()
    assert (first["sum"][hole] != second["sum"][hole]).mean() > 0.9
    assert (first["sum"][~hole] == second["sum"][~hole]).all()
    done = imputer.complete(table)
    position = list(table.columns).index("sum")
    low, high = done.low[hole, position], done.high[hole, position]
    assert (low < high).all()
    assert ((first["sum"][hole] > low) & (first["sum"][hole] < high)).mean() > 0.6


def test_the_same_seed_gives_the_same_imputer():
    x = load_iris().data.copy()
    x[mcar(x.shape, 0.3, 0)] = np.nan
    first, second = (CVAEImputer(**QUICK).fit_transform(x) for _ in range(2))
    assert np.array_equal(first, second)


def test_it_drops_into_a_pipeline():
    data = load_iris()
    x = data.data.copy()
    x[mcar(x.shape, 0.3, 0)] = np.nan
    pipeline = make_pipeline(CVAEImputer(**QUICK), LogisticRegression(max_iter=500))
    assert pipeline.fit(x, data.target).score(x, data.target) > 0.8


def test_it_beats_the_mean_on_correlated_columns_for_every_seed():
    x = load_iris().data
    x = (x - x.mean(0)) / x.std(0)
    hidden = mcar(x.shape, 0.3, 3)
    filled = CVAEImputer(**QUICK).fit_transform(np.where(hidden, np.nan, x))
    assert ((filled - x)[hidden] ** 2).mean() < 0.6  # the mean's is 1
    assert np.array_equal(filled[~hidden], x[~hidden])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(group="west"), "'west' was not seen"),
        (lambda t: t.drop(columns="group"), "group"),
        (lambda t: t.assign(more=1), "more"),
        (lambda t: t.assign(income=-1.0), "is not positive"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(fitted, change, message):
    imputer, table = fitted
    with pytest.raises(ValueError, match=message):
        imputer.transform(change(table))


def test_a_row_without_any_observed_cell_is_filled_with_what_is_usual(fitted):
    imputer, table = fitted
    empty = table.iloc[:1].copy()
    empty.loc[:, :] = np.nan
    filled = imputer.transform(empty.astype(table.dtypes))
    assert filled["sum"].iloc[0] == pytest.approx(table["sum"].mean(), abs=0.7 * table["sum"].std())


def test_its_training_options_are_those_of_fitting():
    options = CVAEImputer().get_params()
    for name in ("max_steps", "learning_rate", "batch_size", "patience"):
        assert options[name] == getattr(Fitting(), name)


def test_some_rows_are_all_of_a_short_table_and_a_random_part_of_a_long_one():
    assert some_rows(50, 50, 0).tolist() == list(range(50))
    drawn = some_rows(10_000, 400, 0)
    assert len(drawn.unique()) == 400
    assert drawn.double().mean().item() == pytest.approx(5000, abs=500)  # its standard error is 144
    assert torch.equal(some_rows(10_000, 100, 0), drawn[:100])
    assert not torch.equal(some_rows(10_000, 400, 1), drawn)


def test_a_sorted_table_is_seen_from_end_to_end_where_a_part_of_it_decides(monkeypatch):
    """Size, start and width of the intervals come from some rows: the first 100 have a mean of -1.3 deviations."""
    seen = {"size": [], "start": [], "intervals": []}

    def recording(name, function, position):
        def call(*arguments, **options):
            seen[name].append(arguments[position])
            return function(*arguments, **options)

        return call

    for name in ("CHOICE_ROWS", "START_ROWS", "INTERVAL_ROWS"):
        monkeypatch.setattr(module, name, 100)
    monkeypatch.setattr(module, "choose_factors", recording("size", module.choose_factors, 0))
    monkeypatch.setattr(module, "impute_rows", recording("intervals", module.impute_rows, 1))
    start = recording("start", module.FactorAnalysis.fit, 0)
    monkeypatch.setattr(module, "FactorAnalysis", mock.Mock(fit=start))
    place = np.linspace(0, 1, 400)
    CVAEImputer(**QUICK | {"members": 2}).fit(np.stack([place, place**2, -place], axis=1))
    assert {name: len(parts) for name, parts in seen.items()} == {"size": 1, "start": 3, "intervals": 2}
    for part in (part for parts in seen.values() for part in parts):
        assert len(part) == 100
        assert part[:, 0].nanmean().item() == pytest.approx(0, abs=0.35)


SMALL = {"members": 2, "max_steps": 10, "proposals": 20, "draws": 20, "hidden": 8, "latent_dim": 2, "random_state": 0}


def amounts(rows=200, share=0.25):
    """Four correlated columns: a number, a skewed one, one that is zero in half of its rows, and another number."""
    rng = np.random.default_rng(0)
    z, noise = rng.normal(size=(rows, 2)), 0.3 * rng.normal(size=(rows, 4))
    columns = (z[:, 0], np.exp(z[:, 0] + noise[:, 1]), np.maximum(0, z[:, 1] + noise[:, 2]), 3 * z[:, 1] + noise[:, 3])
    x = np.stack(columns, axis=1)
    return x, np.random.default_rng(1).random(x.shape) < share


@pytest.mark.parametrize("read", [np.asarray, lambda x: pd.DataFrame(x, columns=list("abcd"))])
def test_the_unit_of_a_column_changes_its_imputations_in_nothing_but_the_unit(read):
    x, holes = amounts(100)
    x[holes] = np.nan
    few = SMALL | {"members": 1, "max_steps": 5}
    expected, deviation = np.asarray(CVAEImputer(**few).fit_transform(read(x))), np.nanstd(x, axis=0)
    for unit, shift in ((np.array([1e-9, 1e12, 1e-9, 1e12]), 0), (1e12, 0), (1, np.array([1e9, 0, 0, -1e7]))):
        found = (np.asarray(CVAEImputer(**few).fit_transform(read(x * unit + shift))) - shift) / unit
        assert np.abs((found - expected) / deviation).max() < 1e-4


def test_large_whole_numbers_are_imputed_each_by_its_own_row():
    """Their deviation is 5e-7 of them, or they are more than a count can be."""
    z = np.random.default_rng(0).normal(size=200)
    for spread in (2e3, 1e7):
        table = pd.DataFrame(
            {"id": 5e9 + np.round(spread * z), "near": z + 0.1 * np.random.default_rng(1).normal(size=200)}
        )
        hidden = np.arange(200) % 4 == 0
        filled = CVAEImputer(**SMALL | {"members": 1, "max_steps": 5, "latent_dim": 1}).fit_transform(
            table.assign(id=table["id"].mask(hidden))
        )
        assert filled["id"][hidden].nunique() > 40
        assert np.corrcoef(filled["id"][hidden], table["id"][hidden])[0, 1] > 0.95
        assert (filled["id"] == filled["id"].round()).all()


def test_amounts_with_zeros_are_imputed_by_amounts_with_zeros():
    x, holes = amounts(400)
    table = pd.DataFrame(x, columns=list("abcd")).mask(holes)
    imputer = CVAEImputer(**SMALL).fit(table)
    assert [column.kind for column in imputer.columns_] == ["continuous", "positive", "nonnegative", "continuous"]
    draws, completed = imputer.impute(table, 20), imputer.complete(table)
    values = np.concatenate([draw["c"][holes[:, 2]] for draw in draws])
    assert values.min() == 0
    assert 0.25 < (values == 0).mean() < 0.75
    for part in (imputer.transform(table).to_numpy(), completed.point, completed.low, completed.high):
        assert (part[:, 2] >= 0).all()
    inside = (completed.low <= x + 1e-6) & (x - 1e-6 <= completed.high)
    assert inside[holes[:, 2], 2].mean() > 0.8


def test_an_array_of_amounts_is_imputed_by_amounts_and_never_refused():
    x, holes = amounts()
    imputer = CVAEImputer(**SMALL).fit(np.where(holes, np.nan, x))
    completed = imputer.complete(np.where(holes, np.nan, x))
    assert min(part[:, 2].min() for part in (completed.point, completed.low)) >= 0
    assert np.isfinite(imputer.transform(np.where(holes, np.nan, x - 1))).all()


@pytest.mark.parametrize("learned_prior", [False, True])
def test_a_draw_is_the_same_however_many_there_are(learned_prior):
    table = synthetic(60, missing=0.2, seed=1)
    imputer = CVAEImputer(**SMALL, learned_prior=learned_prior).fit(table)
    few, many = imputer.impute(table, 5), imputer.impute(table, 20)
    assert all(first.equals(second) for first, second in zip(few, many, strict=False))
    assert not many[0].equals(many[2])  # of the same member


def test_rows_are_imputed_in_blocks_without_a_change(monkeypatch):
    x, holes = amounts(60)
    x[holes] = np.nan
    imputer = CVAEImputer(**SMALL).fit(x)
    whole = imputer.transform(x), imputer.log_likelihood(x, amounts(60)[0])
    monkeypatch.setattr(sampling, "CELLS", 2_000)  # 10 rows at a time
    monkeypatch.setattr(sampling, "CACHED", 1_000)
    monkeypatch.setattr(module, "CELLS", 2_000)
    assert imputer.transform(x) == pytest.approx(whole[0], abs=1e-4)
    assert imputer.log_likelihood(x, amounts(60)[0]) == pytest.approx(whole[1], rel=1e-3, abs=1e-3)
    completed = imputer.complete(x)
    assert completed.point == pytest.approx(whole[0], abs=1e-4)
    assert ((completed.low < completed.high) == holes)[:, [0, 1, 3]].all()
