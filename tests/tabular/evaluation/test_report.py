import pytest

from common.conditions.attributes import OBSERVED
from common.evaluation.evaluation import Evaluation
from modalities.tabular import ObservedCellsEncoder, TabularCVAE
from modalities.tabular.data import Iris
from modalities.tabular.evaluation import report as module
from modalities.tabular.evaluation.report import TabularReport


def iris_model(data):
    model = TabularCVAE(ObservedCellsEncoder(data.columns, show=False), data.columns, 2, 8)
    model.start(data.conditions("train")["observed"])
    return model.eval()


def test_the_widening_is_counted_in_the_validation_rows_that_it_comes_from():
    data = Iris()
    model, report = iris_model(data), TabularReport()
    report.after_validation(model, data)
    figures = report.figures(model, data, Evaluation(), {})
    assert figures["test/interval_factor"].value == model.widening.item() != 1.0
    assert figures["test/interval_factor"].n == 15
    assert figures["test/imputation_seconds"].n == 30


def test_the_validation_rows_of_a_sorted_table_are_drawn_from_all_of_it(monkeypatch):
    seen, impute = [], module.impute_rows
    monkeypatch.setattr(module, "CALIBRATION_ROWS", 50)
    monkeypatch.setattr(module, "impute_rows", lambda models, x, *rest: seen.append(x) or impute(models, x, *rest))
    data = Iris(protocol="cells", statistics="all", rate=0.1)  # sorted by species, the first 50 of which are alike
    TabularReport().after_validation(iris_model(data), data)
    assert len(seen[0]) == 50
    assert seen[0].nanmean(0)[2].item() == pytest.approx(0, abs=0.4)  # petal length: that of the first 50 is -1.3


def test_hidden_cells_are_shown_with_their_intervals_in_the_units_of_the_table():
    data = Iris()
    batch = data.batch("val", 15)
    media = TabularReport().media(iris_model(data), batch)
    assert media.pictures.keys() == {"scatter", "completed"}
    cells = media.tables["cells"]
    hidden = batch.condition[OBSERVED].isnan()
    assert len(cells) == int(hidden.sum()) > 0
    assert ((cells.low <= cells.imputed) & (cells.imputed <= cells.high)).mean() > 0.95
    widths = cells[cells["column"] == "petal length (cm)"]
    assert widths.truth.between(1, 7).all()  # centimetres
    row, number = hidden.nonzero()[0].tolist()
    own = cells[(cells["row"] == row + 1) & (cells["column"] == data.columns[number].name)]
    truth = data.columns[number].present(batch.x[row : row + 1, number].double().numpy())
    assert own.truth.to_numpy() == pytest.approx(truth)
