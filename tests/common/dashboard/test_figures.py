from pathlib import Path

import pytest

from common.dashboard.figures import best_runs, figure_grids, figure_text, known_directions, option_grid
from common.dashboard.runs import Problems, read_runs
from common.results import Measurement

TABLES = Path("configs/tables")


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [
        (88.6612, 1.094, "88.7 ± 1.1"),
        (-12153.4, 124.1, "-12,153 ± 124"),
        (0.35812, 0.0219, "0.358 ± 0.022"),
        (1.0, 0.0, "1 ± 0"),
        (4.2345678, None, "4.235"),
        (1894625.0, None, "1,894,625"),
        (3.0, 1e-9, "3 ± 1e-09"),
    ],
)
def test_a_figure_has_two_digits_of_its_error(value, stderr, text):
    assert figure_text(Measurement(value, stderr, 10, "nats", "exact")) == text


def test_directions_are_those_of_the_comparison_tables_and_contradictions_are_none(tmp_path):
    known = known_directions(TABLES)
    assert (known["test/nll"], known["test/control_accuracy"], known["test/elbo"]) == ("lower", "higher", "higher")
    assert "test/kl" not in known
    for name, better in (("a", "lower"), ("b", "higher")):
        (tmp_path / f"{name}.yaml").write_text(
            f"columns: [{{metric: m, better: {better}}}, {{metric: {name}, better: lower}}]"
        )
    assert known_directions(tmp_path) == {"a": "lower", "b": "lower"}


def test_the_best_is_marked_among_runs_that_were_measured_alike(tmp_path, write_run):
    folders = [
        write_run(tmp_path, "a", nll=90.0),
        write_run(tmp_path, "b", nll=80.0, seed=1),
        write_run(tmp_path, "c", nll=10.0, data_fingerprint="other", seed=2),
    ]
    runs = dict(enumerate(read_runs(folders, Problems())))
    assert best_runs("test/nll", runs, "lower") == {1}
    assert best_runs("test/nll", runs, "higher") == {0}
    assert best_runs("test/nll", runs, None) == set()
    assert best_runs("test/kl", runs, "lower") == set()  # equal values


def test_figures_stand_beside_each_other_with_unit_error_n_and_estimator(tmp_path, write_run):
    runs = read_runs([write_run(tmp_path, "a", nll=90.0), write_run(tmp_path, "b", nll=80.5, seed=1)], Problems())
    by_metric, by_run = figure_grids(dict(enumerate(runs)), {"test/nll": "lower"})
    assert [cell.text for cell in by_metric.header] == [
        "metric",
        "digits · seed 0",
        "digits · seed 1",
        "unit",
        "n",
        "how it was measured",
    ]
    nll = by_metric.rows[0].cells
    assert [cell.text for cell in nll] == [
        "nll ↓",
        "90.0 ± 1.2",
        "80.5 ± 1.2",
        "nats",
        "500",
        "importance sampling, 200 samples",
    ]
    assert [cell.best for cell in nll] == [False, False, True, False, False, False]
    assert [cell.order for cell in nll[1:3]] == [90.0, 80.5]
    assert [cell.text for cell in by_run.header] == ["run", "nll ↓, nats", "kl, nats", "rewrite/accuracy, accuracy"]
    assert [cell.text for cell in by_run.rows[1].cells] == ["digits · seed 1", "80.5 ± 1.2", "12,345.6 ± 2.0", "0.75"]
    assert "digits · seed 0: control was not measured (no judge)" in by_metric.notes


def test_only_the_options_that_differ_are_listed(tmp_path, write_run):
    runs = read_runs([write_run(tmp_path, "a"), write_run(tmp_path, "b", latent_dim=16, seed=3)], Problems())
    grid = option_grid(dict(enumerate(runs)))
    rows = [[cell.text for cell in row.cells] for row in grid.rows]
    assert rows == [["seed_everything", "0", "3"], ["model.latent_dim", "8", "16"]]
    assert option_grid({0: runs[0]}) is None
