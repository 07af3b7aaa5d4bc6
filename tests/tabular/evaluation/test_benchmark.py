import sys
from datetime import UTC, datetime
from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from modalities.tabular.columns import encode_table, fit_columns
from modalities.tabular.data.masks import mcar
from modalities.tabular.data.tables import abalone, synthetic
from modalities.tabular.evaluation import baselines
from modalities.tabular.evaluation.benchmark import results, run_protocol
from modalities.tabular.evaluation.metrics import imputation_metrics
from modalities.tabular.imputation.filled import decoded


def test_the_protocol_measures_every_method_over_masks():
    rows = run_protocol("iris", ["mean / mode", "kNN-5", "factor analysis"], range(3))
    for figures in rows.values():
        assert figures["mse"].n == 3
        assert figures["mse"].stderr > 0
    assert rows["mean / mode"]["mse"].value == pytest.approx(1.03, abs=0.1)
    assert rows["factor analysis"]["mse"].value < 0.7
    assert 0.8 < rows["factor analysis"]["coverage"].value < 0.98


def test_masks_are_exactly_half_of_the_cells_and_differ():
    assert mcar((150, 4), 0.5, 0).sum() == 300
    assert (mcar((150, 4), 0.5, 0) != mcar((150, 4), 0.5, 1)).any()


@pytest.mark.parametrize("name", ["mean / mode", "kNN-5", "IterativeImputer, BayesianRidge", "factor analysis"])
def test_baselines_fill_mixed_tables_and_leave_observed_cells(name):
    table = synthetic(200)
    columns = fit_columns(table)
    truth = decoded(encode_table(table, columns).astype(float), columns)
    hidden = mcar(truth.shape, 0.3, 0)
    filled = baselines.METHODS[name](table.mask(hidden), columns, 0)
    assert np.isfinite(filled.point).all()
    assert filled.point[~hidden] == pytest.approx(truth[~hidden], rel=1e-3, abs=1e-3)
    figures = imputation_metrics(filled, truth, hidden, columns)
    assert figures["pfc"].value < 0.7
    if name == "mean / mode":
        assert figures["mse"].value == pytest.approx(1, abs=0.2)
        assert figures["pfc"].value > 0.4


def test_the_mean_fills_numbers_and_the_most_frequent_value_the_others():
    table = synthetic(200)
    columns = fit_columns(table)
    hidden = mcar(table.shape, 0.3, 0)
    holes = table.mask(hidden)
    filled = baselines.mean_or_mode(holes, columns, 0).point
    for number, column in enumerate(columns):
        known = holes[column.name].dropna()
        (found,) = np.unique(filled[hidden[:, number], number])
        if column.discrete:
            counts = known.map(str).value_counts()
            assert counts[column.values[int(found)]] == counts.max()
        else:
            assert found == pytest.approx(known.mean(), rel=1e-5)


def test_factor_analysis_chooses_its_size_by_rows_of_the_whole_table(monkeypatch):
    seen = []
    choose = baselines.choose_factors
    monkeypatch.setattr(baselines, "CHOICE_ROWS", 100)
    monkeypatch.setattr(baselines, "choose_factors", lambda x, *rest: seen.append(x) or choose(x, *rest))
    place = np.linspace(0, 1, 400)
    table = pd.DataFrame({"a": place, "b": place**2, "c": -place})
    baselines.factor_analysis(table, fit_columns(table, dict.fromkeys("abc", "continuous")), 0)
    assert len(seen[0]) == 100
    assert seen[0][:, 0].mean().item() == pytest.approx(0, abs=0.35)  # that of the first 100 is -1.3


def test_log_likelihoods_of_an_imputer_and_of_factor_analysis_are_in_the_same_units():
    rows = run_protocol("iris", ["factor analysis"], range(2))
    mixture = partial(baselines.cvae, members=2, max_steps=0, patience=1)  # at its start, which is factor analysis
    with mock.patch.dict(baselines.METHODS, {"start": mixture}):
        started = run_protocol("iris", ["start"], range(2))
    nats = rows["factor analysis"]["masked_log_likelihood"].value
    assert started["start"]["masked_log_likelihood"].value == pytest.approx(nats, abs=0.25)


def test_results_keep_every_table_and_the_means_over_them():
    rows = {name: run_protocol(name, ["mean / mode"], range(1))["mean / mode"] for name in ("iris", "wine")}
    found = results(rows, "mean / mode", 0, datetime.now(UTC), {"rate": 0.5})
    assert found.metrics["test/iris/mse"] == rows["iris"]["mse"]
    mean = (rows["iris"]["mse"].value + rows["wine"]["mse"].value) / 2
    assert found.metrics["test/mse"].value == pytest.approx(mean)
    assert found.metrics["test/mse"].n == 300 + 178 * 13 // 2
    other = results(rows, "mean / mode", 0, datetime.now(UTC), {"rate": 0.3})
    assert found.run.config_hash != other.run.config_hash
    assert found.run.data_fingerprint == other.run.data_fingerprint


def test_a_table_of_a_package_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklego", None)
    monkeypatch.setitem(sys.modules, "sklego.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-lego: pip install --editable '.\[tables\]'"):
        abalone()
