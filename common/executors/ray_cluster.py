"""A Ray cluster that shares the folder of runs."""

from collections.abc import Sequence
from typing import Any

from common.executors.cluster import Remote
from common.executors.executor import Lost, StoppedError

try:
    import ray
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the executor ray needs Ray: pip install --editable '.[ray]'") from error


class RayCluster:
    """Runs each job as a task of Ray, which chooses its GPUs.

    Args:
        parallel: jobs at a time.
        cpus: CPU cores of each.
        gpus: GPUs of each.
        address: address of an existing cluster; None starts one on this machine.
    """

    def __init__(self, parallel: int, cpus: float, gpus: float, address: str | None) -> None:
        self.at_once, self.threads = parallel, max(1, int(cpus))
        self._cpus, self._gpus = cpus, gpus
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False)

    def submit(self, remote: Remote, jobs: Sequence[Any]) -> list[Any]:
        """A reference of each task. Ray itself repeats none."""

        def work(job: Any) -> Any:
            return remote(job)

        task: Any = ray.remote(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)(work)
        return [task.remote(job) for job in jobs]

    def ended(self, handles: Sequence[Any]) -> list[Any]:
        """The first task that has ended."""
        return list(ray.wait(list(handles), num_returns=1)[0])

    def outcome(self, handle: Any) -> Any:
        """The outcome of a task."""
        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            return Lost(_line(error))
        except ray.exceptions.RayError as error:
            raise StoppedError(f"its worker was lost ({_line(error)})") from error


def _line(error: Exception) -> str:
    """The name and the last line of one of Ray's errors, whose first lines are a traceback."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1][:200]}"
