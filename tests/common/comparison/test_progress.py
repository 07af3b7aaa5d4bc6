"""What is said of a table's runs before, while and after they run."""

import fcntl

import pytest

from common.comparison.progress import lines, progress
from common.comparison.runner import LOCK, run_missing
from common.comparison.specification import cells, read_table
from common.executors.local import local
from scripts import compare
from tests.common.comparison.tables import journal, write_table


@pytest.fixture
def words(tmp_path):
    """Options of a table of three rows with two seeds, whose second row fails."""
    path = write_table(tmp_path, {"first": 1.0, "second": -1.0, "third": 3.0}, seeds=(0, 1))
    return [str(path), "--root", str(tmp_path / "runs"), "--out", str(tmp_path)]


def test_a_dry_run_lists_all_and_runs_nothing(words, tmp_path, capsys):
    assert compare.main(["run", *words, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 7
    assert said[0].split() == ["first", "seed", "0", "missing"]
    assert said[-1] == "6 missing; left: 0.00 h of training and 6 runs of unknown length, 0.00 h with 1 at a time"
    assert journal(tmp_path) == []


def test_status_tells_finished_failed_and_expected_hours(words, tmp_path, capsys):
    assert compare.main(["run", *words]) == 1
    capsys.readouterr()
    assert compare.main(["status", *words, "--max-parallel", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["first", "seed", "0", "finished", "0.00", "h"]
    assert "failed    0.00 h expected: exit status 1: the value is negative" in said[1]
    assert "compared with today's" in said.pop()
    assert said[-1] == "4 finished, 2 failed; left: 0.00 h of training, 0.00 h with 2 at a time"  # 2 x 1.5 s


def test_hours_are_those_of_the_row_and_a_locked_folder_is_running(words, tmp_path):
    table = read_table(tmp_path / "numbers.yaml")
    todo = cells(table, "quick", tmp_path / "runs")
    chosen = [cell for cell in todo if cell.row != "second"]
    run_missing(chosen[:3], local(1), False, lambda line: None)
    todo[-1].folder.mkdir(parents=True)
    with (todo[-1].folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = progress(todo, None)
    assert [entry.status for entry in found] == ["finished", "missing", "finished", "finished", "missing", "running"]
    assert {entry.seconds for entry in found} == {1.5}
    assert lines(found, 1)[-1].startswith("3 finished, 2 missing, 1 running; left: 0.00 h of training, ")


def test_a_dry_run_does_not_pretend_to_delete(words, capsys):
    assert compare.main(["run", *words, "--dry-run", "--fresh"]) == 2
    assert "leave out --fresh" in capsys.readouterr().err
