"""Trainings that are stopped and go on, and how they compare with one that was never stopped."""

import csv
import importlib
import json
import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

# What a resumed run may differ in: wall-clock rates and memory.
RATES = {"train/examples_per_second", "train/peak_memory_mb", "test/imputation_seconds"}
OF_THE_COMMAND = {"id", "started", "seconds", "peak_memory_mb", "git"}  # the revision gains -dirty as files are edited
OPTIONS = ["--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "2", "--run.test", "false"]


class Runs:
    """Runs of one modality on a person's own small data.

    Args:
        own: the modality.
        root: folder of data and runs.
        further: options of every run.
    """

    def __init__(self, own, root, *further):
        self.own, self.root = own, root
        self.main = importlib.import_module(f"scripts.train_{own.modality}").main
        data = own.write(root / "data", {"low": "calm", "high": "wild"}, 30)
        self.options = [*own.options, *OPTIONS, "--data.root", str(data), *further]

    def fit(self, run_id, *words):
        """A new run; its folder."""
        return self.main(
            ["fit", *self.options, "--run.root", str(self.root / "runs"), "--run.id", run_id, *words]
        ).folder

    def go_on(self, folder):
        """Goes on with a run."""
        self.main(["fit", *self.options, "--ckpt_path", str(folder / "checkpoints" / "last.ckpt")])

    def fit_or_go_on(self, run_id, *words):
        """What a person does after a crash: goes on with the run, or begins it where nothing is saved."""
        folder = self.folder(run_id)
        saved = [] if folder is None else [folder / "checkpoints" / f"{name}.ckpt" for name in ("last", "best")]
        saved = [path for path in saved if path.exists()]
        if not saved:
            return self.fit(run_id, *words)
        return self.main(["fit", "--config", str(folder / "config.yaml"), "--ckpt_path", str(saved[0]), *words]).folder

    def folder(self, run_id):
        """The folder of a run that another process has begun, once it has begun."""
        found = list((self.root / "runs").glob(f"*/*/{run_id}"))
        return found[0] if found else None

    def in_a_process(self, work):
        """Begins a run in a process of its own, a copy of this one."""
        process = multiprocessing.get_context("fork").Process(target=_quietly, args=(work,))
        process.start()
        return process


def _quietly(work):
    torch.set_num_threads(1)  # the threads of the copied process do not exist
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    work()


def wait_for(condition, seconds=120):
    """Waits until something is the case."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def killed_once(runs, run_id, choice: random.Random):
    """A run that saves at every step, is killed at a random moment, and goes on; its folder.

    Args:
        runs: whose run it is.
        run_id: its id.
        choice: chooses the moment.
    """
    process = runs.in_a_process(lambda: runs.fit(run_id, "--run.save_minutes", "0"))
    wait_for(lambda: not process.is_alive() or list((runs.root / "runs").glob(f"*/*/{run_id}/checkpoints/last.ckpt")))
    time.sleep(choice.uniform(0, 0.4))
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    folder = runs.folder(run_id)
    runs.go_on(folder)
    return folder


def differences(one: Path, other: Path) -> list[str]:
    """In which weights, averages, states and rows of metrics two runs differ; none if they are equal bit for bit."""
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, other))
    found = []
    best = [torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (one, other)
            if (run / "checkpoints" / "best.ckpt").exists()]  # fmt: skip
    if len(best) == 2:
        found += _different(*best, "best.ckpt")
    for part in ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "loops",
                 "epoch", "global_step", "noise_seed"):  # fmt: skip
        found += _different(first.get(part), second.get(part), part)
    if rows_of(one) != rows_of(other):
        found.append(f"metrics.csv: {len(rows_of(one))} and {len(rows_of(other))} rows")
    return found


def results_of(one: Path, other: Path) -> list[str]:
    """In which figures of the test, and of each test example, two runs differ; rates and times do not count."""
    found = []
    first, second = (json.loads((run / "results.json").read_text()) for run in (one, other))
    for content in (first, second):
        content["run"] = {name: value for name, value in content["run"].items() if name not in OF_THE_COMMAND}
        content["metrics"] = {name: value for name, value in content["metrics"].items() if name not in RATES}
    found += _different(first, second, "results.json")
    first, second = (dict(np.load(run / "examples.npz")) for run in (one, other))
    if first.keys() != second.keys():
        return [*found, "examples.npz"]
    return found + [f"examples.npz: {name}" for name in first if first[name].tobytes() != second[name].tobytes()]


def leftovers(folder: Path) -> list[Path]:
    """Files of a run that were not written to their end."""
    return [path for path in folder.rglob("*") if re.search(r"\.\d+\.partial$", path.name)]


def rows_of(run: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv without rates."""
    with (run / "metrics.csv").open(newline="") as file:
        return [{name: cell for name, cell in row.items() if name not in RATES} for row in csv.DictReader(file)]


def _different(one: Any, other: Any, name: str) -> list[str]:
    if isinstance(one, torch.Tensor):
        return [] if isinstance(other, torch.Tensor) and torch.equal(one, other) else [name]
    if isinstance(one, dict):
        if not isinstance(other, dict) or one.keys() != other.keys():
            return [name]
        return [found for key in one for found in _different(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [name]
        pairs = enumerate(zip(one, other, strict=True))
        return [found for number, pair in pairs for found in _different(*pair, f"{name}.{number}")]
    return [] if one == other else [f"{name}: {one} and {other}"]
