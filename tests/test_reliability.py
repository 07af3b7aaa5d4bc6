"""The table of docs/reliability.md is what the programs have measured, and says what is not finished."""

import importlib
import json
import pickle
import re
import subprocess
import sys
from argparse import ArgumentError
from collections.abc import Iterable

import pytest
import torch
from jsonargparse._common import parsing_settings
from jsonargparse._optionals import _get_config_read_mode

from common.command_line import run_training
from common.configurable import check_trusted
from common.data.from_config import data_from_configuration, data_from_options
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from scripts import train_image
from tests.scripts.resume import Runs, wait_for
from tests.soak.audit import verdict
from tests.soak.hostile import Attempt, Lab, controlled, outcome, payloads
from tests.soak.table import BARS, PAGE, ROWS, renewed, stored, table


def test_the_table_is_that_of_the_measured_rows():
    assert renewed(PAGE.read_text()) == PAGE.read_text(), "run: python -m tests.soak.table"


def test_no_row_shows_a_failure_and_none_is_unfinished():
    rows = stored()
    assert rows["kills"]["equal"] == rows["kills"]["runs"] >= 100
    assert rows["kills"]["kills_by_phase"]["save"] >= 20
    assert (rows["non_finite"]["checkpoints_not_finite"], rows["non_finite"]["exits_with_status_0"]) == (0, 0)
    assert rows["hostile"]["attempts"] >= 500
    assert (rows["hostile"]["executions"], rows["hostile"]["imports"]) == (0, 0)
    assert rows["fuzz"]["cases"] >= 10_000
    assert not any(target["findings"] for target in rows["fuzz"]["targets"].values())
    assert rows["steps"]["flat"]
    assert rows["steps"]["steps"] >= 20_000


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
    yield tmp_path / "mark"
    sys.modules.pop("stranger", None)


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


HOSTILE = {
    "a stranger": ("stranger.Model", {}, "stranger.Model is not part of the suite: .* set SUITE_ALLOW=stranger"),
    "os.system": ("os.system", {"command": "touch MARK"}, "os.system is not part of the suite"),
    "by way of torch": ("torch.os.system", {"command": "touch MARK"}, "posix.system is not part of the suite"),
    "by way of the suite": ("common.configurable.importlib.import_module", {"name": "stranger"}, "is not part of the"),
    "torch.hub": (
        "torch.hub.load",
        {"repo_or_dir": "FOLDER", "model": "m", "source": "local"},
        "model.scheduler: torch.hub.load is no class: a configuration calls no functions",
    ),
    "another class": (
        "torch.nn.Linear",
        {"in_features": 1, "out_features": 1},
        "torch.nn.Linear is no subclass of Uni",
    ),
}


@pytest.mark.parametrize("form", ["file", "file=", "file in a file", "option", "option="])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_persons_configuration_imports_no_stranger_and_calls_nothing(name, form, stranger, capfd):
    path, arguments, said = HOSTILE[name]
    (stranger.with_name("hubconf.py")).write_text(f"open({str(stranger)!r}, 'w').close()\ndef m(): pass\n")
    words = _words({"class_path": path, "init_args": arguments}, form, stranger)
    with pytest.raises(SystemExit) as ending:
        run_training("train_image.py", lambda: train_image.main([*FIT, *words]))
    assert ending.value.code == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.search(said, line)
    if name == "a stranger" and form in ("file", "file="):
        assert f"{stranger.with_name('hostile.yaml')}: model.scheduler: " in line
    assert not stranger.exists()


FIT = ["fit", "--config", "configs/image/digits.yaml", "--wandb.mode", "disabled", "--trainer.fast_dev_run", "true"]


def _words(value, form, mark):
    """The words of a command line with a value of `model.scheduler`, whose places are filled in."""
    text = json.dumps(value).replace("MARK", str(mark)).replace("FOLDER", str(mark.parent))
    if form.startswith("option"):
        return [f"--model.scheduler={text}"] if form == "option=" else ["--model.scheduler", text]
    file = mark.with_name("hostile.yaml")
    if form == "file in a file":
        mark.with_name("value.yaml").write_text(text)
        text = json.dumps(str(mark.with_name("value.yaml")))
    file.write_text(f"model: {{scheduler: {text}}}")
    return [f"--config={file}"] if form == "file=" else ["--config", str(file)]


def test_a_package_that_a_person_allows_is_imported(stranger, monkeypatch):
    monkeypatch.setenv("SUITE_ALLOW", "stranger")
    with pytest.raises(SystemExit):  # it is no scheduler
        train_image.main([*FIT, *_words({"class_path": "stranger.Model"}, "file", stranger)])
    assert stranger.exists()


@pytest.mark.parametrize(
    "words", [["--config", "PLACE"], ["--data=PLACE"], ["--model.scheduler", "PLACE"]], ids=" ".join
)
@pytest.mark.parametrize("scheme", ["memory", "http", "ftp"])
def test_no_address_is_asked_for_a_configuration(scheme, words, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("fsspec.open", lambda *arguments, **options: asked.append(arguments))
    monkeypatch.setattr("requests.head", lambda *arguments, **options: asked.append(arguments))
    (tmp_path / "x.yaml").write_text("class_path: modalities.image.data.Digits\n")
    place = f"{scheme}://{tmp_path}/x.yaml"
    with pytest.raises(SystemExit) as ending:
        train_image.main([*FIT, *(word.replace("PLACE", place) for word in words)])
    with pytest.raises((ImportError, ValueError)):
        data_from_configuration({"data": place})
    assert ending.value.code == 2
    assert not asked


def test_other_configurations_of_the_process_keep_their_own_rules(stranger):
    before = {**parsing_settings, "modes": _get_config_read_mode()}
    with pytest.raises(SystemExit):
        train_image.main([*FIT, *_words({"class_path": "stranger.Model"}, "option", stranger)])
    assert {**parsing_settings, "modes": _get_config_read_mode()} == before


def adam_of(params: Iterable) -> torch.optim.Adam:
    """A function that says of itself that it makes an optimiser."""
    raise AssertionError("it was called")


def test_a_function_that_makes_optimisers_is_refused_in_a_configuration_and_not_in_python():
    line = "model.optimizer: tests.test_reliability.adam_of is no subclass of torch.optim.Optimizer"
    with pytest.raises(ValueError, match=line):
        train_image.main([*FIT, "--model.optimizer", "tests.test_reliability.adam_of"])
    model = ImageCVAE(AttributeEncoder({}), (1, 8, 8), 2, architecture=MLP([4]),
                      optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5))  # fmt: skip
    assert model.factories.make(model.parameters(), lambda: 1).param_groups[0]["lr"] == 0.5


def test_a_configuration_of_data_imports_no_stranger_in_a_file_or_in_options(stranger, tmp_path):
    (tmp_path / "data.yaml").write_text("data: {class_path: stranger.Model}\n")
    with pytest.raises(ValueError, match=r"data\.yaml: data: stranger.Model is not part of the suite"):
        data_from_configuration(tmp_path / "data.yaml")
    with pytest.raises(ArgumentError, match=r"Importing 'stranger.Model' is not allowed"):
        data_from_options(["--data=stranger.Model"])
    assert not stranger.exists()


def lab(tmp_path, work):
    """A laboratory of the soak with one control."""
    lab = Lab.__new__(Lab)
    lab.folder, lab.mark, lab.file = tmp_path, tmp_path / "mark", tmp_path / "hostile.ckpt"
    lab.known = {"torch", "this"}
    lab.runs = {"tabular": Runs.__new__(Runs)}
    lab.controls = lambda: iter([(Attempt("controls", "one", work), "accepted")])
    return lab


def test_the_soak_counts_every_package_that_no_control_imports(tmp_path, stranger, monkeypatch):
    (tmp_path / "harmless.py").touch()
    soak = lab(tmp_path, lambda: importlib.import_module("harmless"))
    assert controlled(soak) == {"accepted": 1}
    assert soak.strange(["torch.nn", "harmless", "stranger.sub", "this", "wave"]) == ["stranger", "this", "wave"]
    found = outcome(soak, Attempt("class paths", "x", lambda: importlib.import_module("stranger")))
    assert (found["ran"], found["imports"]) == (True, ["stranger"])
    monkeypatch.setenv("SUITE_ALLOW", "wave")
    assert soak.strange(["wave"]) == []


def test_the_soak_measures_nothing_where_everything_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match=r"the control one is refused: ZeroDivisionError.*nothing is measured"):
        controlled(lab(tmp_path, lambda: 1 / 0))


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
