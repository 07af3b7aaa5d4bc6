"""Signals that stop a training, and a job of SLURM that goes on after it was put into the queue again."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment

from common.training.run_folder import RunConfig, new_folder, unfinished
from common.training.saving import LastCheckpoint
from common.training.signals import requeue, slurm
from tests.conftest import ROOT
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs, differences, wait_for

TABULAR = OWN[3]
TASK = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of SLURM; the words that its `scontrol` has been called with."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in {"SLURM_JOB_ID": "7", **TASK}.items():
        monkeypatch.setenv(name, value)
    called, program = tmp_path / "called", tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {called}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lambda: called.read_text().split("\n")[:-1] if called.exists() else []


def test_an_array_job_is_queued_by_its_own_number(job, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    requeue()
    assert job() == ["requeue 5_2"]


def test_lightning_itself_neither_saves_nor_queues(job):
    (environment,) = slurm([])
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    assert slurm([LightningEnvironment()]) == []


def test_a_job_that_is_queued_again_goes_on_by_itself(job, tmp_path, monkeypatch, caplog):
    runs = Runs(TABULAR, tmp_path)
    tested = ["--run.test", "true", "--model.evaluation.num_samples", "5"]
    whole, jobs = runs.fit("whole", *tested), tmp_path / "job"
    command = ["fit", *runs.options, *tested, "--run.root", str(jobs)]

    def told_to_stop():
        save = LastCheckpoint.on_validation_end

        def saved(last, *arguments):
            save(last, *arguments)
            if last.path.exists():
                os.kill(os.getpid(), signal.SIGUSR1)

        LastCheckpoint.on_validation_end = saved
        runs.main(command)

    process = runs.in_a_process(told_to_stop)
    process.join(60)
    assert (process.exitcode, job()) == (138, ["requeue 7"])
    (folder,) = (jobs / "tabular" / "table").iterdir()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    other = runs.main([*command, "--seed_everything", "1", "--run.test", "false", "--trainer.max_epochs", "1"]).folder
    assert other != folder
    said = caplog.text
    assert f"{folder} is another training of this job: seed_everything was 0, is 1" in said
    assert "it begins anew" in said
    assert runs.main(command).folder == folder
    assert f"{folder} goes on" in caplog.text
    assert differences(whole, folder) == []
    assert (folder / "results.json").exists()


def test_processes_of_a_step_agree_on_the_run_that_goes_on(job, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    run = RunConfig(root=tmp_path)
    first = new_folder(run, "image")
    assert first.name == "slurm-7.0"
    for folder in (first, first.with_name("slurm-7.01"), first.with_name("slurm-7.0-2"), first.with_name("slurm-7-a")):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.ckpt").write_text("")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert {path.parts[-3] for path in unfinished(run, "image")} == {"slurm-7.0", "slurm-7.0-2"}
    (first / "results.json").write_text("")
    assert [path.parts[-3] for path in unfinished(run, "image")] == ["slurm-7.0-2"]
    assert new_folder(run, "image").name == "slurm-7.0-1"


CLUSTER = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES State=UP
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A SLURM of one node: runs one of its commands and returns what that prints."""
    if shutil.which("slurmctld") is None or shutil.which("slurmd") is None:
        pytest.skip("SLURM is not installed (apt-get install slurm-wlm)")
    root = tmp_path / "slurm"
    for name in ("state", "spool"):
        (root / name).mkdir(parents=True)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [free.getsockname()[1] for free in sockets]
    for free in sockets:
        free.close()
    options = {"host": socket.gethostname().split(".")[0], "user": "root", "cores": os.cpu_count()}
    (root / "slurm.conf").write_text(CLUSTER.format(root=root, ports=ports, **options))
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", str(root / "slurm.conf"))

    def run(*words):
        return subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    with (root / "said").open("w") as said:
        daemons = []
        for name in ("slurmctld", "slurmd"):
            daemons.append(subprocess.Popen([name, "-D"], stdout=said, stderr=said))
            time.sleep(2)
        try:
            wait_for(lambda: "idle" in run("sinfo", "--noheader"), 30)
            yield run
        finally:
            run("scancel", "--user=root")
            wait_for(lambda: not run("squeue", "--noheader"), 60)
            for daemon in reversed(daemons):
                daemon.terminate()
                daemon.wait(30)


@pytest.mark.slow  # starts SLURM
@pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons need root")
@pytest.mark.parametrize("array", [False, True], ids=["job", "array"])
def test_slurm_itself_lets_a_training_go_on(array, cluster, tmp_path):
    runs = Runs(TABULAR, tmp_path)
    length = ["--trainer.max_epochs", "20"]
    whole = runs.fit("whole", *length)
    words = ["scripts/train_tabular.py", "fit", *runs.options, "--run.root", str(tmp_path / "jobs"), *length]
    chosen = ["--array=3"] if array else []
    output = tmp_path / "output"
    command = ["sbatch", "--parsable", f"--output={output}", *chosen, "docs/slurm.sbatch", *words]
    job = cluster(*command).strip()
    wait_for(lambda: list((tmp_path / "jobs").rglob("last.ckpt")))
    cluster("scancel", "--signal=USR1", job)
    wait_for(lambda: not cluster("squeue", "--noheader"), 120)
    said = output.read_text()
    assert "stopped by SIGUSR1 at step" in said, said[-3000:]
    assert "SLURM has queued this job again" in said
    (folder,) = (tmp_path / "jobs" / "tabular" / "table").iterdir()
    assert f"{folder} goes on" in said
    assert differences(whole, folder) == []
