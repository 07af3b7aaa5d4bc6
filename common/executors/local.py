"""Jobs on this machine, which divide its threads and GPUs among them."""

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

import torch

from common.command_line import one_line
from common.executors.executor import Executor, J, Lost, S, Share
from common.executors.gpus import shares_of_gpus
from common.executors.training import terminable


def local(parallel: int) -> Executor:
    """Runs jobs in threads of this process, `parallel` at a time: for jobs that do no more than wait for a training."""
    threads = max(1, torch.get_num_threads() // parallel)

    def execute(jobs: Sequence[J], work: Callable[[J, Share], S]) -> Iterator[tuple[J, S | Lost]]:
        free = SimpleQueue[str | None]()
        for gpus in shares_of_gpus(parallel):
            free.put(gpus)

        def in_slot(job: J) -> S:
            gpus = free.get()
            try:
                return work(job, Share(threads, gpus))
            finally:
                free.put(gpus)

        with ThreadPoolExecutor(parallel) as pool:
            running = {pool.submit(in_slot, job): job for job in jobs}
            try:
                for done in as_completed(running):
                    yield running[done], done.result()
            except (KeyboardInterrupt, GeneratorExit):
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    return execute


def in_processes(threads: int) -> Executor:
    """Runs all jobs at the same time, each in a process of its own, whose outcome is None.

    Args:
        threads: CPU threads of each job.
    """

    def execute(jobs: Sequence[J], work: Callable[[J, Share], S]) -> Iterator[tuple[J, S | Lost]]:
        context = multiprocessing.get_context("spawn")
        shares = [Share(threads, gpus) for gpus in shares_of_gpus(len(jobs))]
        started = {
            job: context.Process(target=_process, args=(work, job, share), name=str(job))
            for job, share in zip(jobs, shares, strict=True)
        }
        for process in started.values():
            process.start()
        with terminable():
            try:
                for process in started.values():
                    process.join()
            except BaseException:
                for process in started.values():
                    process.terminate()
                for process in started.values():
                    process.join()
                raise
        for job, process in started.items():
            if process.exitcode and process.exitcode < 0:
                yield job, Lost(f"it was killed by {signal.Signals(-process.exitcode).name}")

    return execute


def _process(work: Callable[[J, Share], object], job: J, share: Share) -> None:
    """A job in a process of its own."""
    try:
        work(job, share)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ValueError as error:
        print(f"{job}: {one_line(error)}", file=sys.stderr)
        raise SystemExit(2) from None
