"""A training that was stopped, whenever and however, ends as if it had never been."""

import os
import random
import re
import shutil
import signal

import pytest
import torch

from common.command_line import run_training
from common.training.saving import LastCheckpoint
from common.training.signals import StopSignals
from tests.room import little_room
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs, differences, killed_once, leftovers, wait_for

TABULAR = OWN[3]


@pytest.fixture(scope="module", params=OWN, ids=lambda own: own.modality)
def runs(request, tmp_path_factory):
    own = request.param
    made = Runs(own, tmp_path_factory.mktemp(own.modality), "--averaging", "0.9")
    made.whole = made.fit("whole")
    return made


def test_a_killed_training_ends_as_one_that_was_not(runs):
    folder = killed_once(runs, "killed", random.Random(runs.own.modality))
    assert differences(runs.whole, folder) == []


@pytest.mark.parametrize(
    "further",
    [pytest.param([], id="plain"), *(
        pytest.param([f"--trainer.{name}", value], id=name, marks=marks) for name, value, marks in (
            ("val_check_interval", "2", pytest.mark.slow), ("accumulate_grad_batches", "2", ()),
            ("check_val_every_n_epoch", "2", ()), ("limit_train_batches", "3", pytest.mark.slow),
        )
    )],
)  # fmt: skip
def test_a_training_goes_on_from_any_of_its_saves(further, tmp_path, monkeypatch):
    accumulates = "--trainer.accumulate_grad_batches" in further  # images have a schedule, and 5 batches an epoch
    runs = Runs(OWN[0] if accumulates else TABULAR, tmp_path, *further)
    whole, copies = runs.fit("whole"), []
    save = LastCheckpoint.save

    def kept(self, trainer):
        save(self, trainer)
        copies.append(tmp_path / "copies" / str(len(copies)))
        shutil.copytree(self.path.parent.parent, copies[-1])

    with monkeypatch.context() as patched:
        patched.setattr(LastCheckpoint, "save", kept)
        folder = runs.fit("saved", "--run.save_minutes", "0")
    assert differences(whole, folder) == []  # to save changes nothing
    assert len(copies) > 5
    for copy in copies[:: 4 if further else 2]:
        shutil.rmtree(folder)
        shutil.copytree(copy, folder)
        runs.go_on(folder)
        assert differences(whole, folder) == [], copy


def test_neither_validation_nor_pictures_change_a_training(tmp_path):
    runs = Runs(OWN[0], tmp_path)
    plain = runs.fit("plain")
    without = runs.fit("without", "--trainer.limit_val_batches", "0", "--samples.every_n_epochs", "0")
    states = [found for found in differences(plain, without) if found.startswith(("state_dict", "optimizer_states"))]
    assert states == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends_a_training_with_a_status_that_is_not_0(number, status, tmp_path):
    runs = Runs(TABULAR, tmp_path)
    process = runs.in_a_process(lambda: runs.fit("stopped", "--trainer.max_epochs", "100000"))
    wait_for(lambda: runs.folder("stopped") and (runs.folder("stopped") / "checkpoints" / "last.ckpt").exists())
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == status
    assert differences(runs.folder("stopped"), runs.folder("stopped")) == []  # last.ckpt is whole


def test_a_signal_right_after_going_on_from_best_saves_what_the_message_says(tmp_path, monkeypatch, capfd):
    runs = Runs(TABULAR, tmp_path, "--trainer.max_epochs", "2")
    folder = runs.fit("run")
    best = shutil.copy(folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "chosen.ckpt")
    before = torch.load(best, weights_only=True)["global_step"]
    monkeypatch.setattr(StopSignals, "on_train_start", lambda self, *of: self._receive(signal.SIGTERM, None))
    with pytest.raises(SystemExit) as stopped:
        runs.main(["fit", *runs.options, "--trainer.max_epochs", "100", "--ckpt_path", str(best)])
    assert stopped.value.code == 143
    last = folder / "checkpoints" / "last.ckpt"
    step = torch.load(last, weights_only=True)["global_step"]
    assert step > before
    assert f"at step {step:,}, saved in {last}" in capfd.readouterr().err


def test_what_a_killed_run_has_left_half_written_is_dropped(tmp_path):
    runs = Runs(TABULAR, tmp_path)
    whole, folder = runs.fit("whole"), runs.fit("torn")
    with (folder / "metrics.csv").open("a") as file:
        file.write("1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20")
    # The first was written by a process whose number another one has by now: this one.
    left = (f"checkpoints/last.ckpt.{os.getpid()}.partial", "checkpoints/best.ckpt.1.partial", "results.json.1.partial")
    for name in left:
        (folder / name).write_text("half")
    (folder / "checkpoints" / "mine.partial").write_text("of a person")
    runs.go_on(folder)
    assert differences(whole, folder) == []
    assert [path.name for path in folder.rglob("*.partial")] == ["mine.partial"]


def test_a_training_on_a_full_disk_ends_in_a_line_and_goes_on_when_there_is_room(tmp_path, capfd):
    runs = Runs(TABULAR, tmp_path)
    whole, folder = runs.fit("whole"), runs.fit("full", "--trainer.max_epochs", "1")
    last = folder / "checkpoints" / "last.ckpt"
    before = last.read_bytes()

    def go_on():
        with little_room(len(before) - 2000):
            run_training("train_tabular.py", lambda: runs.go_on(folder))

    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        go_on()
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert re.fullmatch(
        rf"train_tabular\.py: {folder}/checkpoints/\w+\.ckpt cannot be written \(file too large\): make room there, or "
        r"give --run\.root or --out another place; the former one is whole",
        said.splitlines()[-1],
    )
    assert last.read_bytes() == before
    assert leftovers(folder) == []
    runs.go_on(folder)
    assert differences(whole, folder) == []


def test_the_last_weights_are_saved_and_not_their_averages_where_no_validation_follows(tmp_path):
    runs = Runs(TABULAR, tmp_path, "--averaging", "0.9", "--trainer.limit_val_batches", "0")
    saved = torch.load(runs.fit("run") / "checkpoints" / "last.ckpt", weights_only=True)
    average, trained = saved["state_dict"], saved["current_model_state"]
    assert any(not torch.equal(average[name], weight) for name, weight in trained.items())


def test_a_signal_in_the_test_ends_it_with_a_status_that_is_not_0(tmp_path):
    runs = Runs(
        TABULAR, tmp_path, "--run.test", "true", "--data.batch_size", "1", "--model.evaluation.num_samples", "20000"
    )
    process = runs.in_a_process(lambda: runs.fit("tested", "--trainer.max_epochs", "1"))
    wait_for(lambda: runs.folder("tested") and (runs.folder("tested") / "checkpoints" / "last.ckpt").exists())
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert not (runs.folder("tested") / "results.json").exists()
