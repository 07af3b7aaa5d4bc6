"""How a run is recorded, whatever becomes of W&B."""

import csv
import json
import os
import re
import subprocess
import time
import warnings

import pytest

from common.training.saving import LastCheckpoint
from common.training.tracking import wandb_process
from common.training.tracking.metrics_csv import MetricsCSV
from common.training.tracking.provenance import code_difference, config_hash, git_revision
from common.training.tracking.wandb_log import WandbLog
from common.training.tracking.wandb_process import finish_wandb
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs, differences


def test_the_configuration_hash_ignores_where_a_run_lies_and_its_seed_alone():
    config = {"model": {"latent_dim": 4}, "run": {"name": "a"}, "wandb": {}, "seed_everything": 0}
    assert config_hash(config) == config_hash({**config, "batch_finder": {"mode": "off"}})
    assert config_hash(config) == config_hash({**config, "run": {"name": "b"}, "seed_everything": 7})
    assert config_hash(config) != config_hash({**config, "model": {"latent_dim": 5}})


def test_metrics_are_added_to_a_file_that_is_there(tmp_path):
    for part in ({"train/loss": 3.0}, {"test/nll": 2.0}):
        logger = MetricsCSV(tmp_path)
        logger.log_metrics(part, step=1)
        logger.finalize("success")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["train/loss"] for row in rows] == ["3.0", ""]
    assert [row["test/nll"] for row in rows] == ["", "2.0"]


def test_the_revision_is_dirty_where_code_has_changed_and_not_where_tables_were_written(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    monkeypatch.chdir(tmp_path)
    assert git_revision() == "unknown"
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "README.md", "docs/table.json"):
        (tmp_path / name).write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        git(*words)
    clean = git_revision()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "README.md").write_text("2")
    (tmp_path / "docs" / "table.json").write_text("2")
    assert git_revision() == clean
    assert code_difference() == ""
    monkeypatch.chdir(tmp_path / "docs")
    (tmp_path / "code.py").write_text("2")
    assert git_revision() == f"{clean}-dirty"
    assert [line for line in code_difference().splitlines() if line[:1] in "+-"][2:] == ["-1", "+2"]


@pytest.fixture
def own_service(monkeypatch):
    """W&B without what earlier tests have left of it."""
    import wandb

    wandb.teardown()
    for name in ("WANDB_SERVICE", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    finish_wandb()
    wandb.teardown()


def of_wandb(caught):
    return [str(warning.message) for warning in caught if "W&B" in str(warning.message)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    own = Runs(OWN[3], tmp_path_factory.mktemp("runs"), "--model.evaluation.num_samples", "5", "--run.test", "true")
    own.without = own.fit("without")
    return own


@pytest.mark.parametrize("signal", ["KILL", "STOP"])  # a process that is stopped hangs
def test_a_training_ends_well_though_wandb_does_not(own_service, runs, monkeypatch, signal):
    monkeypatch.setattr(wandb_process, "PATIENCE", 1.0)
    without, save = runs.without, LastCheckpoint.on_validation_end

    def killed(last, *arguments):
        save(last, *arguments)
        subprocess.run(["pkill", f"-{signal}", "-P", str(os.getpid()), "wandb-core"], check=False)

    monkeypatch.setattr(LastCheckpoint, "on_validation_end", killed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        folder = runs.fit(signal, "--wandb.mode", "offline")
    (said,) = of_wandb(caught)
    (logged,) = folder.glob("wandb/offline-run-*")
    assert said.startswith("W&B has failed ")
    assert said.endswith(f"wandb sync {logged}")
    assert differences(without, folder) == []
    figures = [json.loads((run / "results.json").read_text())["metrics"] for run in (without, folder)]
    one, other = ({name: figure for name, figure in part.items() if figure["unit"] != "s"} for part in figures)
    assert one == other


def test_once_wandb_has_failed_it_is_left_alone(own_service, tmp_path, monkeypatch):
    logger = WandbLog(tmp_path, offline=True, project="p")
    logger.log_metrics({"loss": 2.0}, step=1)
    calls = []

    def full(*arguments, **options):
        calls.append(arguments)
        raise OSError("No space\nleft on device")

    monkeypatch.setattr(type(logger.experiment), "log", full)
    with pytest.warns(UserWarning, match=r"W&B has failed \(OSError: No space left on device\)"):
        logger.log_metrics({"loss": 1.0}, step=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.log_metrics({"loss": 0.0}, step=3)
        logger.log_hyperparams({"a": 1})
        logger.log_image("picture", ["nowhere.png"])
        logger.experiment.log({"b": 2})
        logger.finalize("success")
        finish_wandb()
    assert len(calls) == 1


def test_where_wandb_cannot_write_the_run_goes_on(own_service, tmp_path):
    (tmp_path / "wandb").write_text("")
    logger = WandbLog(tmp_path, offline=True, project="p")
    with pytest.warns(UserWarning, match=r"W&B has failed \(NotADirectoryError: "):
        logger.log_metrics({"loss": 2.0}, step=1)


def test_a_run_without_a_network_is_logged_offline_and_says_how_to_upload_it(own_service, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_process, "WAIT", 1.0)
    begun = time.monotonic()
    logger = WandbLog(tmp_path / "id", offline=False, project="p")
    with pytest.warns(UserWarning, match="cannot be reached") as caught:
        logger.log_metrics({"loss": 2.0}, step=1)
    finish_wandb()
    assert time.monotonic() - begun < 10
    (said,) = of_wandb(caught)
    (logged,) = tmp_path.glob("id/wandb/offline-run-*")
    assert said.startswith("W&B's server cannot be reached (")
    assert said.endswith(f"wandb sync {logged}")
