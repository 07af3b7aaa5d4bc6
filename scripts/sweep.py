"""Searches for good options: runs the sweeps of configs/sweeps, shows their trials, and draws what they have found."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, file_to_write, folder_to_write, run_script, whole
from common.executors.options import add_executor, cluster

# Heavy packages are imported where they are used, so that the command line is parsed before they are.
if TYPE_CHECKING:
    from common.sweeps.specification import Sweep

SPECIFICATIONS = Path("configs/sweeps")
EPILOG = """examples:
  sweep.py run digits --workers 2      # runs what is missing; may be killed and started again at any time
  sweep.py show digits --format md
  sweep.py plot digits --out digits.html
The specification is one of W&B's sweeps: `wandb sweep configs/sweeps/digits.yaml` runs the same."""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("sweep.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    verbs = result.add_subparsers(dest="verb", required=True)
    shared = Parser(add_help=False)
    shared.add_argument("sweep", help="name of a specification in configs/sweeps, or its path")
    shared.add_argument("--root", type=folder_to_write, default=Path("runs/sweeps"),
                        help="folder of all sweeps (default: runs/sweeps)")  # fmt: skip

    run = verbs.add_parser("run", parents=[shared], help="run what is missing, and print the table and the best trial")
    run.add_argument("--workers", type=whole(1), default=1, metavar="N", help="trials at a time (default: 1)")
    run.add_argument("--trials", type=whole(1), metavar="N", help="most trials (default: run_cap of the specification)")
    run.add_argument("--threads", type=whole(1), metavar="N",
                     help="CPU threads of each training (default: this machine's, shared by the workers)")  # fmt: skip
    add_executor(run)

    show = verbs.add_parser("show", parents=[shared], help="print the trials")
    show.add_argument("--format", choices=["text", "md", "csv"], default="text", help="format (default: text)")

    plot = verbs.add_parser("plot", parents=[shared], help="draw importance, parallel coordinates, history and slices")
    plot.add_argument("--out", type=file_to_write, help="the page (default: plots.html in the sweep's folder)")
    return result


def find_sweep(name: str) -> Sweep:
    """A sweep's specification, from its name or path."""
    from common.sweeps.specification import read_sweep

    return read_sweep(Path(name) if name.endswith((".yaml", ".yml")) else SPECIFICATIONS / f"{name}.yaml")


def run_sweep(arguments: argparse.Namespace, sweep: Sweep, folder: Path) -> int:
    """Runs what is missing; 1 if trials are left or none has finished."""
    from common.sweeps import workers
    from common.sweeps.best import best_command, write_best
    from common.sweeps.table import as_text, trial_table

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    available = int(os.environ.get("OMP_NUM_THREADS") or cores)
    threads = arguments.threads or max(1, available // arguments.workers)
    if arguments.threads and arguments.executor != "local":
        raise ValueError(f"--threads is for --executor local; {arguments.executor} takes --cpus")
    machines = cluster(arguments, arguments.workers, folder)
    complete = workers.run_sweep(sweep, folder, arguments.workers, arguments.trials, threads, machines)
    table = trial_table(folder, sweep)
    print(as_text(table), end="")
    if table.best is not None:
        print(f"the best is trial {table.best.number}; to train it in full:\n{best_command(sweep, table.best.options)}")
        print(f"its options: {write_best(folder, sweep, table)}")
    return int(not complete)


def show_sweep(arguments: argparse.Namespace, sweep: Sweep, folder: Path) -> int:
    """Prints the trials."""
    from common.sweeps.table import FORMATS, trial_table

    print(FORMATS[arguments.format](trial_table(folder, sweep)), end="")
    return 0


def plot_sweep(arguments: argparse.Namespace, sweep: Sweep, folder: Path) -> int:
    """Draws the trials."""
    from common.sweeps.figures import write_page

    out = arguments.out or folder / "plots.html"
    write_page(folder, out)
    print(f"written: {out}")
    return 0


def work(arguments: argparse.Namespace) -> int:
    """Does what the verb says; returns the exit status."""
    sweep = find_sweep(arguments.sweep)
    verb = {"run": run_sweep, "show": show_sweep, "plot": plot_sweep}[arguments.verb]
    return verb(arguments, sweep, arguments.root / sweep.path.stem)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), work, words)


if __name__ == "__main__":
    sys.exit(main())
