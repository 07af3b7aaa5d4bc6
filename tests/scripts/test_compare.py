"""compare.py as a person uses it, on a table whose runs take no time."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from scripts.compare import main
from tests.common.comparison.tables import compact, journal, write_table
from tests.conftest import ROOT


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path, {"first": 3.0, "second": 2.0})


def compare(verb, table, *words):
    folder = ["--root", str(table.parent / "runs")] if verb == "run" else []
    return main([verb, str(table), *folder, "--out", str(table.parent), *map(str, words)])


def test_a_table_is_run_once_and_shown_with_mean_and_deviation_over_seeds(table, capsys):
    assert compare("run", table, "--max-parallel", 2) == 0
    assert len(journal(table.parent)) == 6
    assert compare("run", table) == 0
    assert len(journal(table.parent)) == 6
    assert "6 of 6 runs are finished, 0 to go" in capsys.readouterr().out
    assert compare("show", table) == 0
    shown = capsys.readouterr().out
    assert "| first | 3.1 ± 0.1 | 3 |" in shown  # 3.0, 3.1 and 3.2
    assert "n = 100" in shown
    assert compare("run", table, "--fresh") == 0
    assert len(journal(table.parent)) == 12


def test_a_table_killed_in_the_middle_repeats_no_finished_run(tmp_path):
    table = write_table(tmp_path, {"a": 1.0, "b": 2.0, "c": 3.0}, seeds=[0], seconds=1.0)
    words = [str(ROOT / "scripts" / "compare.py"), "run", str(table), "--root", str(tmp_path / "runs"), "--out"]
    process = subprocess.Popen([sys.executable, *words, str(tmp_path)], start_new_session=True, cwd=ROOT)
    finished = tmp_path / "runs"
    deadline = time.monotonic() + 60
    while not list(finished.glob("*/*/results.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = [path.parent.parent.name for path in finished.glob("*/*/results.json")]
    assert len(before) < 3
    assert compare("run", table) == 0
    values = {"a": "1.0 0", "b": "2.0 0", "c": "3.0 0"}
    assert [journal(tmp_path).count(values[row]) for row in before] == [1] * len(before)
    assert set(compact(tmp_path)["rows"]) == {"a", "b", "c"}


def test_a_training_that_outlives_its_killed_table_is_waited_for_and_not_run_twice(tmp_path):
    table = write_table(tmp_path, {"a": 1.0}, seeds=[0], seconds=3.0)
    words = [str(ROOT / "scripts" / "compare.py"), "run", str(table), "--root", str(tmp_path / "runs"), "--out"]
    process = subprocess.Popen([sys.executable, *words, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not journal(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()  # it alone: the run that it has started goes on
    process.wait()
    assert compare("run", table) == 0
    assert journal(tmp_path) == ["1.0 0"]
    assert set(compact(tmp_path)["rows"]) == {"a"}


def test_a_row_that_fails_says_so_and_stops_no_other(tmp_path, capsys):
    table = write_table(tmp_path, {"good": 1.0, "bad": -1.0}, seeds=[0])
    assert compare("run", table) == 1
    shown = capsys.readouterr().out
    assert "| bad | failed | 0 |" in shown
    assert "exit status 1: the value is negative (see " in shown
    assert "| good | 1.0 ± 0.2 | 1 |" in shown


def test_a_damaged_result_is_named_and_made_again(table, capsys):
    compare("run", table)
    victim = sorted((table.parent / "runs").rglob("results.json"))[0]
    victim.write_text(victim.read_text()[:50])
    capsys.readouterr()
    assert compare("run", table) == 0
    said = capsys.readouterr().out
    assert f"damaged: {victim} is not a valid results.json" in said
    assert len(journal(table.parent)) == 7


def test_rows_in_another_order_change_nothing_but_their_order(table, capsys):
    compare("run", table)
    capsys.readouterr()
    compare("show", table)
    before = capsys.readouterr().out.splitlines()
    content = yaml.safe_load(table.read_text())
    content["rows"] = dict(reversed(content["rows"].items()))
    table.write_text(yaml.safe_dump(content, sort_keys=False))
    assert compare("run", table) == 0
    assert len(journal(table.parent)) == 6
    capsys.readouterr()
    compare("show", table)
    after = capsys.readouterr().out.splitlines()
    assert before != after
    assert sorted(before) == sorted(after)


@pytest.mark.parametrize("layout", ["md", "csv", "latex", "html"])
def test_every_format_shows_every_row_and_marks_the_best(table, capsys, layout):
    compare("run", table)
    capsys.readouterr()
    assert compare("show", table, "--format", layout) == 0
    shown = capsys.readouterr().out
    assert "first" in shown
    assert "2.1" in shown
    bold = {"md": "**2.1 ± 0.1**", "latex": r"\textbf{2.1 $\pm$ 0.1}", "html": "<b>2.1 ± 0.1</b>", "csv": "2.1 ± 0.1"}
    assert bold[layout] in shown


def test_tables_in_documents_are_checked_against_the_compact_results(table, capsys, tmp_path, monkeypatch):
    compare("run", table)
    monkeypatch.setattr("scripts.compare.SPECIFICATIONS", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- table numbers quick -->\n<!-- end of table -->\nAfter\n")
    check = ["check", str(page), "--out", str(tmp_path)]
    assert main(check) == 1
    assert "its tables are not those of" in capsys.readouterr().out
    assert main([*check, "--write"]) == 0
    assert main(check) == 0
    assert page.read_text().startswith("Before\n")
    assert page.read_text().endswith("After\n")
    page.write_text(page.read_text().replace("3.1", "2.9"))
    assert main(check) == 1


def test_a_table_in_brief_stands_in_documents_and_on_the_screen(table, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.compare.SPECIFICATIONS", tmp_path)
    content = yaml.safe_load(table.read_text())
    content["columns"] += [{"metric": "run/seconds", "title": "seconds", "brief": True, "digits": 0}]
    table.write_text(yaml.safe_dump(content, sort_keys=False))
    compare("run", table)
    page = tmp_path / "page.md"
    page.write_text("<!-- table numbers quick brief -->\n<!-- end of table -->\n")
    assert main(["check", str(page), "--out", str(tmp_path), "--write"]) == 0
    assert "|  | seconds | runs |\n" in page.read_text()
    capsys.readouterr()
    assert compare("show", table, "--brief", "--format", "csv") == 0
    assert capsys.readouterr().out.startswith(",seconds,runs,run ids\n")


def test_rows_whose_options_have_changed_since_they_were_run_are_named(table, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.compare.SPECIFICATIONS", tmp_path)
    compare("run", table)
    page = tmp_path / "page.md"
    page.write_text("<!-- table numbers quick -->\n<!-- end of table -->\n")
    check = ["check", str(page), "--out", str(tmp_path)]
    assert main([*check, "--write"]) == 0
    assert "specification has changed" not in page.read_text()
    table.write_text(table.read_text().replace("'2.0'", "'2.5'"))
    assert main(check) == 1
    assert main([*check, "--write"]) == 0
    assert "The specification has changed since these rows were run: second." in page.read_text()


def test_a_row_may_have_fewer_seeds_than_its_table(table, capsys):
    content = yaml.safe_load(table.read_text())
    content["rows"]["second"]["seeds"] = {"quick": [1]}
    table.write_text(yaml.safe_dump(content, sort_keys=False))
    assert compare("run", table) == 0
    assert journal(table.parent) == ["3.0 0", "3.0 1", "2.0 1", "3.0 2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": {"other": {}}}, "no budget 'quick'; there are: other"),
        ({"colums": []}, "colums"),
        ({"rows": {"a b": {}, "a-b": {}}}, "titles of rows must differ"),
        ({"budgets": {"quick": {"configs": ["none.yaml"]}}, "rows": {"a": {}}}, "there is no configuration none.yaml"),
    ],
)
def test_a_mistake_in_a_specification_is_named(table, capsys, change, message):
    table.write_text(yaml.safe_dump(yaml.safe_load(table.read_text()) | change))
    assert compare("run", table) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_table_lists_the_known_ones(capsys):
    assert main(["show", "nothing"]) == 2
    assert "there is no table configs/tables/nothing.yaml; in configs/tables: " in capsys.readouterr().err


def test_the_tables_of_readme_and_docs_are_those_of_the_committed_results():
    assert main(["check"]) == 0


@pytest.mark.extras
def test_a_ray_cluster_of_two_workers_runs_a_table(tmp_path, capsys):
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    table = write_table(tmp_path, {"a": 1.0, "bad": -1.0, "c": 3.0}, seeds=[0, 1], seconds=0.5)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert compare("run", table, "--executor", "ray", "--max-parallel", 2) == 1
    finally:
        ray.shutdown()
    shown = capsys.readouterr().out
    assert "| a | 1.0 ± 0.0 | 2 |" in shown
    assert "| bad | failed | 0 |" in shown
    assert len(journal(tmp_path)) == 6
