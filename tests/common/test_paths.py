"""Files that are there whole or not at all."""

import multiprocessing

import pytest

from common.paths import cache_root, locked, made_once, written_whole


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    target = tmp_path / "folder" / "results.json"
    with written_whole(target) as partial:
        partial.write_text("half")
        assert not target.exists()
        partial.write_text("whole")
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["results.json"]


def fail_to_write(target, folder):
    with written_whole(target) as partial:
        if folder:
            partial.mkdir()
            partial = partial / "part"
        partial.write_text("new")
        raise RuntimeError("disk")


@pytest.mark.parametrize("folder", [False, True])
def test_what_fails_leaves_the_former_file_and_nothing_else(tmp_path, folder):
    target = tmp_path / "target"
    target.write_text("former")
    with pytest.raises(RuntimeError, match="disk"):
        fail_to_write(target, folder)
    assert target.read_text() == "former"
    assert list(tmp_path.iterdir()) == [target]


def make_slowly(path):
    count = path.parent / "count"
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    path.write_text("made")


def make(target):
    made_once(target, make_slowly)


def test_two_processes_make_a_file_once(tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(make, [tmp_path / "cache" / "file"] * 4)
    assert (tmp_path / "cache" / "count").read_text() == "x"
    assert (tmp_path / "cache" / "file").read_text() == "made"


def test_a_lock_needs_no_file_and_no_folder_before(tmp_path):
    with locked(tmp_path / "new" / "thing"):
        assert (tmp_path / "new" / "thing.lock").exists()
    assert not (tmp_path / "new" / "thing").exists()


def test_a_cache_that_cannot_be_written_names_the_variable(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(PermissionError, match=r"cache .*file/cache cannot be written: set \$SUITE_CACHE"):
        cache_root()
