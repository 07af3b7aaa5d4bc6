"""Arrays of SLURM's jobs, through submitit and commands that stand in for SLURM's on this machine."""

import os
import re
import signal
import threading

import pytest

from common.comparison.progress import progress
from common.comparison.runner import run
from common.executors.executor import Lost, StoppedError
from scripts import compare, sweep
from tests.common.comparison.tables import journal as runs
from tests.common.comparison.tables import write_table
from tests.common.executors.slurm_commands import install
from tests.common.executors.trainings import journal, processes, training_cells, wait_for
from tests.common.sweeps.stub import epochs_trained, write_sweep
from tests.conftest import ROOT

submitit = pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
pytestmark = pytest.mark.extras


@pytest.fixture(autouse=True)
def jobs(tmp_path, monkeypatch):
    """The folder in which the stand-in for SLURM keeps its jobs."""
    install(tmp_path / "bin")
    (tmp_path / "jobs").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "jobs"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(submitit.SlurmJob, "_results_timeout_s", 1)
    return tmp_path / "jobs"


def test_cells_whose_time_is_over_or_whose_node_is_lost_go_on_from_their_checkpoints(tmp_path, jobs):
    from common.executors.cluster import on
    from common.executors.slurm_array import SlurmArray

    cells = training_cells(tmp_path, {"late": 12, "lost": 12, "failing": 0}, seconds=0.7)
    late, lost, failing = cells
    seen = []

    def disturb():
        wait_for(lambda: len(journal(late)) > 1 and len(journal(lost)) > 1)
        seen.extend(entry.status for entry in progress([late, lost], None))
        for pid in processes(late):  # SLURM warns every process of a job
            os.kill(pid, signal.SIGUSR2)
        for pid in processes(lost):
            os.kill(pid, signal.SIGKILL)

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    said = []
    array = SlurmArray(3, 1, 0, {"time": "30"}, tmp_path / "slurm")
    states = dict(on(array, tmp_path, said.append)(cells, run))
    disturbing.join()
    assert seen == ["running", "running"]
    assert [states[cell].status for cell in cells] == ["finished", "finished", "failed"]
    assert "exit status 1: no epochs" in states[failing].reason
    assert said == ["lost, seed 0: SLURM's job 1_1 has ended without results (NODE_FAIL); run again (1 of 2 times)"]
    assert [entry for entry in journal(late) if entry.isalpha()] == ["stopped", "end"]
    assert [int(entry) for entry in journal(late) if not entry.isalpha()] == list(
        range(12)
    )  # saved when it was stopped
    assert sorted({int(entry) for entry in journal(lost) if entry != "end"}) == list(range(12))
    assert journal(lost).count("end") == 1


def test_a_table_is_an_array_with_the_options_of_the_command_line(tmp_path, jobs, capsys):
    table = write_table(tmp_path, {"a": 1.0, "bad": -1.0}, seeds=[0, 1])
    words = ["--root", str(tmp_path / "runs"), "--out", str(tmp_path), "--executor", "slurm", "--max-parallel", "2"]
    options = ["--cpus", "2", "--gpus", "1", "--slurm", "partition=gpu", "time=240", "mem=32G"]
    assert compare.main(["run", str(table), *words, *options]) == 1
    shown = capsys.readouterr().out
    assert "| a | 1.0 ± 0.0 | 2 |" in shown
    assert "| bad | failed | 0 |" in shown
    assert sorted(runs(tmp_path)) == ["-1.0 0", "-1.0 1", "1.0 0", "1.0 1"]
    batch = (jobs / "1.sh").read_text()
    given = dict(re.findall(r"#SBATCH --([\w-]+)=?(.*)", batch))
    expected = {"array": "0-3%2", "partition": "gpu", "time": "240", "mem": "32G", "requeue": "", "job-name": "cvae",
                "gpus-per-node": "1", "cpus-per-task": "2", "signal": "USR2@90"}  # fmt: skip
    assert {name: given.get(name) for name in expected} == expected
    assert re.search(r"^srun .* --cpus-per-task=2 ", batch, re.MULTILINE)
    assert len(list(jobs.glob("*.sh"))) == 1


def test_a_sweep_is_an_array_of_workers_and_goes_on_where_the_time_of_one_is_over(tmp_path, jobs, capsys):
    pytest.importorskip("optuna", reason="the extra `sweeps` is not installed")
    path = write_sweep(tmp_path, {"model.x": {"values": [2, 3, 4]}}, epochs=6, seconds=0.25)

    def warn():
        wait_for(lambda: len(epochs_trained(tmp_path).get("trial-000", [])) > 1)
        worker = tmp_path / "sweeps" / "numbers" / "stub" / "numbers" / "trial-000" / "worker"
        os.kill(int(worker.read_text()), signal.SIGUSR2)

    warning = threading.Thread(target=warn)
    warning.start()
    words = ["--root", str(tmp_path / "sweeps"), "--executor", "slurm", "--workers", "2", "--slurm", "time=10"]
    assert sweep.main(["run", str(path), *words]) == 0
    warning.join()
    assert "3 finished, 0 pruned, 0 failed, 0 running, 0 stopped" in capsys.readouterr().out
    assert epochs_trained(tmp_path) == {f"trial-{number:03d}": [0, 1, 2, 3, 4, 5] for number in range(3)}
    outputs = "".join(file.read_text() for file in (tmp_path / "sweeps" / "numbers" / "slurm").glob("*.out"))
    assert "trial 0: goes on, its worker was stopped" in outputs
    assert "#SBATCH --array=0-1%2" in (jobs / "1.sh").read_text()


def test_who_ends_the_waiting_hears_how_to_end_the_jobs(tmp_path, capsys):
    from common.executors.slurm_array import SlurmArray

    class Handle:
        def __init__(self, job_id):
            self.job_id = job_id

        def done(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SlurmArray(1, 1, 0, {"time": "30"}, tmp_path / "slurm").ended([Handle("7_0"), Handle("7_1"), Handle("9")])
    assert capsys.readouterr().out == "SLURM's jobs go on; to end them: scancel 7 9\n"


def test_threads_on_a_cluster_are_its_cores(tmp_path, capsys):
    pytest.importorskip("optuna", reason="the extra `sweeps` is not installed")
    path = write_sweep(tmp_path, {"model.x": {"values": [2]}})
    words = ["--root", str(tmp_path / "sweeps"), "--executor", "slurm", "--slurm", "time=9", "--threads", "2"]
    assert sweep.main(["run", str(path), *words]) == 2
    assert "--threads is for --executor local; slurm takes --cpus" in capsys.readouterr().err


def test_what_sbatch_refuses_is_said_in_its_words(tmp_path, capsys):
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    table = write_table(tmp_path, {"a": 1.0, "b": 2.0})
    words = ["--root", str(tmp_path / "runs"), "--out", str(tmp_path), "--executor", "slurm", "--slurm", "time=9"]
    assert compare.main(["run", str(table), *words]) == 2
    assert "compare.py: sbatch refuses: sbatch: error: invalid partition\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "again"), [("CANCELLED by 1000", False), ("NODE_FAIL", True), ("TIMEOUT", True), ("OUT_OF_MEMORY", True)]
)
def test_a_job_that_a_person_cancels_is_not_run_again(tmp_path, state, again):
    from common.executors.slurm_array import SlurmArray

    class Handle:
        job_id = "7_1"

        def result(self):
            raise submitit.core.utils.UncompletedJobError("no output")

    Handle.state = state
    array = SlurmArray(1, 1, 0, {"time": "30"}, tmp_path / "slurm")
    if again:
        with pytest.raises(StoppedError, match=rf"SLURM's job 7_1 has ended without results \({state}\)"):
            array.outcome(Handle())
    else:
        assert array.outcome(Handle()) == Lost("SLURM's job 7_1 was cancelled")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--executor", "slurm"], "needs the minutes of a job: --slurm time=240"),
        (["--executor", "slurm", "--slurm", "time=9", "--gpus", "0.5"], "--gpus 0.5: SLURM gives whole GPUs"),
        (["--slurm", "time=9"], "--slurm has options of --executor slurm: give that too"),
    ],
)
def test_options_that_slurm_does_not_have_are_refused(tmp_path, capsys, words, message):
    table = write_table(tmp_path, {"a": 1.0})
    assert compare.main(["run", str(table), "--root", str(tmp_path / "runs"), "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert runs(tmp_path) == []
