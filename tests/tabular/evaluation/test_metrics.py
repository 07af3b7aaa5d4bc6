import numpy as np
import pytest
import torch

from modalities.tabular.columns import Column
from modalities.tabular.evaluation.metrics import imputation_metrics
from modalities.tabular.imputation.filled import Filled
from modalities.tabular.imputation.sampling import Imputation, interval_factor

COLUMNS = [Column("n", "continuous", "gaussian"), Column("c", "categorical", "categorical", values=("a", "b"))]


def test_figures_of_a_known_answer():
    truth = np.array([[0.0, 0], [2.0, 1], [4.0, 0], [np.nan, 1]])
    point = np.array([[0.0, 0], [3.0, 0], [4.0, 0], [9.0, 1]])
    hidden = np.array([[True, True], [True, True], [False, False], [True, False]])
    found = imputation_metrics(Filled(point, point - 0.5, point + 0.5), truth, hidden, COLUMNS)
    deviation = np.std([0, 2, 4])
    assert found["mse"].value == pytest.approx(0.5 / deviation**2)
    assert found["nrmse"].value == pytest.approx(np.sqrt(0.5 / np.var([0, 2])))
    assert found["pfc"].value == 0.5
    assert found["coverage"].value == 0.5
    assert found["width"].value == pytest.approx(1 / deviation)
    assert found["mse"].n == 2  # the fourth row's truth is unknown, the third is observed


def test_the_interval_factor_covers_held_out_cells():
    generator = torch.Generator().manual_seed(0)
    truth = 2 * torch.randn(500, 4, generator=generator)
    draws = torch.randn(200, 500, 4, generator=generator)  # half as wide as they should be
    everything = torch.ones(500, 4, dtype=torch.bool)
    factor = interval_factor(draws, truth, everything, 0.9)
    assert factor == pytest.approx(2.0, abs=0.15)
    columns = [Column(str(n), "continuous", "gaussian") for n in range(4)]
    low, high = Imputation(truth, draws, truth).interval(0.9, columns, factor)
    fresh = 2 * torch.randn(500, 4, generator=generator)
    assert ((fresh > low) & (fresh < high)).float().mean() == pytest.approx(0.9, abs=0.03)


def test_intervals_of_positive_columns_stay_above_zero():
    column = Column("p", "positive", "log_normal")
    draws = torch.linspace(0.01, 5, 100).reshape(100, 1, 1)
    low, _ = Imputation(draws[0], draws, draws[0]).interval(0.9, [column], 3.0)
    assert low.item() == 0
