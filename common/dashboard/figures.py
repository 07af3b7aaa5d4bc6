"""The final figures of runs beside each other, and the options in which they differ."""

import json
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
    error = "" if figure.stderr is None else f" ± {figure.stderr:.2g}"
    return f"{figure.value:.4g}{error}"


def best_runs(metric: str, runs: Sequence[Run], better: str | None) -> set[int]:
    """The runs with the best value of a metric, each among those that were measured alike.

    Alike are figures of the same data, with the same unit, estimator and number of examples. One alone is no best.
    """
    if better is None:
        return set()
    groups: dict[tuple[object, ...], dict[int, float]] = defaultdict(dict)
    for number, run in enumerate(runs):
        if run.results and (figure := run.results.metrics.get(metric)):
            alike = run.results.run.data_fingerprint, figure.unit, figure.estimator, figure.n
            groups[alike][number] = figure.value
    best = set()
    for values in groups.values():
        wanted = (max if better == "higher" else min)(values.values())
        leaders = {number for number, value in values.items() if value == wanted}
        best |= leaders if len(leaders) < len(values) else set()
    return best


def figure_grids(runs: Sequence[Run], directions: Mapping[str, str]) -> list[Grid]:
    """The figures with a row for each metric, and with a row for each run; nothing where there are no figures."""
    measured = {number: run for number, run in enumerate(runs) if run.results}
    metrics = list(dict.fromkeys(name for run in measured.values() if run.results for name in run.results.metrics))
    if not metrics:
        return []
    notes = [] if len(measured) == 1 else [
        "Marked in bold: the best value among runs that were measured alike (data, estimator, n), of metrics whose "
        "direction is known. It is no test of significance."
    ]  # fmt: skip
    notes += [
        f"{run.label}: {what} was not measured ({reason})"
        for run in measured.values()
        if run.results
        for what, reason in run.results.failed.items()
    ]
    header = [cell("metric"), *(Cell(run.label, run=number, mark=True) for number, run in measured.items())]
    header += [cell("unit"), cell("n"), cell("how it was measured")]
    by_metric, by_run = [], {number: [Cell(run.label, run=number, mark=True)] for number, run in measured.items()}
    for metric in metrics:
        best = best_runs(metric, runs, directions.get(metric))
        figures = {n: run.results.metrics[metric] for n, run in measured.items() if run.results and metric in run.results.metrics}
        cells = {
            number: Cell(figure_text(figures[number]), figures[number].value, number in best, number)
            if number in figures
            else Cell(MISSING, run=number)
            for number in measured
        }
        how = [_shared({number: str(getattr(figure, name)) for number, figure in figures.items()}, runs) for name in ("unit", "n", "estimator")]
        title = metric.removeprefix("test/") + ARROWS.get(directions.get(metric, ""), "")
        by_metric.append(GridRow([cell(title), *cells.values(), *map(cell, how)]))
        for number, found in cells.items():
            by_run[number].append(found)
    grids = [Grid("Final figures, a row for each metric", header, by_metric, notes)]
    if len(measured) > 1:
        units = [_shared({n: r.results.metrics[m].unit for n, r in measured.items() if r.results and m in r.results.metrics}, runs) for m in metrics]
        headings = [cell(f"{row.cells[0].text}, {unit}") for row, unit in zip(by_metric, units, strict=True)]
        rows = [GridRow(cells, number) for number, cells in by_run.items()]
        grids.append(Grid("Final figures, a row for each run", [cell("run"), *headings], rows, notes))
    return grids


def _shared(texts: Mapping[int, str], runs: Sequence[Run]) -> str:
    """What runs have in common; where they differ, each with its runs."""
    holders: dict[str, list[str]] = defaultdict(list)
    for number, text in texts.items():
        holders[text].append(runs[number].label)
    if len(holders) == 1:
        return next(iter(holders))
    return "; ".join(f"{text} ({' | '.join(labels)})" for text, labels in holders.items())


def run_grid(runs: Sequence[Run]) -> Grid:
    """What is known of each run beside its figures."""
    header = ["run", "modality", "seed", "training, s", "parameters", "device", "peak memory, MB", "data", "configuration", "revision", "id"]
    rows = []
    for number, run in enumerate(runs):
        cells = [Cell(run.label, run=number, mark=True), cell(run.modality)]
        if run.results:
            info = run.results.run
            known = [info.seed, f"{info.seconds:,.0f}", f"{info.parameters:,}", info.device, f"{info.peak_memory_mb:,.0f}"]
            known += [info.data_fingerprint, info.config_hash, info.git, info.id]
            cells += [Cell(str(text), float(str(text).replace(",", "")) if place in (0, 1, 2, 4) else None) for place, text in enumerate(known)]
        else:
            cells += [Cell(MISSING)] * 8 + [Cell(run.folder.name)]
        rows.append(GridRow(cells, number))
    return Grid("Runs", [Cell(text) for text in header], rows)


def option_grid(runs: Sequence[Run]) -> Grid | None:
    """The options in which runs differ, a row for each; None where there is nothing to compare."""
    known: dict[int, Mapping[str, Any]] = {n: run.options for n, run in enumerate(runs) if run.options is not None}
    if len(known) < 2:
        return None
    names = options_that_differ(list(known.values()))
    header = [Cell("option"), *(Cell(runs[number].label, run=number, mark=True) for number in known)]
    rows = [GridRow([cell(name.removesuffix(".class_path")), *(_option(name, chosen, n) for n, chosen in known.items())]) for name in names]
    seeds = {n: str(run.results.run.seed) for n in known if (run := runs[n]).results}
    if len(set(seeds.values())) > 1:
        rows.insert(0, GridRow([cell("seed_everything"), *(cell(seeds.get(n, MISSING), n) for n in known)]))
    return Grid("What differs in the configurations", header, rows)


def _option(name: str, chosen: Mapping[str, Any], run: int) -> Cell:
    if name not in chosen:
        return Cell("not set", run=run)
    value = chosen[name]
    return cell(shortened(value if isinstance(value, str) else json.dumps(value, default=str)), run)
