"""A table that is made on two machines, here two roots of runs."""

import re
import shutil

import numpy as np
import pytest

from common.comparison import runner
from common.comparison.archive import packed
from scripts.compare import main
from tests.common.comparison.tables import compact, journal, write_table


@pytest.fixture
def table(tmp_path):
    return write_table(tmp_path, {"first": 3.0, "second": 2.0}, seeds=(0, 1))


def compare(table, *words, machine="one"):
    return main(["run", str(table), "--root", str(table.parent / machine), "--out", str(table.parent), *words])


def test_another_machine_takes_the_recorded_runs_and_adds_its_own(table, capsys):
    assert compare(table, "--rows", "FIRST") == 0
    assert journal(table.parent) == ["3.0 0", "3.0 1"]
    assert "- Not run: second." in capsys.readouterr().out
    assert compare(table, "--rows", "second", machine="two") == 0
    assert journal(table.parent)[2:] == ["2.0 0", "2.0 1"]
    shown = capsys.readouterr().out
    assert "2 runs that are not here are taken as" in shown
    assert re.search(r"\| first \| 3\.\d ± 0\.1 \| 2 \|", shown)
    assert compare(table, "--recorded", "--dry-run", machine="three") == 0
    assert "4 recorded; left: 0.00 h of training, 0.00 h with 1 at a time" in capsys.readouterr().out
    assert compare(table, "--recorded", machine="three") == 0
    assert len(journal(table.parent)) == 4
    assert len(compact(table.parent)["rows"]["second"]["runs"]) == 2


def test_seeds_divide_the_work_as_rows_do(table, capsys):
    assert compare(table, "--seeds", "1", "--rows", "second") == 0
    assert journal(table.parent) == ["2.0 1"]
    assert compare(table, "--seeds", "0", machine="two") == 0
    assert journal(table.parent)[1:] == ["3.0 0", "2.0 0"]
    assert [run["seed"] for run in compact(table.parent)["rows"]["second"]["runs"]] == [0, 1]
    capsys.readouterr()
    assert compare(table, "--seeds", "0", "7", machine="two") == 2
    assert "these rows have no run of seed 7; their seeds are: 0, 1" in capsys.readouterr().err
    # Another value of `second`: its seed 1 is of the former one, and would be lost.
    table.write_text(table.read_text().replace("'2.0'", "'2.5'"))
    assert compare(table, "--seeds", "0", machine="two") == 2
    assert "has runs of second that are neither here nor recorded" in capsys.readouterr().err
    assert len(journal(table.parent)) == 3


def test_without_being_asked_for_recorded_runs_a_machine_makes_its_own(table):
    compare(table)
    compare(table, machine="two")
    assert len(journal(table.parent)) == 8


def test_runs_of_other_options_are_not_taken(table):
    compare(table)
    table.write_text(table.read_text().replace("'2.0'", "'2.5'"))
    assert compare(table, "--recorded", machine="two") == 0
    assert journal(table.parent)[4:] == ["2.5 0", "2.5 1"]


def test_a_table_of_some_rows_does_not_lose_the_runs_of_the_others(table, capsys):
    compare(table)
    (table.parent / "numbers.quick.zip").unlink()
    before = (table.parent / "numbers.quick.json").read_bytes()
    capsys.readouterr()
    assert compare(table, "--rows", "second", machine="two") == 2
    assert "has runs of first that are neither here nor recorded" in capsys.readouterr().err
    assert (table.parent / "numbers.quick.json").read_bytes() == before
    assert len(journal(table.parent)) == 4
    assert compare(table, "--rows", "second") == 0  # here they are


def test_fresh_rows_are_run_again_and_the_others_stay(table):
    compare(table)
    assert compare(table, "--rows", "second", "--fresh", machine="two") == 0
    assert journal(table.parent)[4:] == ["2.0 0", "2.0 1"]
    assert len(compact(table.parent)["rows"]["first"]["runs"]) == 2


def test_the_figures_of_single_examples_that_are_paired_are_kept_and_no_others(table):
    compare(table)
    archive = table.parent / "numbers.quick.zip"
    before = archive.read_bytes()
    run = sorted((table.parent / "one").rglob("results.json"))[0].parent
    np.savez(run / "examples.npz", nll=np.arange(4.0), elbo=np.arange(4.0))
    compare(table)
    compare(table, "--recorded", machine="two")
    with np.load(table.parent / "two" / run.parent.name / run.name / "examples.npz") as kept:
        assert kept.files == ["nll"]
        assert kept["nll"].tolist() == [0.0, 1.0, 2.0, 3.0]
    (run / "examples.npz").unlink()
    compare(table)
    assert archive.read_bytes() == before
    assert len(packed(archive)) == 4


def test_a_table_beside_rows_of_other_data_is_left_as_it_was(table, capsys, monkeypatch):
    compare(table)
    before = [(table.parent / f"numbers.quick.{kind}").read_bytes() for kind in ("json", "zip")]
    monkeypatch.setattr(
        runner, "with_others", lambda run, cells: {cell: run.get(cell) or runner.State("stale") for cell in cells}
    )
    assert compare(table, "--rows", "second") == 2
    assert "is left as it was: first were made from other data than today's. Run them too" in capsys.readouterr().err
    assert before == [(table.parent / f"numbers.quick.{kind}").read_bytes() for kind in ("json", "zip")]


def test_a_whole_title_takes_its_row_alone_and_a_part_every_row_that_holds_it(tmp_path):
    table = write_table(tmp_path, {"CVAE": 3.0, "CVAE, flow": 2.0, "VAE": 1.0}, seeds=(0,))
    for words, ran in ((["CVAE"], ["3.0 0"]), (["VAE", "flow"], ["2.0 0", "1.0 0"]), (["cva"], [])):
        before = journal(tmp_path)
        assert compare(table, "--rows", *words) == 0
        assert journal(tmp_path) == [*before, *ran]


def test_words_that_fit_no_row_and_a_damaged_archive_are_named(table, capsys):
    assert compare(table, "--rows", "third") == 2
    assert "no row's title holds 'third'; there are: first, second" in capsys.readouterr().err
    compare(table)
    shutil.copyfile(table, table.parent / "numbers.quick.zip")
    assert compare(table, "--recorded", machine="two") == 2
    assert "numbers.quick.zip is damaged" in capsys.readouterr().err
