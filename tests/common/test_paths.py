"""Files that are there whole or not at all, and a cache that notices what has changed."""

import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from common.paths import cache_root, locked, made_once, written_whole
from tests.room import little_room

NOBODY = 65534


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


def test_a_lock_needs_no_folder_that_can_be_written(read_only):
    with locked(read_only / "thing"):
        assert not (read_only / "thing.lock").exists()


def test_a_cache_that_cannot_be_written_names_the_variable(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"file/cache/thing is not there, and the cache cannot be written.*\$SUITE_CACHE"):
        made_once(cache_root() / "thing", write)


# The cache


def write(path, content=b"0123456789" * 10):
    path.write_bytes(content)


def write_folder(path):
    path.mkdir()
    write(path / "features")
    write(path / "columns", b"columns")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file):
    os.truncate(file, file.stat().st_size // 2)


def empty(file):
    os.truncate(file, 0)


def in_another_process(work, *arguments):
    """Runs a function in a process of its own and returns that process, which has ended."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    process.join()
    return process


def refuse(path):
    pytest.fail("made a second time")


@pytest.fixture
def read_only(request):
    """A cache that this process cannot write, with a file and a folder in it. The superuser becomes nobody for it."""
    folder = Path(tempfile.mkdtemp())
    cache = folder / "cache"
    made_once(cache / "file", write)
    made_once(cache / "folder", write_folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield cache
    os.seteuid(user)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_what_is_whole_is_made_once_and_without_a_word(tmp_path):
    made_once(tmp_path / "cache" / "folder", write_folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made_once(tmp_path / "cache" / "folder", refuse) == tmp_path / "cache" / "folder"


@pytest.mark.parametrize("damage", [flip, truncate, empty, os.unlink])
@pytest.mark.parametrize("name", ["features", "columns"])
def test_a_damaged_file_of_a_folder_is_named_and_the_folder_made_again(tmp_path, damage, name):
    folder = made_once(tmp_path / "folder", write_folder)
    contents = {file.name: file.read_bytes() for file in folder.iterdir()}
    damage(folder / name)
    with pytest.warns(
        UserWarning, match=f"the cache is mended: .*folder/{name} is damaged .*, and is made again"
    ) as said:
        made_once(folder, write_folder)
    assert len(said) == 1
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == contents
    made_once(folder, refuse)


@pytest.mark.parametrize("damage", [flip, truncate, empty])
@pytest.mark.parametrize("name", ["file", "file.sums"])
def test_a_damaged_file_or_checksum_is_made_again(tmp_path, damage, name):
    file = made_once(tmp_path / "file", write)
    damage(tmp_path / name)
    with pytest.warns(UserWarning, match=r"/file is damaged|/file/\S* is damaged"):
        made_once(file, write)
    assert file.read_bytes() == b"0123456789" * 10
    made_once(file, refuse)


def test_every_flipped_bit_is_noticed(tmp_path):
    file, content = tmp_path / "file", b"0123"
    made_once(file, lambda path: write(path, content))
    for bit in range(8 * len(content)):
        changed = int.from_bytes(content) ^ 1 << bit
        file.write_bytes(changed.to_bytes(len(content)))
        with pytest.warns(UserWarning, match="file is damaged"):
            made_once(file, lambda path: write(path, content))


def test_what_an_earlier_version_made_has_no_checksum_and_is_made_again(tmp_path):
    write(tmp_path / "file", b"old")
    with pytest.warns(UserWarning, match="file has no checksums, and is made again"):
        made_once(tmp_path / "file", write)
    assert (tmp_path / "file").read_bytes() != b"old"


def mend_slowly(target):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        made_once(target, lambda path: (time.sleep(0.2), make_slowly(path)))
    return len(said)


def test_of_two_processes_one_mends_what_is_damaged(tmp_path):
    made_once(tmp_path / "file", make_slowly)
    flip(tmp_path / "file")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert sum(pool.map(mend_slowly, [tmp_path / "file"] * 2, chunksize=1)) == 1
    assert (tmp_path / "count").read_text() == "xx"
    assert (tmp_path / "file").read_text() == "made"


def test_a_whole_cache_needs_not_be_written(read_only):
    assert made_once(read_only / "file", refuse).stat().st_size == 100
    assert made_once(read_only / "folder", refuse).is_dir()


def test_what_a_read_only_cache_lacks_is_named_before_any_work(read_only):
    with pytest.raises(
        PermissionError, match=r"cache/new/file is not there, and .*permission denied.*set \$SUITE_CACHE"
    ):
        made_once(read_only / "new" / "file", refuse)
    with pytest.raises(PermissionError, match=r"cache/other is not there, and .*permission denied.*set \$SUITE_CACHE"):
        made_once(read_only / "other", refuse)


def test_what_is_damaged_in_a_read_only_cache_is_named(read_only):
    user = os.geteuid()
    os.seteuid((read_only / "file").stat().st_uid)
    (read_only / "folder" / "columns").chmod(0o644)
    flip(read_only / "folder" / "columns")
    os.seteuid(user)
    with pytest.raises(
        PermissionError, match=r"cache/folder/columns is damaged .*permission denied.*set \$SUITE_CACHE"
    ):
        made_once(read_only / "folder", refuse)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a device that is always full")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    def fill(path):
        path.mkdir()
        write(path / "columns")
        (path / "features").symlink_to("/dev/full")
        with (path / "features").open("wb") as features:
            features.write(b"features")

    with pytest.raises(OSError, match=r"/folder is not there.*no space left.*make room there, or set \$SUITE_CACHE"):
        made_once(tmp_path / "cache" / "folder", fill)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["folder.lock"]


def test_a_full_disk_keeps_the_former_file_and_says_what_to_do(tmp_path):
    write(tmp_path / "a.csv", b"former")
    message = rf"{tmp_path}/a\.csv cannot be written \(file too large\): make room there, .*; the former one is whole"
    with pytest.raises(OSError, match=message), written_whole(tmp_path / "a.csv") as partial, little_room(100):
        write(partial, bytes(200))
    assert (tmp_path / "a.csv").read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.csv"]


@pytest.mark.parametrize("name", ["a.csv", "new/a.csv"])
def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(read_only, name):
    message = r"a\.csv cannot be written \(permission denied\): give --run\.root or --out another place"
    with pytest.raises(PermissionError, match=message), written_whole(read_only / name) as partial:
        write(partial)


def test_an_input_that_cannot_be_read_is_not_an_output_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError) as raised, written_whole(tmp_path / "out.csv"):
        (tmp_path / "in.csv").read_bytes()
    assert raised.value.filename == str(tmp_path / "in.csv")


def test_an_error_of_the_data_is_not_one_of_the_cache(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        made_once(tmp_path / "cache" / "file", lambda path: Path("/elsewhere/tune.abc").read_bytes())


def replace(folder):
    with written_whole(folder) as partial:
        shutil.rmtree(folder)
        write_folder(partial)


def killed(path):
    write_folder(path)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_goes_when_the_same_is_made(tmp_path):
    assert in_another_process(made_once, tmp_path / "folder", killed).exitcode == -signal.SIGKILL
    (left,) = tmp_path.glob("*.partial")
    here = left.name.split(".")[1]
    living = tmp_path / f"folder.{here}.{os.getppid()}.partial"
    elsewhere = tmp_path / "folder.01234567.99999999.partial"
    other = tmp_path / f"folder.1.{here}.99999999.partial"
    write(tmp_path / f"folder.{here}.{os.getpid()}.partial")  # of a former process of this one's number
    write(living)
    write_folder(elsewhere)  # of another machine, whose processes nobody here knows
    write(other)  # of another path
    made_once(tmp_path / "folder", write_folder)
    assert set(tmp_path.glob("*.partial")) == {living, elsewhere, other}
    yesterday = (time.time() - 25 * 60 * 60,) * 2
    for path in (living, elsewhere, elsewhere / "columns"):
        os.utime(path, yesterday)
    replace(tmp_path / "folder")
    assert set(tmp_path.glob("*.partial")) == {elsewhere, other}
    os.utime(elsewhere / "features", yesterday)
    replace(tmp_path / "folder")
    assert set(tmp_path.glob("*.partial")) == {other}


def test_a_process_of_the_same_number_on_another_machine_is_another(tmp_path, monkeypatch):
    with written_whole(tmp_path / "file") as here:
        write(here)
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        with written_whole(tmp_path / "file") as there:
            write(there, b"there")
            assert here.exists()
        assert (tmp_path / "file").read_bytes() == b"there"
    assert (tmp_path / "file").read_bytes() != b"there"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
