"""Workers of a sweep: processes that run one trial after another until there are no more."""

import math
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.sweeps.check import check_command
from common.sweeps.space import constants, size, space
from common.sweeps.specification import Sweep
from common.sweeps.storage import ENDED, REASON, Reserved, State, begin, reserve, study_of
from common.sweeps.training import Outcome, run_trial, tell

WAIT = 0.5  # seconds between two looks for a trial that a killed worker has left
FAILURES = 3  # as many trials that fail before one finishes end the sweep: it is the options that they share


def run_sweep(sweep: Sweep, folder: Path, workers: int, most: int | None, threads: int) -> bool:
    """Runs what is missing of a sweep; whether all trials have ended, and one has finished.

    Args:
        sweep: the specification.
        folder: the sweep's folder, which is made.
        workers: processes, each of which runs one training at a time.
        most: most trials; None for the specification's `run_cap`, or all combinations.
        threads: CPU threads of each training.

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
    if workers > 1:
        _processes(workers, (folder, sweep, most, threads))
    work(folder, sweep, most, threads)  # with several: what a killed one has left
    trials = study_of(folder, sweep).get_trials(deepcopy=False)
    return all(trial.state.is_finished() for trial in trials) and any(t.state == State.COMPLETE for t in trials)


def _processes(count: int, arguments: tuple[Any, ...]) -> None:
    """Runs several workers to their end, and says which were killed."""
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_worker, args=arguments, name=f"worker {n + 1}") for n in range(count)]
    for process in started:
        process.start()
    with _terminable():
        try:
            for process in started:
                process.join()
        except BaseException:
            for process in started:
                process.terminate()
            for process in started:
                process.join()
            raise
    for process in started:
        if process.exitcode and process.exitcode < 0:
            _say(f"{process.name} was killed by {signal.Signals(-process.exitcode).name}")


def _worker(folder: Path, sweep: Sweep, most: int | None, threads: int) -> None:
    """A worker in a process of its own."""
    try:
        work(folder, sweep, most, threads)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ValueError:  # which the first process says
        raise SystemExit(2) from None


def work(folder: Path, sweep: Sweep, most: int | None, threads: int) -> None:
    """Runs trials until there are no more. Ctrl-C and SIGTERM stop the present one, saved, to be taken up again."""
    fixed = constants(sweep)
    with _terminable():
        while True:
            _stop_if_all_fail(folder, sweep)
            reserved = reserve(folder, sweep, most)
            if reserved == "done":
                return
            if not isinstance(reserved, Reserved):
                time.sleep(WAIT)
                continue
            try:
                if reserved.again:
                    _say(f"trial {reserved.number}: goes on, its worker was stopped")
                outcome = run_trial(reserved, sweep, fixed, threads)
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
        raise ValueError(
            f"the first {len(failed)} trials have all failed, the last: {reason}. Begin anew: delete {folder}"
        )


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Makes SIGTERM an exception, so that a worker stops its training before it ends; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
