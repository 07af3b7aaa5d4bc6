"""Workers of a sweep: each runs one trial after another until there are no more, wherever an executor has it run."""

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.executors.executor import Executor, Lost, Share
from common.executors.local import in_processes
from common.executors.training import terminable
from common.sweeps.check import check_command
from common.sweeps.space import constants, size, space
from common.sweeps.specification import Sweep
from common.sweeps.storage import ENDED, REASON, Reserved, State, begin, reserve, study_of
from common.sweeps.training import Outcome, run_trial, tell

WAIT = 0.5  # seconds between two looks for a trial that a killed worker has left
FAILURES = 3  # as many trials that fail before one finishes end the sweep: it is the options that they share


@dataclass(frozen=True)
class Worker:
    """A job of an executor."""

    number: int

    def __str__(self) -> str:
        return f"worker {self.number}"


def run_sweep(
    sweep: Sweep, folder: Path, workers: int, most: int | None, threads: int, cluster: Executor | None = None
) -> bool:
    """Runs what is missing of a sweep; whether all trials have ended, and one has finished.

    Args:
        sweep: the specification.
        folder: the sweep's folder, which is made.
        workers: how many run at the same time, each of them one training.
        most: most trials; None for the specification's `run_cap`, or all combinations.
        threads: CPU threads of each training on this machine.
        cluster: where the workers run; None for this machine.

    Raises:
        ValueError: if the specification is not that of the folder, its command line is not understood by the training
            script, or it has no end.
    """
    most = sweep.run_cap if most is None else most
    if most is None and size(space(sweep)) == math.inf:
        raise ValueError(f"{sweep.path}: a search without an end: give run_cap or --trials")
    begin(folder, sweep)
    if not study_of(folder, sweep).get_trials(deepcopy=False):
        check_command(sweep)
    if cluster is not None or workers > 1:
        jobs = [Worker(number + 1) for number in range(workers)]
        for worker, outcome in (cluster or in_processes(threads))(jobs, partial(_work, folder, sweep, most)):
            if isinstance(outcome, Lost):
                _say(f"{worker}: {outcome.reason}")
    if cluster is None:
        work(folder, sweep, most, Share(threads))  # with several: what a killed one has left
    _stop_if_all_fail(folder, sweep)
    trials = study_of(folder, sweep).get_trials(deepcopy=False)
    return all(trial.state.is_finished() for trial in trials) and any(t.state == State.COMPLETE for t in trials)


def _work(folder: Path, sweep: Sweep, most: int | None, worker: Worker, share: Share) -> None:
    """One of several workers. Which trials have failed is said by the process that has started it."""
    try:
        work(folder, sweep, most, share)
    except AllFailedError:
        return


class AllFailedError(ValueError):
    """The first trials of a sweep have all failed."""


def work(folder: Path, sweep: Sweep, most: int | None, share: Share) -> None:
    """Runs trials until there are no more. Ctrl-C and SIGTERM stop the present one, saved, to be taken up again.

    Where others run the last trials, it waits for them, as they may be killed; on a cluster, only one whose worker was
    lost does so: the others would hold machines for nothing.
    """
    fixed = constants(sweep)
    with terminable():
        while True:
            _stop_if_all_fail(folder, sweep)
            reserved = reserve(folder, sweep, most)
            if reserved == "done" or (reserved == "wait" and share.remote and not share.again):
                return
            if not isinstance(reserved, Reserved):
                time.sleep(WAIT)
                continue
            try:
                if reserved.again:
                    _say(f"trial {reserved.number}: goes on, its worker was stopped")
                outcome = run_trial(reserved, sweep, fixed, share)
                tell(reserved, outcome)
            finally:
                reserved.close()
            _say(f"trial {reserved.number}: {_line(reserved, outcome, sweep)}")


def _line(reserved: Reserved, outcome: Outcome, sweep: Sweep) -> str:
    """The outcome of a trial in a line."""
    chosen = ", ".join(f"{name}={value}" for name, value in reserved.options.items())
    state = ENDED[outcome.state]
    figure = f", {sweep.metric.name} {outcome.value:.4f}" if outcome.value is not None else ""
    return f"{state}{figure} ({chosen})" + (f": {outcome.reason}" if outcome.reason else "")


def _stop_if_all_fail(folder: Path, sweep: Sweep) -> None:
    """Ends a sweep whose first trials have all failed."""
    ended = [trial for trial in study_of(folder, sweep).get_trials(deepcopy=False) if trial.state.is_finished()]
    failed = [trial for trial in ended if trial.state == State.FAIL]
    if len(failed) >= FAILURES and len(failed) == len(ended):
        reason = failed[-1].user_attrs[REASON]
        raise AllFailedError(
            f"the first {len(failed)} trials have all failed, the last: {reason}. Begin anew: delete {folder}"
        )


def _say(text: str) -> None:
    print(text, flush=True)
