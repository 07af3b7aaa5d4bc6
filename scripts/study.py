"""Studies: which conditions are worth having, how much data they need, and what they cost to compute."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.comparison.complexity import Cost, costs
from common.comparison.plots import costs_plot, gains_plot, sizes_plot
from common.comparison.rendering import markdown, markdown_rows, sheet
from common.comparison.results import TableResults, collect
from common.comparison.runner import State, local, run_missing
from common.comparison.specification import Cell, Table, cells
from common.comparison.studies import Gain, condition_gains, condition_table, data_table, read_study, verdict
from common.data.from_config import data_of_run

SPECIFICATIONS = Path("configs/studies")
EPILOG = """examples:
  study.py conditions digits    # ranked by nats, with a negative control
  study.py data tunes           # likelihood and control against examples of each combination
  study.py complexity --ckpt runs/image/digits/ID/checkpoints/best.ckpt
  study.py check                # are the tables what their results say?
A study leaves its results (.json), a table (.md) and a plot (.png) in --out. What is finished is not run again."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = argparse.ArgumentParser(description=__doc__, epilog=EPILOG, formatter_class=raw)
    verbs = result.add_subparsers(dest="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--out", type=Path, default=Path("docs/studies"), help="folder of results, table and plot")
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
    complexity.add_argument("--steps", type=int, default=40, help="training steps that are timed (default: 40)")
    complexity.set_defaults(run=complexity_study)

    check = verbs.add_parser("check", parents=[shared], help="are the tables what their results say?")
    check.set_defaults(run=check_studies)
    return result


def run_table(table: Table, name: str, arguments: argparse.Namespace) -> tuple[list[Cell], TableResults, int]:
    """Runs what is missing of a study's table: its cells, its results, and 1 if a run failed."""
    todo = cells(table, "study", arguments.root / name)
    executor = local(arguments.max_parallel)
    states: dict[Cell, State] = run_missing(todo, executor, arguments.fresh, say=lambda line: print(line, flush=True))
    failed = any(state.status != "finished" for state in states.values())
    return todo, collect(table, "study", states), int(failed)


def conditions_study(arguments: argparse.Namespace) -> int:
    """Ranks candidate conditions by what they gain, and says which are worth having."""
    path = specification(arguments.study)
    study = read_study(path)
    todo, results, failed = run_table(condition_table(study), path.stem, arguments)
    gains = condition_gains(todo)
    found = {"kind": "conditions", "study": str(path), "results": asdict(results)}
    found["gains"] = {row: asdict(gain) for row, gain in gains.items()}
    name = f"{path.stem}-conditions"
    write(arguments.out, name, found)
    if gains:
        gains_plot(study.title, gains).save(arguments.out / f"{name}.png")
    return failed


def conditions_text(found: dict[str, Any]) -> str:
    """The table of a study of conditions, what each gains, and a sentence."""
    gains = {row: Gain(**gain) for row, gain in found["gains"].items()}
    rows = [
        [row, f"{gain.mean:+.2f}", f"{gain.low:+.2f} to {gain.high:+.2f}", f"{gain.n}"] for row, gain in gains.items()
    ]
    ranked = markdown_rows(["conditions", "gain, nats", "95 % interval", "test examples"], rows)
    table = condition_table(read_study(Path(found["study"])))
    return f"{markdown(sheet(table, TableResults.of(found['results'])))}\n{ranked}\n\n{verdict(gains)}\n"


def data_study(arguments: argparse.Namespace) -> int:
    """Likelihood and control accuracy against the training examples of each combination of conditions."""
    path = specification(arguments.study)
    study = read_study(path)
    _, results, failed = run_table(data_table(study), path.stem, arguments)
    name = f"{path.stem}-data"
    write(arguments.out, name, {"kind": "data", "study": str(path), "results": asdict(results)})
    sizes_plot(study.title, study.sizes, results).save(arguments.out / f"{name}.png")
    return failed


def data_text(found: dict[str, Any]) -> str:
    """The table of a study of data requirements."""
    return markdown(sheet(data_table(read_study(Path(found["study"]))), TableResults.of(found["results"])))


def complexity_study(arguments: argparse.Namespace) -> int:
    """Parameters, FLOPs, step time, peak memory and evaluation time against the number of conditions."""
    batch = data_of_run(arguments.ckpt).batch("train", arguments.batch_size)
    found = costs(arguments.ckpt, batch, sorted({0, *arguments.conditions}), arguments.samples, arguments.steps)
    setting = {"kind": "complexity", "batch_size": arguments.batch_size, "steps": arguments.steps}
    write(arguments.out, arguments.name, {**setting, "costs": [asdict(cost) for cost in found]})
    costs_plot(f"What conditions cost, {arguments.name}", found).save(arguments.out / f"{arguments.name}.png")
    return 0


def complexity_text(found: dict[str, Any]) -> str:
    """Costs as a table, a row for each number of conditions."""
    measured = [Cost(**cost) for cost in found["costs"]]
    last, first = measured[-1], measured[0]
    samples = [f"NLL of an example, K = {int(number):,}, ms" for number in first.evaluation]
    header = ["conditions", "parameters", "MFLOPs an example", "training step, ms", "peak memory, MB", *samples]
    rows = []
    for cost in measured:
        figures = [f"{cost.conditions}", f"{cost.parameters:,}", f"{cost.flops / 1e6:.2f}", f"{1e3 * cost.step:.1f}"]
        rows.append([*figures, f"{cost.peak_memory:.0f}", *(f"{1e3 * s:.2f}" for s in cost.evaluation.values())])
    growth = f"{last.conditions} conditions against none: parameters x {last.parameters / first.parameters:.2f}, FLOPs"
    growth += f" x {last.flops / first.flops:.2f}, step x {last.step / first.step:.2f}."
    note = f"Batches of {found['batch_size']}, medians of {found['steps'] - 1} steps; FLOPs of one forward pass."
    return f"{markdown_rows(header, rows)}\n\n- {note}\n- {growth}\n"


TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "conditions": conditions_text,
    "data": data_text,
    "complexity": complexity_text,
}


def check_studies(arguments: argparse.Namespace) -> int:
    """Compares the tables with the results beside them; 1 if one differs."""
    wrong = 0
    for path in sorted(arguments.out.glob("*.json")):
        found, table = json.loads(path.read_text()), path.with_suffix(".md")
        if not table.exists() or table.read_text() != TEXTS[found["kind"]](found):
            print(f"{table} is not what {path.name} says: run the study again, which repeats no finished run")
            wrong += 1
    return int(wrong > 0)


def specification(name: str) -> Path:
    """Path of a study from its name or path."""
    return Path(name) if name.endswith(".yaml") else SPECIFICATIONS / f"{name}.yaml"


def write(folder: Path, name: str, found: dict[str, Any]) -> None:
    """Keeps a study's results and its table, and prints the table."""
    folder.mkdir(parents=True, exist_ok=True)
    found = json.loads(json.dumps(found))  # as `check` will read it
    text = TEXTS[found["kind"]](found)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)
    print(f"\n{text}\n{folder / name}.json, .md and .png written")


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
