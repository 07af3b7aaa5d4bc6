"""The training of one trial: a process whose validations are reported while it runs, and which a pruner may stop."""

import csv
import math
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from common.executors.executor import Share, StoppedError
from common.executors.training import STOPPED, stop, training
from common.sweeps.extra import optuna
from common.sweeps.specification import Sweep
from common.sweeps.storage import PRUNED, REASON, SECONDS, Reserved, State

LOG = "log.txt"
POLL = 0.2  # seconds between two looks at metrics.csv
ELBO = "val/elbo"  # decides which weights are kept


@dataclass(frozen=True)
class Outcome:
    """How a trial has ended.

    Attributes:
        state: Optuna's.
        value: the metric, of a finished one.
        reason: why it failed.
    """

    state: State
    value: float | None = None
    reason: str = ""


def run_trial(reserved: Reserved, sweep: Sweep, constants: dict[str, object], share: Share) -> Outcome:
    """Runs a trial to its end, going on from its last checkpoint where it has one.

    Its process inherits the lock of the run folder and holds it even if this one is killed. An exception here, such as
    Ctrl-C, stops the training, which saves itself; the trial stays as it is, to be taken up again.

    Args:
        reserved: the trial.
        sweep: the specification.
        constants: options that all trials share.
        share: what it may use.

    Raises:
        StoppedError: if a cluster has stopped the training.
    """
    if reserved.trial.user_attrs.get(PRUNED):  # decided, and its worker killed before it was told
        return Outcome(State.PRUNED)
    if (reserved.folder / "results.json").exists():  # trained and tested, and its worker killed before it was told
        return _ended(0, reserved, sweep)
    command = [sys.executable, *sweep.command_line({**constants, **reserved.options})]
    root, name, identity = reserved.folder.parents[2], reserved.folder.parent.name, reserved.folder.name
    command += ["--run.root", str(root), "--run.name", name, "--run.id", identity]
    # A training that was killed in its first save may have left best.ckpt alone.
    saved = [path for which in ("last", "best") if (path := reserved.folder / "checkpoints" / f"{which}.ckpt").exists()]
    if saved:
        command += ["--ckpt_path", str(saved[0])]
    with training(command, reserved.folder / LOG, share, reserved.lock, apart=True) as process:
        if _follow(process, reserved, sweep.metric.name):
            return Outcome(State.PRUNED)
    if share.remote and process.returncode in STOPPED:
        raise StoppedError(f"the training of trial {reserved.number} was stopped by SIGTERM")
    return _ended(process.returncode, reserved, sweep)


def _follow(process: subprocess.Popen[bytes], reserved: Reserved, metric: str) -> bool:
    """Reports validations until the training has ended; whether the pruner has stopped it."""
    trial, clock = reserved.trial, _Clock(reserved.trial)
    known = set(trial.study.get_trials(deepcopy=False)[reserved.number].intermediate_values)
    while True:
        running = process.poll() is None
        for step, row in enumerate(validations(reserved.folder, metric), 1):
            if step in known:
                continue
            known.add(step)
            trial.report(row[metric], step)
            clock.store()
            # After each in turn: what the pruner decides depends on the figures, not on when they were read.
            if running and trial.should_prune():
                trial.set_user_attr(PRUNED, step)
                stop(process)  # the training saves itself and ends with status 143
                clock.store()
                return True
        if not running:
            clock.store()
            return False
        time.sleep(POLL)


class _Clock:
    """Seconds of a trial's processes; of one whose worker was killed, those up to its last validation count."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial, self._start = trial, time.monotonic()
        self._before = float(trial.user_attrs.get(SECONDS, 0.0))

    def store(self) -> None:
        self._trial.set_user_attr(SECONDS, round(self._before + time.monotonic() - self._start, 1))


def validations(run: Path, metric: str) -> list[dict[str, float]]:
    """The rows of a run's metrics.csv in which a figure was measured, without a last line that is not yet whole."""
    path = run / "metrics.csv"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    rows = [row for row in csv.DictReader(whole.splitlines()) if row.get(metric)]
    return [{name: float(value) for name, value in row.items() if name and value} for row in rows]


def _ended(status: int, reserved: Reserved, sweep: Sweep) -> Outcome:
    """The outcome of a training that has ended by itself."""
    metric, log = sweep.metric.name, reserved.folder / LOG
    if status:
        lines = log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()
        ending = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return Outcome(State.FAIL, reason=f"{ending}: {lines[-1][:200] if lines else 'no output'} (see {log})")
    rows = validations(reserved.folder, metric)
    if not rows:
        return Outcome(State.FAIL, reason=f"{reserved.folder / 'metrics.csv'} has no column {metric} (see {log})")
    value = kept_row(reserved.folder, rows, sweep)[metric]
    if not math.isfinite(value):
        return Outcome(State.FAIL, reason=f"{metric} is {value} (see {log})")
    return Outcome(State.COMPLETE, value)


def kept_row(run: Path, rows: list[dict[str, float]], sweep: Sweep) -> dict[str, float]:
    """The validation of the weights that a run keeps as best.ckpt: that with the best ELBO, or the last one."""
    config = run / "config.yaml"
    keep = yaml.safe_load(config.read_text()).get("run", {}).get("keep") if config.exists() else None
    return rows[-1] if keep == "last" else max(rows, key=lambda row: row.get(ELBO, -math.inf))


def tell(reserved: Reserved, outcome: Outcome) -> None:
    """Stores the outcome of a trial."""
    if outcome.reason:
        reserved.trial.set_user_attr(REASON, outcome.reason)
    reserved.trial.study.tell(reserved.number, outcome.value, state=outcome.state)
