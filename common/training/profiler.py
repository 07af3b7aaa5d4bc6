"""The profiler of a training that is not profiled."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lightning.pytorch.profilers import PassThroughProfiler


class Unprofiled(PassThroughProfiler):
    """Measures nothing. Lightning's own makes a generator for each of the hundred hooks of a step."""

    _nothing: AbstractContextManager[Any] = nullcontext()

    def profile(self, action_name: str) -> Any:
        """A context that does nothing."""
        return self._nothing
