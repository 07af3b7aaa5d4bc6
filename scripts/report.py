"""Prints the figures of finished runs: mean and standard deviation over runs of the same name."""

import argparse
import sys
from pathlib import Path

DEFAULT = ["test/nll", "test/kl", "test/control_accuracy", "test/judge_accuracy", "test/leakage"]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("root", type=Path, help="folder of runs, or with --run the folder of one run")
    result.add_argument("--metrics", nargs="+", default=DEFAULT, help=f"metrics (default: {' '.join(DEFAULT)})")
    result.add_argument("--run", action="store_true", help="print everything about one run")
    return result


if __name__ == "__main__":
    arguments = parser().parse_args()
    from common.training.run_report import print_run, print_runs  # after the command line is parsed

    try:
        if arguments.run:
            print_run(arguments.root)
        else:
            print_runs(arguments.root, arguments.metrics)
    except ValueError as error:
        sys.exit(f"report.py: {error}")
