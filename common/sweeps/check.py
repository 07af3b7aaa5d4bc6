"""Whether the training script understands a sweep's command lines, before any trial runs."""

import os
import subprocess
import sys

from common.sweeps.space import Choice, constants, space
from common.sweeps.specification import Sweep


def check_command(sweep: Sweep) -> None:
    """Has the training script parse the command line of one trial, which builds and writes nothing.

    Raises:
        ValueError: with what it says.
    """
    first = {
        name: part.value(part.points[0] if isinstance(part, Choice) else part.low)
        for name, part in space(sweep).items()
    }
    command = [sys.executable, *sweep.command_line({**constants(sweep), **first}), "--print_config"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    parsed = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if parsed.returncode:
        lines = (parsed.stderr or parsed.stdout).strip().splitlines()
        raise ValueError(f"{sweep.path}: {lines[-1] if lines else f'{sweep.program} failed'}")
