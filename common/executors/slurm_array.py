"""Arrays of SLURM's jobs, submitted by submitit; one whose time is over is queued again, and goes on."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.executors.cluster import Remote
from common.executors.executor import Lost, StoppedError

try:
    import submitit
    from submitit.core.utils import FailedJobError, UncompletedJobError
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the executor slurm needs submitit: pip install --editable '.[slurm]'") from error

POLL = 1.0  # seconds between two looks for results
TIMES = 100  # times that a job whose time is over goes on in another


class SlurmArray:
    """Runs jobs as an array of SLURM.

    Args:
        parallel: jobs of the array at a time.
        cpus: CPU cores of each.
        gpus: GPUs of each.
        options: long options of sbatch and their values; `time`, in minutes, must be one of them.
        folder: where submitit keeps its files and the output of jobs, which all machines share.

    Raises:
        ValueError: if there is no SLURM here, or no time is given.
    """

    at_once: int | None = None  # SLURM queues them

    def __init__(self, parallel: int, cpus: float, gpus: float, options: Mapping[str, str], folder: Path) -> None:
        minutes = options.get("time", "")
        if not minutes.isdigit() or int(minutes) < 1:
            raise ValueError("the executor slurm needs the minutes of a job: --slurm time=240")
        if gpus != int(gpus):
            raise ValueError(f"--gpus {gpus:g}: SLURM gives whole GPUs")
        self.threads = max(1, int(cpus))
        given = {"cpus-per-task": str(self.threads), "requeue": True, "gpus-per-node": str(int(gpus)) if gpus else None}
        given |= {name.replace("_", "-"): value for name, value in options.items() if name != "time"}
        try:
            self._executor = submitit.SlurmExecutor(folder, max_num_timeout=TIMES)
        except RuntimeError as error:
            raise ValueError("there is no SLURM on this machine: it has no command srun") from error
        self._executor.update_parameters(
            job_name="cvae",
            time=int(minutes),
            array_parallelism=parallel,
            srun_args=[f"--cpus-per-task={given['cpus-per-task']}"],  # which srun does not take from sbatch
            additional_parameters={name: value for name, value in given.items() if value is not None},
        )

    def submit(self, remote: Remote, jobs: Sequence[Any]) -> list[Any]:
        """submitit's handles of an array."""
        try:
            handles = self._executor.map_array(remote, jobs)
        except FailedJobError as error:
            raise ValueError(f"sbatch refuses: {_line(error)}") from error
        return handles

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """The jobs that have ended. Where the person ends the waiting, the jobs go on."""
        try:
            while not (found := [handle for handle in handles if handle.done()]):
                time.sleep(POLL)
        except KeyboardInterrupt:
            arrays = " ".join(sorted({handle.job_id.partition("_")[0] for handle in handles}))
            print(f"SLURM's jobs go on; to end them: scancel {arrays}", flush=True)
            raise
        return found

    def outcome(self, handle: Any) -> Any:
        """The outcome of a job; one that a person has cancelled is not run again."""
        try:
            return handle.result()
        except UncompletedJobError as error:
            state = handle.state
            if state.startswith("CANCELLED"):
                return Lost(f"SLURM's job {handle.job_id} was cancelled")
            raise StoppedError(f"SLURM's job {handle.job_id} has ended without results ({state})") from error
        except FailedJobError:
            return Lost(f"SLURM's job {handle.job_id} failed (see {handle.paths.stderr})")


def _line(error: Exception) -> str:
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
