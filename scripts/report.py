"""Prints the figures of finished runs, or everything about one run.

Mean and standard deviation are those of runs that differ in nothing but their seed; runs of one name with other options
or other data are further rows, which say what differs.
"""

import argparse
import sys
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(description=__doc__)
    result.add_argument("root", type=Path, help="folder that holds runs, or the folder of one run")
    result.add_argument(
        "--metrics",
        nargs="+",
        help="columns of the table (default: NLL, KL, control and judge accuracy and leakage, as far as there are any)",
    )
    result.add_argument("--run", action="store_true", help="print everything about one run, even if it has no results")
    return result


if __name__ == "__main__":
    arguments = parser().parse_args()
    from common.training.run_report import print_report  # after the command line is parsed

    try:
        print_report(arguments.root, arguments.metrics, arguments.run)
    except ValueError as error:
        sys.exit(f"report.py: {error}")
