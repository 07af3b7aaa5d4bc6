"""What runs and deletions of a cell leave in its folder."""

import fcntl
import json
import threading
import time

import pytest

from common.comparison.runner import FAILURE, LOCK, delete_run, run
from common.comparison.specification import Cell
from common.executors.executor import Share
from common.results import EXAMPLES
from tests.common.comparison.tables import RUN


@pytest.fixture
def cell(tmp_path):
    folder = tmp_path / "row" / "key-s0"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_text("weights")
    (folder / EXAMPLES).write_text("figures")
    (folder / FAILURE).write_text(json.dumps({"reason": "killed"}))
    script = tmp_path / "run.py"
    script.write_text(RUN.format(journal=str(tmp_path / "journal"), seconds=0))
    return Cell("row", 0, (str(script), str(folder), "0", "-1.0"), "key", folder, None)


def test_a_run_that_fails_leaves_no_figures_of_an_earlier_one(cell):
    reached = run(cell, Share(1))
    assert (reached.status, reached.results) == ("failed", None)
    assert "the value is negative" in reached.reason
    assert not (cell.folder / EXAMPLES).exists()


def test_a_deleted_run_leaves_its_lock_alone(cell):
    (cell.folder / LOCK).touch()
    same = (cell.folder / LOCK).stat().st_ino
    delete_run(cell)
    assert [path.name for path in cell.folder.iterdir()] == [LOCK]
    assert (cell.folder / LOCK).stat().st_ino == same


def test_a_run_that_goes_on_is_not_deleted_before_its_end(cell):
    with (cell.folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process does that is running the cell
        deletion = threading.Thread(target=delete_run, args=[cell])
        deletion.start()
        time.sleep(0.2)
        assert deletion.is_alive()
        assert (cell.folder / EXAMPLES).exists()
    deletion.join(timeout=10)
    assert not deletion.is_alive()
    assert not (cell.folder / EXAMPLES).exists()


def test_a_run_that_never_was_leaves_no_folder(tmp_path):
    delete_run(Cell("row", 0, (), "key", tmp_path / "none", None))
    assert not (tmp_path / "none").exists()
