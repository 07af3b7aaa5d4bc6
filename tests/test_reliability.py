"""The table of docs/reliability.md is what the programs have measured, and says what is not finished."""

import json
import pickle
import subprocess
import sys
from argparse import ArgumentError

import pytest

from common.configurable import check_trusted
from common.data.from_config import data_from_configuration
from tests.scripts.resume import wait_for
from tests.soak.audit import verdict
from tests.soak.hostile import payloads
from tests.soak.table import BARS, PAGE, ROWS, renewed, table


def test_the_table_is_that_of_the_measured_rows():
    assert renewed(PAGE.read_text()) == PAGE.read_text(), "run: python -m tests.soak.table"


def test_every_measured_row_is_in_the_table():
    assert {path.stem for path in ROWS.glob("*.json")} <= BARS.keys()


def test_a_row_that_is_not_measured_says_so():
    assert table({}).count("| not yet |") == len(BARS)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported, and a configuration that names it; the mark."""
    (tmp_path / "stranger.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\nclass Model: pass\n")
    (tmp_path / "part.yaml").write_text("class_path: stranger.Model\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "mark"


@pytest.mark.parametrize(
    "named",
    [
        {"class_path": "stranger.Model"},
        "stranger.Model",
        "stranger",
        "part.yaml",
        ["stranger.Model"],
        {"class_path": "modalities.audio.data.Tunes", "init_args": {"features": "stranger.Model"}},
        {"class_path": "modalities.audio.data.Tunes", "init_args": {"features": "part.yaml"}},
        {"class_path": "common.stranger.Model"},
        {"class_path": "subprocess.Popen", "init_args": {"args": "true"}},
        {"class_path": "modalities.image.data.os.system"},
    ],
    ids=str,
)
def test_a_configuration_in_a_checkpoint_imports_no_stranger_however_it_is_named(named, stranger):
    def placed(part):  # the file lies beside the module
        if isinstance(part, dict):
            return {name: placed(value) for name, value in part.items()}
        return str(stranger.with_name(part)) if part == "part.yaml" else part

    with pytest.raises((ImportError, TypeError, ValueError, ArgumentError)):
        data_from_configuration({"data": placed(named)})
    assert not stranger.exists()


def test_names_of_files_and_words_are_no_modules(tmp_path):
    (tmp_path / "table.csv").write_text("photo,label\ncat.png,torch.nn\n")
    names = [
        "table.csv",
        "test.csv",
        "code.txt",
        "data.csv",
        str(tmp_path / "table.csv"),
        "a.b",
        "0.5",
        "x" * 5000,
        "\0",
    ]
    check_trusted({"data": {"class_path": "modalities.tabular.data.TableFile", "init_args": {"root": names}}})


def test_an_audit_that_could_compare_nothing_says_so():
    skipped = json.dumps({"dependencies": [{"name": "torch", "skip_reason": "not found"}]})
    assert verdict(skipped)[0] == verdict("")[0] == 3
    known = {"name": "torch", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    status, lines = verdict(json.dumps({"dependencies": [known]}))
    assert status == 1
    assert "CVE-1" in lines[0]
    assert verdict(json.dumps({"dependencies": [{**known, "vulns": []}]}))[0] == 0


@pytest.mark.parametrize("name", payloads(""))
def test_each_hostile_object_acts_where_nothing_hinders_it(tmp_path, name):
    mark = tmp_path / "mark"
    (tmp_path / "stranger.py").write_text(f"open({str(mark)!r}, 'w').close()")
    (tmp_path / "object").write_bytes(pickle.dumps(payloads(str(mark))[name]))
    command = "import pickle, pathlib; pickle.loads(pathlib.Path('object').read_bytes())"
    subprocess.run([sys.executable, "-c", command], cwd=tmp_path, check=False, capture_output=True)
    wait_for(mark.exists, 5)
