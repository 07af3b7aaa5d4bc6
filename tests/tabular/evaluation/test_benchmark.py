import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

from modalities.tabular.columns import encode_table
from modalities.tabular.data.masks import mcar
from modalities.tabular.data.tables import abalone, synthetic
from modalities.tabular.evaluation import baselines, peers
from modalities.tabular.evaluation.benchmark import results, run_protocol
from modalities.tabular.evaluation.metrics import downstream_accuracy, imputation_metrics
from modalities.tabular.imputation.filled import decoded
from modalities.tabular.imputation.imputer import CVAEImputer
from modalities.tabular.schema import fit_columns


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


def test_the_accuracy_of_a_classifier_tells_what_an_imputation_has_lost():
    generator = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 200)
    table = generator.standard_normal((400, 3)) + 2.0 * (labels == "b")[:, None] * [1, 0, 0]
    whole = downstream_accuracy(table, labels, 0)
    assert whole.n == 400
    assert whole.value == pytest.approx(0.84, abs=0.04)  # of two Gaussians that are two deviations apart
    noise = np.where([True, False, False], generator.permutation(table), table)
    assert downstream_accuracy(noise, labels, 0).value == pytest.approx(0.5, abs=0.06)
    rows = run_protocol("iris", ["mean / mode"], range(1))["mean / mode"]
    assert rows["accuracy"].value < rows["complete_accuracy"].value - 0.05
    assert rows["complete_accuracy"].value == pytest.approx(0.96, abs=0.02)
    assert "accuracy" not in run_protocol("diabetes", ["mean / mode"], range(1))["mean / mode"]


@pytest.mark.parametrize("name", ["MIWAE", "VAEAC"])
def test_the_methods_it_comes_from_are_one_model_from_random_weights(name):
    options = baselines.METHODS[name].keywords
    table = synthetic(120)[["bend", "wave", "sum", "member"]]
    hidden = mcar(table.shape, 0.2, 0)
    imputer = CVAEImputer(random_state=0, **options | {"max_steps": 20, "proposals": 10}).fit(table.mask(hidden))
    (model,) = imputer.members_
    assert model.condition.reads_observed == (name == "VAEAC")
    assert imputer.latent_dim_ == options["latent_dim"]
    assert imputer.transform(table.mask(hidden)).notna().all(axis=None)


def test_without_their_environment_forests_name_the_target_that_makes_it(monkeypatch, tmp_path):
    table = synthetic(20)
    monkeypatch.setattr(peers, "PYTHON", tmp_path / "python")
    with pytest.raises(ModuleNotFoundError, match="miceforest needs an environment of its own: make forests"):
        baselines.METHODS["miceforest"](table, fit_columns(table), 0)


def test_forests_are_given_codes_and_numbers_and_their_failure_is_told(monkeypatch, tmp_path):
    """The package's place is taken by the column means."""
    script = tmp_path / "means.py"
    script.write_text(
        "import sys, numpy as np\n"
        "file = np.load(sys.argv[2])\n"
        "if sys.argv[1] == 'missforest':\n    raise ValueError('no trees')\n"
        "values = file['values']\n"
        "filled = np.where(file['discrete'], 0, np.nanmean(values, 0))\n"
        "np.save(sys.argv[3], np.where(np.isnan(values), filled, values))\n"
    )
    monkeypatch.setattr(peers, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(peers, "SCRIPT", script)
    table = synthetic(200)
    columns = fit_columns(table)
    hidden = mcar(table.shape, 0.3, 0)
    found = baselines.METHODS["miceforest"](table.mask(hidden), columns, 0).point
    numbers = np.array([not column.discrete for column in columns])
    mean = baselines.mean_or_mode(table.mask(hidden), columns, 0).point
    assert found[:, numbers] == pytest.approx(mean[:, numbers], rel=1e-4, abs=1e-4)
    assert (found[hidden][np.broadcast_to(~numbers, hidden.shape)[hidden]] == 0).all()
    with pytest.raises(RuntimeError, match="missforest failed: ValueError: no trees"):
        baselines.METHODS["missforest"](table.mask(hidden), columns, 0)


@pytest.mark.slow
@pytest.mark.skipif(not peers.PYTHON.exists(), reason="needs make forests")
@pytest.mark.parametrize("name", ["miceforest", "missforest"])
def test_forests_are_nearer_than_the_mean_and_keep_observed_cells_and_columns_in_their_places(name):
    table = synthetic(300)
    columns = fit_columns(table)
    truth = decoded(encode_table(table, columns).astype(float), columns)
    hidden = mcar(truth.shape, 0.2, 0)
    found, mean = (baselines.METHODS[method](table.mask(hidden), columns, 0) for method in (name, "mean / mode"))
    assert found.point[~hidden] == pytest.approx(truth[~hidden], rel=1e-3, abs=1e-3)
    found, mean = (imputation_metrics(filled, truth, hidden, columns) for filled in (found, mean))
    assert found["mse"].value < 0.9 * mean["mse"].value
    if name == "miceforest":  # missforest fits on filled cells too, whose mode full trees learn by heart
        assert found["pfc"].value < 0.9 * mean["pfc"].value
