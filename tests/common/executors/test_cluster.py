"""A job whose worker is lost is run again, a stated number of times; one that fails by itself is not."""

import os

from common.executors.cluster import on
from common.executors.executor import Lost, StoppedError


class Unreliable:
    """A cluster in this process, which loses the worker of a job as often as its losses say."""

    threads = 4

    def __init__(self, losses, at_once):
        self.losses, self.at_once, self.shares, self.most = dict(losses), at_once, {}, 0

    def submit(self, remote, jobs):
        for job in jobs:
            self.shares.setdefault(job, []).append(remote.share)
        return [(remote, job) for job in jobs]

    def ended(self, handles):
        self.most = max(self.most, len(handles))
        return handles[:1]

    def outcome(self, handle):
        remote, job = handle
        if self.losses.get(job):
            self.losses[job] -= 1
            raise StoppedError("node n1 has died")
        return remote(job)


def double(job, share):
    if job == "bad":
        raise ValueError("it is bad")
    if job == "stopped" and not share.again:
        raise StoppedError("stopped by SIGTERM")
    return 2 * job


def test_a_job_whose_worker_is_lost_is_run_again_at_most_twice(tmp_path):
    cluster, said = Unreliable({"twice": 2, "thrice": 3}, at_once=2), []
    outcomes = dict(on(cluster, tmp_path, said.append)(["once", "twice", "thrice", "bad", "stopped"], double))
    assert outcomes == {
        "once": "onceonce",
        "twice": "twicetwice",
        "thrice": Lost("node n1 has died, 3 times"),
        "bad": Lost("ValueError: it is bad"),
        "stopped": "stoppedstopped",
    }
    assert {job: [share.again for share in shares] for job, shares in cluster.shares.items()} == {
        "once": [False],
        "twice": [False, True, True],
        "thrice": [False, True, True],
        "bad": [False],
        "stopped": [False, True],
    }
    assert all(share.remote and share.threads == 4 for shares in cluster.shares.values() for share in shares)
    assert "twice: node n1 has died; run again (2 of 2 times)" in said
    assert len(said) == 5
    assert cluster.most == 2


def test_jobs_run_in_the_folder_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cluster = Unreliable({}, at_once=None)
    assert list(on(cluster, tmp_path, print)(["here"], lambda job, share: os.getcwd())) == [("here", str(tmp_path))]
    assert cluster.most == 1
