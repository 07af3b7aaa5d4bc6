"""The command line that the soaks have in common."""

import argparse
from pathlib import Path

import torch


def soak_arguments(
    description: str | None, work: str, minutes: float, runs: int | None = None, one: str = "case"
) -> argparse.Namespace:
    """The arguments of the process; torch gets one thread, and the folder `work` is made.

    Args:
        description: what the soak does.
        work: folder of what it has done, with which a later call goes on.
        minutes: time after which it begins nothing more.
        runs: how many runs it does; None does all there are.
        one: option that does one of them alone.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    if runs is not None:
        parser.add_argument("--runs", type=int, default=runs)
        parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument(f"--{one}", type=int, help="this one alone")
    parser.add_argument("--work", type=Path, default=Path(work))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    return arguments
