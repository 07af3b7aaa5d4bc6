"""Studies: which conditions are worth having, how much data they need, and what they cost to compute."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from common.complexity import Cost, costs
from common.datamodules import data_of_run
from common.plots import costs_plot, gains_plot, sizes_plot
from common.rendering import markdown, markdown_rows, sheet
from common.studies import condition_gains, condition_table, data_table, read_study, verdict
from common.table_results import TableResults, collect
from common.table_runs import State, local, run_missing
from common.tables import Cell, Table, cells

SPECIFICATIONS = Path("configs/studies")
EPILOG = """examples:
  study.py conditions digits    # ranked by nats, with a negative control
  study.py data tunes           # likelihood and control against examples of each combination
  study.py complexity --ckpt runs/image/digits/ID/checkpoints/best.ckpt
A study leaves a table (.md) and a plot (.png) in --out. What is finished is not run again."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=raw)
    verbs = result.add_subparsers(dest="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, default=Path("docs/studies"), help="folder of table and plot")
    runs = argparse.ArgumentParser(add_help=False)
    runs.add_argument("study", help="name of a specification in configs/studies, or its path")
    runs.add_argument("--root", type=Path, default=Path("runs/studies"), help="folder of the runs")
    runs.add_argument("--max-parallel", type=int, default=1, metavar="N", help="runs side by side (default: 1)")
    runs.add_argument("--fresh", action="store_true", help="delete what is finished and run it again")

    conditions = verbs.add_parser("conditions", parents=[shared, runs], help="rank candidate conditions by nats gained")
    conditions.set_defaults(run=conditions_study)
    data = verbs.add_parser("data", parents=[shared, runs], help="figures against examples of each combination")
    data.set_defaults(run=data_study)
    complexity = verbs.add_parser("complexity", parents=[shared], help="costs against the number of conditions")
    complexity.add_argument("--ckpt", type=Path, required=True, help="checkpoint of any run, inside of its folder")
    complexity.add_argument("--name", default="complexity", help="of the files (default: complexity)")
    complexity.add_argument("--conditions", nargs="+", type=int, default=[0, 1, 2, 4, 8, 16], metavar="N",
                            help="numbers of conditions (default: 0 1 2 4 8 16)")  # fmt: skip
    complexity.add_argument("--samples", nargs="+", type=int, default=[1, 10, 100, 1000], metavar="K",
                            help="numbers of importance samples (default: 1 10 100 1000)")  # fmt: skip
    complexity.add_argument("--batch-size", type=int, default=64, help="examples of a training step (default: 64)")
    complexity.add_argument("--steps", type=int, default=10, help="training steps that are timed (default: 10)")
    complexity.set_defaults(run=complexity_study)
    return result


def run_table(table: Table, name: str, arguments: argparse.Namespace) -> tuple[list[Cell], TableResults, int]:
    """Runs what is missing of a study's table: its cells, its results, and 1 if a run failed."""
    todo = cells(table, "study", arguments.root / name)
    executor = local(arguments.max_parallel)
    states: dict[Cell, State] = run_missing(todo, executor, arguments.fresh, say=lambda line: print(line, flush=True))
    failed = any(state.status != "finished" for state in states.values())
    return todo, collect(table, "study", states), int(failed)


def conditions_study(arguments: argparse.Namespace) -> int:
    """Prints candidate conditions ranked by what they gain, and says which are worth having."""
    path = specification(arguments.study)
    study = read_study(path)
    table = condition_table(study)
    todo, results, failed = run_table(table, path.stem, arguments)
    gains = condition_gains(todo)
    rows = [
        [row, f"{gain.mean:+.2f}", f"{gain.low:+.2f} to {gain.high:+.2f}", f"{gain.n}"] for row, gain in gains.items()
    ]
    ranked = markdown_rows(["conditions", "gain, nats", "95 % interval", "test examples"], rows)
    name = f"{path.stem}-conditions"
    write(arguments.out, name, f"{markdown(sheet(table, results))}\n{ranked}\n\n{verdict(gains)}\n")
    if gains:
        gains_plot(study.title, gains).save(arguments.out / f"{name}.png")
    return failed


def data_study(arguments: argparse.Namespace) -> int:
    """Prints likelihood and control accuracy against the training examples of each combination of conditions."""
    path = specification(arguments.study)
    study = read_study(path)
    table = data_table(study)
    _, results, failed = run_table(table, path.stem, arguments)
    name = f"{path.stem}-data"
    write(arguments.out, name, markdown(sheet(table, results)))
    sizes_plot(study.title, study.sizes, results).save(arguments.out / f"{name}.png")
    return failed


def complexity_study(arguments: argparse.Namespace) -> int:
    """Prints parameters, FLOPs, step time, peak memory and evaluation time against the number of conditions."""
    batch = data_of_run(arguments.ckpt).batch("train", arguments.batch_size)
    found = costs(arguments.ckpt, batch, sorted({0, *arguments.conditions}), arguments.samples, arguments.steps)
    write(arguments.out, arguments.name, cost_table(found, arguments))
    costs_plot(f"What conditions cost, {arguments.name}", found).save(arguments.out / f"{arguments.name}.png")
    return 0


def cost_table(found: list[Cost], arguments: argparse.Namespace) -> str:
    """Costs as Markdown, a row for each number of conditions."""
    samples = [f"NLL of an example, K = {number:,}, ms" for number in arguments.samples]
    header = ["conditions", "parameters", "MFLOPs an example", "training step, ms", "peak memory, MB", *samples]
    rows = []
    for cost in found:
        figures = [f"{cost.conditions}", f"{cost.parameters:,}", f"{cost.flops / 1e6:.2f}", f"{1e3 * cost.step:.1f}"]
        rows.append([*figures, f"{cost.peak_memory:.0f}", *(f"{1e3 * s:.2f}" for s in cost.evaluation.values())])
    last, first = found[-1], found[0]
    growth = f"{last.conditions} conditions against none: parameters x {last.parameters / first.parameters:.2f}, FLOPs"
    growth += f" x {last.flops / first.flops:.2f}, step x {last.step / first.step:.2f}."
    note = f"Batches of {arguments.batch_size}, medians of {arguments.steps - 1} steps; FLOPs of one forward pass."
    return f"{markdown_rows(header, rows)}\n\n- {note}\n- {growth}\n"


def specification(name: str) -> Path:
    """Path of a study from its name or path."""
    return Path(name) if name.endswith(".yaml") else SPECIFICATIONS / f"{name}.yaml"


def write(folder: Path, name: str, text: str) -> None:
    """Prints a study's table and keeps it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    print(f"\n{text}\n{folder / name}.md and {name}.png written")


def main(words: Sequence[str] | None = None) -> int:
    """The script."""
    arguments = parser().parse_args(words)
    try:
        return int(arguments.run(arguments))
    except (ValueError, FileNotFoundError) as error:
        print(f"study.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
