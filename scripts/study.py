"""Studies of conditions: what they are worth, how much data they need, and what they cost to compute."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.command_line import Parser, folder_to_write, run_script, whole
from common.executors.options import add_executor, cluster

SPECIFICATIONS = Path("configs/studies")
EPILOG = """examples:
  study.py conditions digits    # ranked by nats, with a negative control
  study.py data tunes           # likelihood and control against the number of examples per combination
  study.py complexity --ckpt runs/image/digits/ID/checkpoints/best.ckpt
  study.py check                # compare the tables with their results
A study writes its results (.json), a table (.md) and a plot (.png) to --out. Finished runs are not run again."""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("study.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    verbs = result.add_subparsers(dest="verb", required=True)
    shared = Parser(add_help=False)
    shared.add_argument("--out", type=folder_to_write, default=Path("docs/studies"),
                        help="folder of results, table and plot")  # fmt: skip
    runs = Parser(add_help=False)
    runs.add_argument("study", help="name of a specification in configs/studies, or its path")
    runs.add_argument("--root", type=folder_to_write, default=Path("runs/studies"), help="folder of the runs")
    runs.add_argument("--max-parallel", type=whole(1), default=1, metavar="N", help="runs in parallel (default: 1)")
    add_executor(runs)
    runs.add_argument("--fresh", action="store_true", help="delete finished runs and run them again")

    verbs.add_parser("conditions", parents=[shared, runs], help="rank candidate conditions by nats gained")
    verbs.add_parser("data", parents=[shared, runs], help="figures against the number of examples per combination")
    complexity = verbs.add_parser("complexity", parents=[shared], help="costs against the number of conditions")
    complexity.add_argument("--ckpt", type=Path, required=True, help="checkpoint of any run, inside its run folder")
    complexity.add_argument("--name", default="complexity", help="name of the files (default: complexity)")
    complexity.add_argument("--conditions", nargs="+", type=whole(), default=[0, 1, 2, 4, 8, 16], metavar="N",
                            help="numbers of conditions (default: 0 1 2 4 8 16)")  # fmt: skip
    complexity.add_argument("--samples", nargs="+", type=whole(1), default=[1, 10, 100, 1000], metavar="K",
                            help="numbers of importance samples (default: 1 10 100 1000)")  # fmt: skip
    complexity.add_argument("--batch-size", type=whole(1), default=64, help="examples per training step (default: 64)")
    complexity.add_argument("--steps", type=whole(2), default=40, help="training steps that are timed (default: 40)")

    verbs.add_parser("check", parents=[shared], help="check that the tables match their results")
    return result


def specification(name: str) -> Path:
    """Path of a study's specification from its name or path."""
    return Path(name) if name.endswith(".yaml") else SPECIFICATIONS / f"{name}.yaml"


def run(arguments: argparse.Namespace) -> int:
    """Does what the command line asks for; 1 if a run failed or a table does not match its results."""
    if arguments.verb == "complexity":
        from common.training.checkpoint_file import checkpoint_file

        checkpoint_file(arguments.ckpt)
    from common.comparison import study_runs  # here, so that the command line is parsed before torch is imported

    if arguments.verb == "check":
        return int(not study_runs.check_studies(arguments.out))
    if arguments.verb == "complexity":
        sizes = arguments.conditions, arguments.samples, arguments.batch_size, arguments.steps
        study_runs.complexity_study(arguments.ckpt, arguments.out, arguments.name, *sizes)
        return 0
    from common.executors.local import local

    study = study_runs.conditions_study if arguments.verb == "conditions" else study_runs.data_study
    path = specification(arguments.study)
    executor = cluster(arguments, arguments.max_parallel, arguments.root) or local(arguments.max_parallel)
    return int(not study(path, arguments.root, arguments.out, executor, arguments.fresh))


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), run, words)


if __name__ == "__main__":
    sys.exit(main())
