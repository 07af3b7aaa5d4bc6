import numpy as np
import pytest

from modalities.tabular import baselines, protocol
from modalities.tabular.columns import encode_table, fit_columns
from modalities.tabular.masks import mcar
from modalities.tabular.metrics import decoded, imputation_metrics
from modalities.tabular.protocol import published_rows, run_protocol
from modalities.tabular.tables import synthetic


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


def test_published_rows_stand_beside_ours_under_their_protocol_alone():
    assert published_rows("breast_cancer")["MIWAE (authors' notebook)"]["mse"].value == 0.2867
    assert published_rows("abalone") == {}
    assert set(protocol.PUBLISHED) <= set(protocol.TABLES)
