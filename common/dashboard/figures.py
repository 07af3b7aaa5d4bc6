"""The final figures of runs beside each other, and the options in which they differ."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from common.dashboard.grids import Cell, Grid, GridRow, cell, shortened
from common.dashboard.runs import Run
from common.results import Measurement
from common.training.run_report import options_that_differ

MISSING = "-"
MARKED = (
    "Marked: the best value among runs that were measured alike (data, estimator, n), of metrics whose direction is "
    "known. It is no test of significance."
)
ARROWS = {"lower": " ↓", "higher": " ↑"}


def known_directions(tables: Path) -> dict[str, str]:
    """Metric -> `lower` or `higher`, where a comparison table says which is better and none says the opposite.

    Args:
        tables: folder of the tables' specifications.
    """
    said: dict[str, set[str]] = defaultdict(set)
    for path in sorted(tables.glob("*.yaml")):
        for column in yaml.safe_load(path.read_text()).get("columns", []):
            if column.get("better") in ARROWS:
                said[column["metric"]].add(column["better"])
    return {metric: next(iter(better)) for metric, better in said.items() if len(better) == 1}


def figure_text(figure: Measurement) -> str:
    """A figure with its standard error."""
    if not figure.stderr:
        return number_text(figure.value) + (" ± 0" if figure.stderr == 0 else "")
    digits = max(0, 1 - math.floor(math.log10(figure.stderr)))  # two digits of the error
    if digits > 6:
        return f"{figure.value:.4g} ± {figure.stderr:.2g}"
    return f"{figure.value:,.{digits}f} ± {figure.stderr:,.{digits}f}"


def number_text(value: float) -> str:
    """A number in four digits, or as many as it has before its point."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def best_runs(metric: str, runs: Mapping[int, Run], better: str | None) -> set[int]:
    """The runs with the best value of a metric, each among those that were measured alike.

    Alike are figures of the same data, with the same unit, estimator and number of examples. One alone is no best.
    """
    if better is None:
        return set()
    groups: dict[tuple[object, ...], dict[int, float]] = defaultdict(dict)
    for number, run in runs.items():
        if run.results and (figure := run.results.metrics.get(metric)):
            alike = run.results.run.data_fingerprint, figure.unit, figure.estimator, figure.n
            groups[alike][number] = figure.value
    best = set()
    for values in groups.values():
        wanted = (max if better == "higher" else min)(values.values())
        leaders = {number for number, value in values.items() if value == wanted}
        best |= leaders if len(leaders) < len(values) else set()
    return best


def figure_grids(runs: Mapping[int, Run], directions: Mapping[str, str]) -> list[Grid]:
    """The figures with a row for each metric, and with a row for each run; nothing where there are no figures.

    Args:
        runs: number of a run -> the run.
        directions: metric -> `lower` or `higher`.
    """
    measured = {number: run.results for number, run in runs.items() if run.results}
    metrics = list(dict.fromkeys(name for results in measured.values() for name in results.metrics))
    if not metrics:
        return []
    marks = {number: Cell(runs[number].label, run=number, mark=True) for number in measured}
    by_metric: list[GridRow] = []
    headings = []
    by_run = {number: [mark] for number, mark in marks.items()}
    for metric in metrics:
        figures = {n: results.metrics[metric] for n, results in measured.items() if metric in results.metrics}
        best = best_runs(metric, runs, directions.get(metric))
        cells = {number: _figure_cell(figures.get(number), number, number in best) for number in measured}
        unit, n, how = (
            _shared({runs[number].label: str(getattr(figure, name)) for number, figure in figures.items()})
            for name in ("unit", "n", "estimator")
        )
        title = metric.removeprefix("test/") + ARROWS.get(directions.get(metric, ""), "")
        headings.append(cell(f"{title}, {unit}"))
        by_metric.append(GridRow([cell(title), *cells.values(), cell(unit), cell(n), cell(how)]))
        for number, found in cells.items():
            by_run[number].append(found)
    notes = _notes(runs, len(measured))
    header = [cell("metric"), *marks.values(), cell("unit"), cell("n"), cell("how it was measured")]
    grids = [Grid("Final figures, a row for each metric", header, by_metric, notes)]
    if len(measured) > 1:
        rows = [GridRow(cells, number) for number, cells in by_run.items()]
        grids.append(Grid("Final figures, a row for each run", [cell("run"), *headings], rows, notes))
    return grids


def _figure_cell(figure: Measurement | None, run: int, best: bool) -> Cell:
    return Cell(MISSING, run=run) if figure is None else Cell(figure_text(figure), figure.value, best, run)


def _notes(runs: Mapping[int, Run], measured: int) -> list[str]:
    """What a mark means, and which figures could not be measured."""
    notes = [MARKED] if measured > 1 else []
    for run in runs.values():
        failed = run.results.failed if run.results else {}
        notes += [f"{run.label}: {what} was not measured ({reason})" for what, reason in failed.items()]
    return notes


def _shared(texts: Mapping[str, str]) -> str:
    """What runs have in common; where they differ, each with its runs."""
    holders: dict[str, list[str]] = defaultdict(list)
    for label, text in texts.items():
        holders[text].append(label)
    if len(holders) == 1:
        return next(iter(holders))
    return "; ".join(f"{text} ({' | '.join(labels)})" for text, labels in holders.items())


def run_grid(runs: Sequence[Run]) -> Grid:
    """What is known of each run beside its figures."""
    header = ["run", "modality", "seed", "training, s", "parameters", "peak memory, MB", "device", "data",
              "configuration", "revision", "id"]  # fmt: skip
    rows = []
    for number, run in enumerate(runs):
        cells = [Cell(run.label, run=number, mark=True), cell(run.modality)]
        if run.results is None:
            cells += [Cell(MISSING)] * (len(header) - 3) + [Cell(run.folder.name)]
        else:
            info = run.results.run
            numbers = info.seed, info.seconds, info.parameters, info.peak_memory_mb
            cells += [Cell(f"{value:,.0f}", float(value)) for value in numbers]
            hashes = info.device, info.data_fingerprint, info.config_hash, info.git, info.id
            cells += [Cell(text) for text in hashes]
        rows.append(GridRow(cells, number))
    return Grid("Runs", [Cell(text) for text in header], rows)


def option_grid(runs: Mapping[int, Run]) -> Grid | None:
    """The options in which runs differ, a row for each; None where there is nothing to compare.

    Args:
        runs: number of a run -> the run.
    """
    known = {number: run.options for number, run in runs.items() if run.options is not None}
    if len(known) < 2:
        return None
    header = [Cell("option"), *(Cell(runs[number].label, run=number, mark=True) for number in known)]
    rows = []
    seeds = {number: str(results.run.seed) for number in known if (results := runs[number].results)}
    if len(set(seeds.values())) > 1:
        rows.append(GridRow([cell("seed_everything"), *(cell(seeds.get(n, MISSING), n) for n in known)]))
    for name in options_that_differ(list(known.values())):
        values = [_option(name, chosen, number) for number, chosen in known.items()]
        rows.append(GridRow([cell(name.removesuffix(".class_path")), *values]))
    return Grid("What differs in the configurations", header, rows)


def _option(name: str, chosen: Mapping[str, Any], run: int) -> Cell:
    if name not in chosen:
        return Cell("not set", run=run)
    value = chosen[name]
    return cell(shortened(value if isinstance(value, str) else json.dumps(value, default=str)), run)
