import pandas as pd
import plotly.graph_objects as go
import pytest

from common.dashboard.charts import Chart, imputed_cells
from common.dashboard.runs import Problems, read_runs
from common.evaluation.media_files import MediaFile, append_media
from tests.common.dashboard.conftest import HOSTILE

CELLS = [
    {"row": 3, "column": "radius", "truth": 2.0, "imputed": 2.5, "low": 1.0, "high": 3.0},
    {"row": 4, "column": "radius", "truth": 9.0, "imputed": 4.0, "low": 3.0, "high": 5.0},
    {"row": 4, "column": HOSTILE, "truth": 1.0, "imputed": 1.0, "low": 0.5, "high": 2.0},
    {"row": 5, "column": "kind", "truth": "b", "imputed": "b", "low": "", "high": ""},
    {"row": 6, "column": "kind", "truth": "a", "imputed": "b", "low": "", "high": ""},
]


@pytest.fixture
def run(tmp_path, write_run):
    """A run with imputed cells."""
    folder = write_run(tmp_path, "a")
    pd.DataFrame(CELLS).to_csv(folder / "samples/test-cells.csv", index=False)
    append_media(folder / "samples", [MediaFile("test-cells.csv", "test", 3, 30, "table", "cells")])
    return folder


def test_imputed_cells_have_a_chart_for_each_column_of_numbers_with_intervals_and_coverage(run):
    (group,) = imputed_cells(read_runs([run], Problems()), Problems())
    assert group.title == "Imputed cells, test: digits"
    assert [chart.title for chart in group.charts] == ["radius", HOSTILE]
    diagonal, points = group.charts[0].figure["data"]
    assert (points["x"], points["y"]) == ([2.0, 9.0], [2.5, 4.0])
    assert (points["error_y"]["array"], points["error_y"]["arrayminus"]) == ([0.5, 1.0], [1.5, 1.0])
    assert (diagonal["x"], diagonal["y"]) == ([2.0, 9.0], [2.0, 9.0])
    assert group.charts[0].note == "1 of 2 within"
    assert group.notes == [
        "2 of 3 true values (67%) lie within their intervals.",
        "kind: 1 of 2 imputed categories are right",
    ]


def test_cells_without_their_columns_are_named(run):
    (run / "samples/test-cells.csv").write_text("row,column\n1,a\n")
    problems = Problems()
    assert imputed_cells(read_runs([run], Problems()), problems) == []
    assert "has no column truth, imputed, low, high; not shown: the imputed cells of digits" in problems.lines[0]


def test_any_figure_of_plotly_is_a_chart():
    chart = Chart.of("importances", go.Figure(go.Bar(x=[1.0, 2.0], y=["a", "b"])), "of three trials")
    assert (chart.title, chart.note) == ("importances", "of three trials")
    assert chart.figure["data"][0]["y"] == ["a", "b"]
