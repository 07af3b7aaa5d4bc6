"""What an executor is: it takes jobs and a function that does one, and gives back each job with its outcome."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

J = TypeVar("J")
S = TypeVar("S")


@dataclass(frozen=True)
class Share:
    """What a job may use, and where it runs.

    Attributes:
        threads: CPU threads.
        gpus: the GPUs that it sees, as in CUDA_VISIBLE_DEVICES; None changes nothing.
        remote: whether a cluster runs it, which may stop it at any time and run it again.
        again: whether the worker that had it before was lost.
    """

    threads: int
    gpus: str | None = None
    remote: bool = False
    again: bool = False

    def environment(self) -> dict[str, str]:
        """The environment of a training; on a cluster it is not to take itself for the task of SLURM's job."""
        own = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        if self.gpus is not None:
            own["CUDA_VISIBLE_DEVICES"] = self.gpus
        return {name: value for name, value in own.items() if not (self.remote and name.startswith("SLURM_"))}


@dataclass(frozen=True)
class Lost:
    """What is given back in place of an outcome: why there is none."""

    reason: str


class StoppedError(Exception):
    """A job was stopped from outside, or its worker lost: no mistake of its own, and a cluster runs it again."""


class Executor(Protocol):
    """Runs jobs, and gives back each with its outcome, in the order in which they end."""

    def __call__(self, jobs: Sequence[J], work: Callable[[J, Share], S]) -> Iterator[tuple[J, S | Lost]]: ...
