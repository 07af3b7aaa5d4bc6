"""The options by which a command line chooses where its jobs run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import real

if TYPE_CHECKING:
    from common.executors.executor import Executor


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--executor", choices=["local", "ray", "slurm"], default="local",
                        help="this machine, a Ray cluster, or an array of SLURM's jobs (default: local)")  # fmt: skip
    parser.add_argument("--ray-address", help="address of an existing cluster (default: start Ray on this machine)")
    parser.add_argument("--cpus", type=real(0), default=1, help="CPU cores of each job of Ray or SLURM (default: 1)")
    parser.add_argument("--gpus", type=real(0), default=0, help="GPUs of each job of Ray or SLURM (default: 0)")
    parser.add_argument("--slurm", type=_option, nargs="+", default=[], metavar="NAME=VALUE",
                        help="options of sbatch, such as partition=gpu time=240 (minutes)")  # fmt: skip


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, such as partition=gpu")
    return name.lstrip("-"), value


def cluster(arguments: argparse.Namespace, parallel: int, folder: Path) -> Executor | None:
    """The cluster that a person has chosen; None for this machine.

    Args:
        arguments: the command line.
        parallel: jobs at a time.
        folder: folder of the runs.

    Raises:
        ValueError: if options are given that the executor does not have, or it cannot run here.
        ModuleNotFoundError: if its extra is not installed, which the message names.
    """
    if arguments.slurm and arguments.executor != "slurm":
        raise ValueError("--slurm has options of --executor slurm: give that too")
    if arguments.executor == "local":
        return None
    from common.executors.cluster import on

    resources = parallel, arguments.cpus, arguments.gpus
    if arguments.executor == "ray":
        from common.executors.ray_cluster import RayCluster

        return on(RayCluster(*resources, arguments.ray_address), folder, say)
    from common.executors.slurm_array import SlurmArray

    return on(SlurmArray(*resources, dict(arguments.slurm), folder / "slurm"), folder, say)


def say(line: str) -> None:
    """Prints a line at once."""
    print(line, flush=True)
