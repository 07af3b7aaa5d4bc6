"""Jobs on this machine divide its GPUs and threads."""

import os
from functools import partial

import pytest

from common.executors.executor import Lost, Share
from common.executors.gpus import shares_of_gpus
from common.executors.local import in_processes, local

SHARES = {("", 2): [None, None], ("4", 2): ["4", "4"], ("0,1,2,3", 1): ["0,1,2,3"], ("0,1,2,3", 2): ["0,1", "2,3"],
          ("0,1,2", 2): ["0", "1"], ("0,1", 3): ["0", "1", "0"]}  # fmt: skip


@pytest.mark.parametrize(("known", "parallel"), SHARES)
def test_gpus_are_divided_among_the_jobs_at_the_same_time(known, parallel, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", known)
    assert shares_of_gpus(parallel) == SHARES[known, parallel]


def test_jobs_at_the_same_time_have_a_gpu_each(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    seen = []

    def work(job, share):
        seen.append(share.environment()["CUDA_VISIBLE_DEVICES"])
        return 10 * job

    assert dict(local(2)(range(6), work)) == {job: 10 * job for job in range(6)}
    assert set(seen) == {"4", "7"}
    assert min(seen.count("4"), seen.count("7")) >= 2


def test_a_training_on_a_cluster_is_not_the_task_of_the_job_of_slurm_that_holds_it(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    environment = Share(3, remote=True).environment()
    assert environment["OMP_NUM_THREADS"] == "3"
    assert [name for name in environment if name.startswith("SLURM_")] == []
    assert Share(3).environment()["SLURM_NTASKS"] == "1"  # a command that a person has put into a job


def record_or_die(folder, job, share):
    (folder / str(job)).write_text(f"{share.gpus} {share.threads}")
    if job == 1:
        os.kill(os.getpid(), 9)


def test_processes_have_a_gpu_each_and_one_that_is_killed_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    ended = list(in_processes(3)([0, 1], partial(record_or_die, tmp_path)))
    assert ended == [(1, Lost("it was killed by SIGKILL"))]
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["0 3", "1 3"]
