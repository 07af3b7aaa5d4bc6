"""Jobs on other machines: one whose worker is lost is run again, at most twice; one that fails by itself is not."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from common.executors import shared_locks
from common.executors.executor import Executor, J, Lost, S, Share, StoppedError
from common.executors.training import stop_all

REPEATS = 2  # times that a job is run again


@dataclass(frozen=True)
class Remote:
    """Does a job on another machine, which shares the present folder.

    Attributes:
        work: does a job.
        share: what it may use.
        here: the folder in which it runs.
        runs: the folder of the runs, whose locks all machines must share.
    """

    work: Callable[[Any, Share], Any]
    share: Share
    here: Path
    runs: Path

    def __call__(self, job: Any) -> Any:
        """The outcome; a `StoppedError` where the job is to be run again."""
        os.chdir(self.here)  # a worker of Ray starts in its own
        try:
            shared_locks.check(self.runs)
            return self.work(job, self.share)
        except StoppedError as stopped:
            return stopped
        except Exception as error:
            return Lost(f"{type(error).__name__}: {error}")

    def checkpoint(self, job: Any) -> Any:
        """What submitit asks for before SLURM ends the job: the training is saved, and the job goes on later."""
        from submitit.helpers import DelayedSubmission

        stop_all()
        return DelayedSubmission(self, job)


class Cluster(Protocol):
    """Machines that run jobs."""

    @property
    def at_once(self) -> int | None:
        """Jobs that it is given at the same time, while others wait here; None gives it all."""

    @property
    def threads(self) -> int:
        """CPU threads of a job."""

    def submit(self, remote: Remote, jobs: Sequence[Any]) -> Sequence[Any]:
        """Gives it jobs; a handle of each."""

    def ended(self, handles: Sequence[Any]) -> Sequence[Any]:
        """Waits until one or more have ended, and returns these."""

    def outcome(self, handle: Any) -> Any:
        """What a job that has ended returned; raises StoppedError if it returned nothing."""


def on(cluster: Cluster, runs: Path, log: Callable[[str], None]) -> Executor:
    """Runs jobs on a cluster.

    Args:
        cluster: where.
        runs: the folder of the runs.
        log: receives a line for each job that is run again.
    """

    def execute(jobs: Sequence[J], work: Callable[[J, Share], S]) -> Iterator[tuple[J, S | Lost]]:
        remote = Remote(work, Share(cluster.threads, remote=True), Path.cwd(), runs)
        second = replace(remote, share=replace(remote.share, again=True))
        with shared_locks.held(runs):
            yield from _run(cluster, jobs, remote, second, log)

    return execute


def _run(
    cluster: Cluster, jobs: Sequence[Any], remote: Remote, second: Remote, log: Callable[[str], None]
) -> Iterator[tuple[Any, Any]]:
    """Runs jobs, and those again that were lost, by `second`."""
    lost = Counter[Any]()
    waiting, running = list(jobs), dict[Any, Any]()
    while waiting or running:
        free = len(waiting) if cluster.at_once is None else cluster.at_once - len(running)
        for kind, repeated in ((remote, False), (second, True)):
            chosen = [job for job in waiting[:free] if (lost[job] > 0) == repeated]
            if chosen:
                running |= zip(cluster.submit(kind, chosen), chosen, strict=True)
        del waiting[:free]
        for handle in cluster.ended(list(running)):
            job = running.pop(handle)
            outcome = _outcome(cluster, handle)
            if isinstance(outcome, StoppedError):
                lost[job] += 1
                if lost[job] <= REPEATS:
                    log(f"{job}: {outcome}; run again ({lost[job]} of {REPEATS} times)")
                    waiting.insert(0, job)
                    continue
                outcome = Lost(f"{outcome}, {REPEATS + 1} times")
            yield job, outcome


def _outcome(cluster: Cluster, handle: Any) -> Any:
    try:
        return cluster.outcome(handle)
    except StoppedError as error:
        return error
