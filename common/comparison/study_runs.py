"""Runs studies and stores results (.json), a table (.md) and a plot (.png) of each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.comparison.complexity import Cost, costs
from common.comparison.plots import costs_plot, gains_plot, sizes_plot
from common.comparison.rendering import markdown, markdown_rows, sheet
from common.comparison.results import TableResults, collect
from common.comparison.runner import State, run_missing
from common.comparison.specification import Cell, Table, cells
from common.comparison.studies import Gain, conclusion, condition_gains, condition_table, data_table, read_study
from common.executors.executor import Executor
from common.training.restore import restore


def _run(table: Table, root: Path, executor: Executor, fresh: bool) -> tuple[dict[Cell, State], TableResults, bool]:
    """Runs the missing cells of a study's table; returns their states, results, and whether all runs finished."""
    todo = cells(table, "study", root)
    states = run_missing(todo, executor, fresh, log=lambda line: print(line, flush=True))
    return states, collect(table, "study", states), all(state.status == "finished" for state in states.values())


def conditions_study(path: Path, root: Path, out: Path, executor: Executor, fresh: bool = False) -> bool:
    """Ranks candidate conditions by what they gain, and concludes which are worth having; false if a run failed.

    Args:
        path: path of the specification.
        root: folder of the runs.
        out: folder of results, table and plot.
        executor: where they run.
        fresh: deletes finished runs and repeats them.
    """
    study = read_study(path)
    states, results, finished = _run(condition_table(study), root / path.stem, executor, fresh)
    gains = condition_gains(states)
    record = {"kind": "conditions", "study": str(path), "results": asdict(results)}
    record["gains"] = {row: asdict(gain) for row, gain in gains.items()}
    name = f"{path.stem}-conditions"
    _write(out, name, record)
    if gains:
        gains_plot(study.title, gains).save(out / f"{name}.png")
    return finished


def data_study(path: Path, root: Path, out: Path, executor: Executor, fresh: bool = False) -> bool:
    """Likelihood and control accuracy against the training examples of each combination of conditions.

    Arguments and result as in `conditions_study`.
    """
    study = read_study(path)
    _, results, finished = _run(data_table(study), root / path.stem, executor, fresh)
    name = f"{path.stem}-data"
    _write(out, name, {"kind": "data", "study": str(path), "results": asdict(results)})
    sizes_plot(study.title, study.sizes, results).save(out / f"{name}.png")
    return finished


def complexity_study(
    checkpoint: Path,
    out: Path,
    name: str,
    conditions: Sequence[int],
    samples: Sequence[int],
    batch_size: int,
    steps: int,
) -> None:
    """Parameters, FLOPs, step time, peak memory and evaluation time against the number of conditions.

    Args:
        checkpoint: checkpoint of any run, inside its run folder.
        out: folder of results, table and plot.
        name: name of the files.
        conditions: numbers of conditions; 0 is added.
        samples: numbers of importance samples.
        batch_size: examples of a training step.
        steps: training steps; the first one is not timed.
    """
    batch = restore(checkpoint).data().batch("train", batch_size)
    measured = costs(checkpoint, batch, sorted({0, *conditions}), list(samples), steps)
    setting = {"kind": "complexity", "batch_size": batch_size, "steps": steps}
    _write(out, name, {**setting, "costs": [asdict(cost) for cost in measured]})
    costs_plot(f"What conditions cost, {name}", measured).save(out / f"{name}.png")


def _conditions_text(record: dict[str, Any]) -> str:
    """The table of a study of conditions, what each gains, and a sentence."""
    gains = {row: Gain(**gain) for row, gain in record["gains"].items()}
    rows = [
        [row, f"{gain.mean:+.2f}", f"{gain.low:+.2f} to {gain.high:+.2f}", f"{gain.n}", f"{gain.seeds}"]
        for row, gain in gains.items()
    ]
    ranked = markdown_rows(["conditions", "gain, nats", "95 % interval", "test examples", "seeds"], rows)
    table = condition_table(read_study(Path(record["study"])))
    return f"{markdown(sheet(table, TableResults.of(record['results'])))}\n{ranked}\n\n{conclusion(gains)}\n"


def _data_text(record: dict[str, Any]) -> str:
    """The table of a study of data requirements."""
    return markdown(sheet(data_table(read_study(Path(record["study"]))), TableResults.of(record["results"])))


def cost_rows(record: dict[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """Costs as header, a row for each number of conditions, and notes."""
    measured = [Cost(**cost) for cost in record["costs"]]
    last, first = measured[-1], measured[0]
    samples = [f"NLL of an example, K = {int(number):,}, ms" for number in first.evaluation]
    header = ["conditions", "parameters", "MFLOPs an example", "training step, ms", "peak memory, MB", *samples]
    rows = []
    for cost in measured:
        figures = [f"{cost.conditions}", f"{cost.parameters:,}", f"{cost.flops / 1e6:.2f}", f"{1e3 * cost.step:.1f}"]
        rows.append([*figures, f"{cost.peak_memory:.0f}", *(f"{1e3 * s:.2f}" for s in cost.evaluation.values())])
    growth = f"{last.conditions} conditions against none: parameters x {last.parameters / first.parameters:.2f}, FLOPs"
    growth += f" x {last.flops / first.flops:.2f}, step x {last.step / first.step:.2f}."
    note = f"Batches of {record['batch_size']}, medians of {record['steps'] - 1} steps; FLOPs of one forward pass."
    return header, rows, [note, growth]


def _complexity_text(record: dict[str, Any]) -> str:
    """Costs as a table."""
    header, rows, notes = cost_rows(record)
    return "\n".join([markdown_rows(header, rows), "", *(f"- {note}" for note in notes), ""])


TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "conditions": _conditions_text,
    "data": _data_text,
    "complexity": _complexity_text,
}


def check_studies(out: Path) -> bool:
    """Whether every table matches the results beside it; prints those that do not."""
    valid = True
    for path in sorted(out.glob("*.json")):
        record, table = json.loads(path.read_text()), path.with_suffix(".md")
        if not table.exists() or table.read_text() != TEXTS[record["kind"]](record):
            print(f"{table} is not what {path.name} says: run the study again, which repeats no finished run")
            valid = False
    return valid


def _write(folder: Path, name: str, record: dict[str, Any]) -> None:
    """Writes a study's results and its table, and prints the table."""
    folder.mkdir(parents=True, exist_ok=True)
    record = json.loads(json.dumps(record))  # as `check_studies` will read it
    text = TEXTS[record["kind"]](record)
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{name}.md").write_text(text)
    print(f"\n{text}\n{folder / name}.json, .md and .png written")
