"""Run folders: one for each training, and none is ever written into by another."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.training.run_folder import RUN_ID, Claim, RunConfig, checkpoint_by_name, forget_id, new_folder, own_folder

ROOT = Path(__file__).parents[3]
SLURM = ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_STEP_ID")
LAUNCHERS = (RUN_ID, "LOCAL_RANK", "TORCHELASTIC_RUN_ID", *SLURM)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in LAUNCHERS:
        monkeypatch.setenv(name, "")  # so that what a run sets is undone as well
        monkeypatch.delenv(name)


def checkpoint(folder, name="last.ckpt"):
    path = folder / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def test_two_trainings_in_one_process_get_two_folders(tmp_path):
    run = RunConfig(name="a", root=tmp_path)
    first = new_folder(run, "image")
    assert first.parent == tmp_path / "image" / "a"
    assert new_folder(run, "image") != first


def test_processes_that_lightning_starts_inherit_the_folder(tmp_path, monkeypatch):
    run = RunConfig(root=tmp_path)
    first = new_folder(run, "image")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert new_folder(run, "image") == first
    forget_id()
    assert new_folder(run, "image") != first


def test_two_trainings_in_one_job_get_two_folders_and_the_processes_of_one_step_agree(tmp_path, monkeypatch):
    run = RunConfig(root=tmp_path)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_PROCID", "0")
    first = new_folder(run, "image")
    assert first.name.startswith("slurm-7-")
    assert new_folder(run, "image") != first
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_ID", "3")
    assert new_folder(run, "image").name == new_folder(run, "image").name == "slurm-7.3"


def test_processes_that_torchrun_starts_agree(tmp_path, monkeypatch):
    run = RunConfig(root=tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert new_folder(run, "image") == new_folder(run, "image")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "42")
    assert new_folder(run, "image").name == "torchrun-42"


def test_a_checkpoint_leads_back_to_its_run_and_to_no_other(tmp_path):
    folder = tmp_path / "image" / "a" / "someid"
    last = checkpoint(folder)
    elsewhere = RunConfig(name="b", root=tmp_path / "elsewhere", id="x")
    assert own_folder(last, elsewhere, ()) == folder
    assert own_folder(tmp_path / "loose.ckpt", elsewhere, ()) is None
    assert own_folder(last, RunConfig(name="a", root=tmp_path, id="someid"), ("root", "name", "id")) == folder
    for option in ("root", "name", "id"):
        with pytest.raises(ValueError, match=f"--run.{option} is .*--weights"):
            own_folder(last, elsewhere, (option,))


def test_last_is_that_of_the_newest_run_or_of_the_named_one(tmp_path):
    run = RunConfig(name="a", root=tmp_path)
    for number, name in enumerate(("new", "old")):
        os.utime(checkpoint(tmp_path / "image" / "a" / name), (1_000_000 - number, 1_000_000 - number))
    assert checkpoint_by_name("last", run, "image").parts[-3] == "new"
    assert checkpoint_by_name("last", RunConfig(name="a", root=tmp_path, id="old"), "image").parts[-3] == "old"
    with pytest.raises(FileNotFoundError, match=r"checkpoints/best\.ckpt"):
        checkpoint_by_name("best", run, "image")


def test_a_folder_that_is_being_trained_in_is_refused(tmp_path):
    claim = Claim(tmp_path / "run", fresh=True)
    code = (
        "import sys; from pathlib import Path; from common.training.run_folder import Claim\n"
        "try:\n    Claim(Path(sys.argv[1]), fresh=False)\n"
        "except ValueError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "is being trained by another process" in shown
    claim.release()
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout == ""


def test_a_new_run_takes_no_folder_with_something_to_lose(tmp_path):
    folder = tmp_path / "run"
    checkpoint(folder)
    with pytest.raises(ValueError, match=r"another run's \(checkpoints/last\.ckpt\).*--ckpt_path"):
        Claim(folder, fresh=True)
    Claim(folder, fresh=False).release()


def test_a_folder_is_gone_on_with_from_what_it_holds(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").write_text("weights")
    with pytest.raises(ValueError, match=r"go on with it by --ckpt_path \S+/checkpoints/best\.ckpt, or give another"):
        Claim(tmp_path, fresh=True)
    (tmp_path / "checkpoints" / "best.ckpt").rename(tmp_path / "results.json")
    with pytest.raises(ValueError, match=r"another run's \(results\.json\): give another --run\.id"):
        Claim(tmp_path, fresh=True)


@pytest.mark.parametrize("options", [{"name": "../../evil"}, {"id": "/tmp/x"}, {"name": ""}, {"name": "a", "id": ".."}])
def test_a_name_does_not_lead_out_of_the_root(tmp_path, options):
    with pytest.raises(ValueError, match=r"is no name of a folder below run\.root"):
        new_folder(RunConfig(root=tmp_path, **options), "image")
