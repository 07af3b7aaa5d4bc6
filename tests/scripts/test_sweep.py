"""sweep.py as a person uses it, on trainings that take no time, and on a real one."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from scripts.report import main as report
from scripts.sweep import main
from tests.common.sweeps.stub import epochs_trained, repeated, write_sweep
from tests.conftest import ROOT

X = {"model.x": {"values": [2, 3, 4]}}


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch, request):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if any(request.node.get_closest_marker(name) for name in ("extras", "slow")):
        pytest.importorskip("optuna", reason="the extra `sweeps` is not installed")


def sweep(verb, path, *words):
    return main([verb, str(path), "--root", str(path.parent / "sweeps"), *map(str, words)])


def started(path, *words):
    """`sweep.py run` as a process, with its children in a group of their own."""
    command = [sys.executable, str(ROOT / "scripts" / "sweep.py"), "run", str(path)]
    command += ["--root", str(path.parent / "sweeps"), *map(str, words)]
    interrupted = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which a shell's background job ignores
    return subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True, preexec_fn=interrupted
    )


def table(path):
    """The trials."""
    from common.sweeps.specification import read_sweep
    from common.sweeps.table import trial_table

    return trial_table(path.parent / "sweeps" / "numbers", read_sweep(path))


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def children(process):
    """The processes that a process has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == process:
                found.append((int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")))
        except OSError:
            continue
    return found


@pytest.mark.extras
def test_a_grid_is_run_once_with_its_best_trial_marked_and_written(tmp_path, capsys):
    path = write_sweep(tmp_path, X)
    assert sweep("run", path) == 0
    said = capsys.readouterr().out
    assert "3 finished, 0 pruned, 0 failed, 0 running, 0 stopped" in said
    assert f"python {tmp_path}/train_stub.py fit --config={tmp_path}/base.yaml --model.x=3" in said
    best = tmp_path / "sweeps" / "numbers" / "best.yaml"
    assert yaml.safe_load(best.read_text()) == {"model": {"x": 3}}
    rows = table(path).rows
    assert [row.options["model.x"] for row in rows] == [2, 3, 4]
    assert [row.value for row in rows] == pytest.approx([-1.5, -0.5, -1.5])
    assert [row.best for row in rows] == [False, True, False]
    assert sweep("run", path) == 0
    assert epochs_trained(tmp_path) == {f"trial-{number:03d}": [0, 1] for number in range(3)}
    assert report([str(tmp_path / "sweeps" / "numbers"), "--out", str(tmp_path / "page")]) == 0
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Sweep numbers" in page
    assert all(title in page for title in ("History", "Parallel coordinates", "Importance of the options"))


@pytest.mark.extras
def test_every_format_shows_every_trial(tmp_path, capsys):
    path = write_sweep(tmp_path, X)
    sweep("run", path)
    capsys.readouterr()
    for layout, best in (("md", "| **1** | **finished** | **3** | **-0.5000** |"), ("csv", "1,finished,3,-0.5,")):
        assert sweep("show", path, "--format", layout) == 0
        shown = capsys.readouterr().out
        assert best in shown
        assert shown.count("finished") >= 3
    assert sweep("show", path) == 0
    assert "trial-002" in capsys.readouterr().out


@pytest.mark.extras
def test_trials_end_the_search_of_a_space_without_end(tmp_path, capsys):
    path = write_sweep(tmp_path, {"model.x": {"min": 0.0, "max": 6.0}}, "bayes")
    assert sweep("run", path) == 2
    assert "give run_cap or --trials" in capsys.readouterr().err
    assert not (tmp_path / "sweeps").exists()
    assert sweep("run", path, "--trials", 2) == 0
    before = [row.options for row in table(path).rows]
    assert sweep("run", path, "--trials", 5) == 0
    assert [row.options for row in table(path).rows][:2] == before
    assert len(table(path).rows) == 5


@pytest.mark.extras
def test_of_two_workers_with_a_gpu_each_one_is_killed_and_no_trial_is_lost_or_run_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    path = write_sweep(tmp_path, {"model.x": {"values": [1, 2, 3, 4, 5, 6]}}, epochs=5, seconds=0.15)
    process = started(path, "--workers", 2)
    # A worker is the parent of a training that has come to its second epoch; both are killed.
    wait_for(lambda: any(len(epochs) > 1 for epochs in epochs_trained(tmp_path).values()))
    workers = [pid for pid, line in children(process.pid) if "spawn_main" in line]
    assert len(workers) == 2
    victim = next(pid for pid in workers if children(pid))
    trainings = [pid for pid, line in children(victim) if "train_stub" in line]
    for pid in [victim, *trainings]:
        os.kill(pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "was killed by SIGKILL" in said
    assert "goes on, its worker was stopped" in said
    rows = table(path).rows
    assert [(row.state, row.options["model.x"]) for row in rows] == [("finished", x) for x in range(1, 7)]
    # Each epoch once, but for the one that the killed training had trained and not yet saved.
    assert {run: sorted(set(epochs)) for run, epochs in epochs_trained(tmp_path).items()} == {
        f"trial-{number:03d}": [0, 1, 2, 3, 4] for number in range(6)
    }
    assert sum(map(len, repeated(tmp_path).values())) <= 1
    assert {(row.folder / "gpus").read_text() for row in rows} <= {"0", "1"}
    assert [row.value for row in rows] == pytest.approx([-((x - 3) ** 2) - 1 / 5 for x in range(1, 7)])


@pytest.mark.extras
def test_a_training_that_outlives_its_killed_worker_is_waited_for(tmp_path):
    path = write_sweep(tmp_path, {"model.x": {"values": [3]}}, epochs=6, seconds=1.0)
    process = started(path)
    wait_for(lambda: epochs_trained(tmp_path))
    process.kill()
    process.wait()
    assert table(path).rows[0].state == "running"
    assert sweep("run", path) == 0
    assert epochs_trained(tmp_path) == {"trial-000": [0, 1, 2, 3, 4, 5]}
    assert table(path).rows[0].value == pytest.approx(-1 / 6)


@pytest.mark.extras
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_sweep_saved_and_the_next_command_goes_on(tmp_path, number, status):
    path = write_sweep(
        tmp_path, {"model.x": {"values": [3, 4]}}, epochs=4, seconds=0.4
    )  # so that the signal comes before the end
    process = started(path)
    wait_for(lambda: epochs_trained(tmp_path))
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == status
    assert [row.state for row in table(path).rows] == ["stopped"]
    assert sweep("run", path) == 0
    assert epochs_trained(tmp_path) == {"trial-000": [0, 1, 2, 3], "trial-001": [0, 1, 2, 3]}


@pytest.mark.extras
def test_a_training_without_prospects_is_pruned(tmp_path):
    early = {"type": "hyperband", "min_iter": 1, "max_iter": 9, "eta": 3}
    values = [3, 3.5, 9, 10, 11, 12]
    path = write_sweep(tmp_path, {"model.x": {"values": values}}, epochs=9, seconds=0.1, early_terminate=early)
    assert sweep("run", path) == 0
    rows = table(path).rows
    pruned = [row for row in rows if row.state == "pruned"]
    assert len(pruned) >= 2  # hyperband's brackets spare some
    assert all(row.options["model.x"] >= 9 for row in pruned)
    trained = epochs_trained(tmp_path)
    assert all(1 <= len(trained[row.folder.name]) < 9 for row in pruned)
    assert all(len(trained[row.folder.name]) == 9 for row in rows if row.state == "finished")
    assert table(path).best.options["model.x"] == 3


@pytest.mark.extras
def test_a_failed_trial_keeps_its_reason_and_the_sweep_goes_on(tmp_path, capsys):
    path = write_sweep(tmp_path, {"model.x": {"values": [-1, 3]}})
    assert sweep("run", path) == 0
    said = capsys.readouterr().out
    assert "1 finished, 0 pruned, 1 failed" in said
    assert "exit status 1: the value is negative (see " in said
    assert table(path).rows[0].reason.startswith("exit status 1: the value is negative (see ")


@pytest.mark.extras
def test_a_sweep_whose_first_trials_all_fail_is_ended(tmp_path, capsys):
    path = write_sweep(tmp_path, {"model.x": {"values": [-1, -2, -3, -4, 3]}})
    assert sweep("run", path) == 2
    assert "the first 3 trials have all failed, the last: exit status 1: the value" in capsys.readouterr().err
    assert len(table(path).rows) == 3


@pytest.mark.extras
def test_a_changed_specification_is_refused(tmp_path, capsys):
    path = write_sweep(tmp_path, X)
    sweep("run", path, "--trials", 1)
    before = path.read_text()
    for content, message in (
        (before.replace("- 4", "- 5"), "parameters.model.x was {'values': [2, 3, 4]}, is {'values': [2, 3, 5]}"),
        (before.replace("maximize", "minimize"), "metric was maximize val/elbo, is minimize val/elbo"),
        (before.replace("method: grid", "method: random"), "method was grid, is random"),
    ):
        path.write_text(content)
        capsys.readouterr()
        assert sweep("run", path) == 2
        assert message in capsys.readouterr().err
    path.write_text(before + "run_cap: 2\n")  # how long it is may change
    assert sweep("run", path) == 0
    (tmp_path / "base.yaml").write_text("model: {width: 3}\n")
    assert sweep("run", path) == 2
    assert f"{tmp_path / 'base.yaml'} was" in capsys.readouterr().err


@pytest.mark.extras
def test_an_unknown_option_is_refused_before_a_trial_runs(tmp_path, capsys):
    path = write_sweep(tmp_path, {**X, "model.z": {"value": 3}})
    assert sweep("run", path) == 2
    assert "train_stub.py: unknown option --model.z" in capsys.readouterr().err
    assert epochs_trained(tmp_path) == {}
    assert table(path).rows == []


@pytest.mark.extras
def test_figures_are_those_of_optuna_and_the_page_needs_no_network(tmp_path, capsys):
    from common.sweeps.figures import figures

    path = write_sweep(tmp_path, {"model.x": {"values": [1, 2]}, "model.y": {"values": [0, 1]}}, epochs=1)
    sweep("run", path)
    drawn = dict(figures(tmp_path / "sweeps" / "numbers"))
    assert list(drawn) == [
        "History", "Importance of the options", "Parallel coordinates", "Each option against the figure",
    ]  # fmt: skip
    assert len(drawn["History"].data[0].y) == 4
    assert sum(drawn["Importance of the options"].data[0].x) == pytest.approx(1.0)
    page = tmp_path / "page.html"
    assert sweep("plot", path, "--out", page) == 0
    text = page.read_text()
    assert text.count("Plotly.newPlot") >= 4
    assert re.search(r"<script[^>]*\bsrc=", text) is None


@pytest.mark.parametrize("verb", ["show", "plot"])
@pytest.mark.extras
def test_a_sweep_that_was_not_run_says_so(tmp_path, capsys, verb):
    path = write_sweep(tmp_path, X)
    assert sweep(verb, path) == 2
    assert "holds no sweep: run it first (sweep.py run)" in capsys.readouterr().err
    assert not (tmp_path / "sweeps").exists()


def test_without_optuna_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for name in [name for name in sys.modules if name.startswith("common.sweeps.") and "spec" not in name]:
        monkeypatch.delitem(sys.modules, name)
    assert sweep("show", write_sweep(tmp_path, X)) == 2
    assert "sweeps need Optuna: pip install --editable '.[sweeps]'" in capsys.readouterr().err


def write_breast_cancer(folder, **changes):
    """A sweep of real trainings: two batches an epoch."""
    content = {
        "program": "scripts/train_tabular.py",
        "command": ["${program}", "fit", "--config", "configs/tabular/breast_cancer.yaml"],
        "method": "grid",
        "metric": {"name": "val/elbo", "goal": "maximize"},
        "parameters": {
            "model.latent_dim": {"values": [2, 4]},
            "trainer.max_epochs": {"value": 2},
            "run.test": {"value": False},
            "wandb.mode": {"value": "disabled"},
            **changes,
        },
    }
    content["command"] += ["--config", "configs/trainer/debug.yaml", "${args}"]
    path = folder / "numbers.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.extras
def test_the_figure_of_a_real_training_is_that_of_the_weights_it_keeps(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = write_breast_cancer(tmp_path, **{"model.latent_dim": {"values": [2]}})
    assert sweep("run", path) == 0
    (row,) = table(path).rows
    assert (row.state, row.options) == ("finished", {"model.latent_dim": 2})
    with (row.folder / "metrics.csv").open() as file:
        measured = [float(line["val/elbo"]) for line in csv.DictReader(file) if line["val/elbo"]]
    assert len(measured) == 2
    assert row.value == max(measured)
    assert yaml.safe_load((row.folder / "config.yaml").read_text())["model"]["latent_dim"] == 2


@pytest.mark.slow
def test_real_trainings_of_a_killed_worker_end_as_if_nothing_had_happened(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    figures = {}
    for name, killed in (("calm", False), ("killed", True)):
        folder = tmp_path / name
        folder.mkdir()
        # Whole epochs: of a limited one, a resumed training has other batches than one that was never stopped.
        changes = {"trainer.max_epochs": {"value": 6}, "trainer.limit_train_batches": {"value": 1.0}}
        path = write_breast_cancer(folder, **changes)
        process = started(path, "--workers", 2)
        if killed:
            checkpoints = "sweeps/numbers/tabular/numbers/*/checkpoints/last.ckpt"
            trial = wait_for(lambda: list(folder.glob(checkpoints)), 120)[0].parents[1].name  # noqa: B023
            workers = [pid for pid, line in children(process.pid) if "spawn_main" in line]
            (victim,) = [pid for pid in workers if any(trial in line for _, line in children(pid))]
            for pid in [victim, *(pid for pid, _ in children(victim))]:
                os.kill(pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert ("goes on, its worker was stopped" in said) == killed
        figures[name] = [(row.state, row.options, row.value) for row in table(path).rows]
    assert [state for state, _, _ in figures["calm"]] == ["finished"] * 2
    assert figures["killed"] == figures["calm"]
