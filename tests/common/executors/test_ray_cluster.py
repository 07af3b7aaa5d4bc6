"""Ray, with two workers on this machine, some of which are killed."""

import os
import signal
import threading
import time
from contextlib import suppress

import pytest
import yaml

from common.comparison import study_runs
from common.comparison.progress import progress
from common.comparison.runner import run
from scripts import study
from tests.common.executors.trainings import journal, processes, training_cells, wait_for
from tests.common.sweeps.stub import epochs_trained, repeated, write_sweep
from tests.scripts.test_study import stand_in

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.extras


@pytest.fixture(scope="module", autouse=True)
def _two_workers():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

    def started():
        import common.comparison.runner  # noqa: F401 (which takes a worker seconds)

        time.sleep(1)
        return os.getpid()

    task = ray.remote(num_cpus=1)(started)
    while len(set(ray.get([task.remote(), task.remote()]))) < 2:
        pass
    yield
    ray.shutdown()


def cluster(folder, said):
    from common.executors.cluster import on
    from common.executors.ray_cluster import RayCluster

    return on(RayCluster(parallel=2, cpus=1, gpus=0, address=None), folder, said.append)


def test_cells_of_killed_workers_are_run_again_from_their_checkpoints_to_one_end(tmp_path):
    cells = training_cells(tmp_path, {"both": 8, "worker": 8, "failing": 0}, seconds=0.7)
    both, worker, failing = cells
    seen = []

    def kill():
        """The worker and the training of the first, and the worker of the second alone."""
        wait_for(lambda: len(journal(both)) > 2 and len(journal(worker)) > 2)
        seen.extend(entry.status for entry in progress([both, worker], None))
        pids = [*reversed(processes(both)), processes(worker)[0]]
        for pid in pids:
            with suppress(ProcessLookupError):  # Ray kills a training whose worker is dead
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    said = []
    states = dict(cluster(tmp_path, said)(cells, run))
    killer.join()
    assert seen == ["running", "running"]
    assert [states[cell].status for cell in cells] == ["finished", "finished", "failed"]
    assert "exit status 1: no epochs" in states[failing].reason
    assert sorted(line.partition(":")[0] for line in said) == ["both, seed 0", "worker, seed 0"]
    assert all(line.endswith("run again (1 of 2 times)") for line in said)
    for cell in (both, worker):
        assert journal(cell).count("end") == 1
        epochs = [int(entry) for entry in journal(cell) if entry != "end"]
        assert sorted(set(epochs)) == list(range(8))
        assert len(epochs) <= 9  # the one that was trained and not yet saved


def test_a_sweep_goes_on_where_one_of_its_workers_is_killed(tmp_path, capsys):
    pytest.importorskip("optuna", reason="the extra `sweeps` is not installed")
    from scripts.sweep import main

    path = write_sweep(tmp_path, {"model.x": {"values": [1, 2, 3, 4]}}, epochs=6, seconds=0.25)

    def kill():
        wait_for(lambda: len(epochs_trained(tmp_path).get("trial-000", [])) > 1)
        pid = int((tmp_path / "sweeps" / "numbers" / "stub" / "numbers" / "trial-000" / "worker").read_text())
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    words = ["run", str(path), "--root", str(tmp_path / "sweeps"), "--executor", "ray", "--workers", "2"]
    assert main(words) == 0
    killer.join()
    said = capsys.readouterr().out
    assert "run again (1 of 2 times)" in said
    assert "4 finished, 0 pruned, 0 failed, 0 running, 0 stopped" in said
    trained = epochs_trained(tmp_path)
    assert {run: sorted(set(epochs)) for run, epochs in trained.items()} == {
        f"trial-{number:03d}": [0, 1, 2, 3, 4, 5] for number in range(4)
    }
    assert sum(map(len, repeated(tmp_path).values())) <= 1


def test_a_study_runs_on_ray(tmp_path, monkeypatch, capsys):
    path = tmp_path / "faces.yaml"
    content = {"title": "Faces", "script": "scripts/train_image.py", "configs": ["configs/image/utkface.yaml"]}
    path.write_text(yaml.safe_dump({**content, "conditions": ["age"], "sizes": [5, 50]}))
    values = {"5 examples each": 10.0, "50 examples each": 8.0}
    monkeypatch.setattr(study_runs, "data_table", lambda _: stand_in(tmp_path, values))
    words = ["data", str(path), "--root", str(tmp_path / "runs"), "--out", str(tmp_path), "--executor", "ray"]
    assert study.main(words) == 0
    assert "[2/2] 50 examples each, seed 0: finished" in capsys.readouterr().out
