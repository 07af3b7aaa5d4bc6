"""A comparison table or a study as sections of a page: its table, its charts, and the runs behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.comparison.rendering import Sheet, sheet
from common.comparison.results import TableResults
from common.comparison.specification import Table
from common.comparison.studies import Gain, conclusion, condition_table, data_table, read_study
from common.dashboard.charts import Chart, bars, lines
from common.dashboard.grids import Cell, Grid, GridRow, cell, plain_grid


@dataclass(frozen=True)
class Specified:
    """A table or a study.

    Attributes:
        title: what is compared, or the question.
        grids: its tables.
        charts: its charts.
        titles: id of each of its runs -> the row that it belongs to.
    """

    title: str
    grids: list[Grid]
    charts: list[Chart] = field(default_factory=list)
    titles: dict[str, str] = field(default_factory=dict)


def table_section(table: Table, results: TableResults) -> Specified:
    """A comparison table, as `compare.py show` prints it."""
    titles = {str(run["id"]): title for title in table.rows if (row := results.rows.get(title)) for run in row.runs}
    return Specified(table.title, [_grid(sheet(table, results))], titles=titles)


def study_section(path: Path) -> Specified:
    """A study from its results (docs/studies/NAME.json).

    Raises:
        ValueError: if the file is missing or damaged; the message names it.
    """
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.json"))) or "none"
        raise ValueError(f"there is no study {path}; in {path.parent}: {known}")
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        if record["kind"] == "complexity":
            return _complexity(record, path.stem)
        study = read_study(Path(record["study"]))
        table = condition_table(study) if record["kind"] == "conditions" else data_table(study)
        section = table_section(table, TableResults.of(record["results"]))
        if record["kind"] == "conditions":
            return _conditions(section, {row: Gain(**gain) for row, gain in record["gains"].items()})
        return _sizes(section, study.sizes, TableResults.of(record["results"]))
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}): run the study again") from error


def _grid(page: Sheet) -> Grid:
    """A rendered table."""
    rows = [GridRow([Cell(c.text, cell(c.text).order, c.best) for c in row]) for row in page.rows]
    return Grid(page.title, [cell(text) for text in page.header], rows, page.notes)


def _conditions(section: Specified, gains: dict[str, Gain]) -> Specified:
    """What each condition gains, with its interval."""
    values = list(gains.values())
    chart = bars(
        "What each condition gains",
        "nats of test NLL gained over no condition, 95 % interval",
        list(gains),
        [gain.mean for gain in values],
        [gain.low for gain in values],
        [gain.high for gain in values],
    )
    rows = [
        [row, f"{gain.mean:+.2f}", f"{gain.low:+.2f} to {gain.high:+.2f}", gain.n, gain.seeds]
        for row, gain in gains.items()
    ]
    ranked = plain_grid("Gains", ["conditions", "gain, nats", "95 % interval", "test examples", "seeds"], rows)
    ranked = Grid(ranked.name, ranked.header, ranked.rows, [conclusion(gains)])
    return Specified(section.title, [*section.grids, ranked], [chart], section.titles)


def _sizes(section: Specified, sizes: list[int], results: TableResults) -> Specified:
    """Figures against the training examples of each combination."""
    axis = {"type": "log", "tickvals": sizes, "ticktext": [f"{size:,}" for size in sizes]}
    drawn = {
        ("NLL", "nats"): [("test/nll", "all test examples"), ("test/unseen/nll", "combinations held out")],
        ("Control accuracy", "accuracy"): [
            ("test/control_accuracy", "all combinations"),
            ("test/unseen/control_accuracy", "combinations held out"),
            ("test/judge_accuracy", "judge on real data"),
        ],
    }
    rows = list(zip(sizes, results.rows.values(), strict=True))
    charts = []
    for (title, unit), metrics in drawn.items():
        series = []
        for metric, name in metrics:
            points = [(size, row.figures[metric]) for size, row in rows if metric in row.figures]
            if points:
                across, up = [float(size) for size, _ in points], [figure.mean for _, figure in points]
                series.append((name, across, up, [figure.spread or 0.0 for _, figure in points]))
        charts.append(lines(title, "training examples of each combination", unit, series, xaxis=axis))
    return Specified(section.title, section.grids, charts, section.titles)


def _complexity(record: dict[str, Any], name: str) -> Specified:
    """Costs relative to the unconditional model, and seconds against importance samples."""
    from common.comparison.study_runs import cost_rows  # with Lightning, which only measuring costs needs

    header, rows, notes = cost_rows(record)
    table = plain_grid("Costs", header, rows)
    costs = record["costs"]
    counts = [float(cost["conditions"]) for cost in costs]
    kinds = {"parameters": "parameters", "flops": "FLOPs", "step": "training step", "peak_memory": "peak memory"}
    relative = [(label, counts, [cost[kind] / costs[0][kind] for cost in costs], None) for kind, label in kinds.items()]
    evaluation = [
        (
            f"{cost['conditions']} conditions",
            [float(k) for k in cost["evaluation"]],
            list(cost["evaluation"].values()),
            None,
        )
        for cost in costs
    ]
    charts = [
        lines("Costs", "conditions", "times the unconditional model", relative, yaxis={"rangemode": "tozero"}),
        lines("Evaluation", "importance samples", "seconds for the NLL of one example", evaluation,
              xaxis={"type": "log"}, yaxis={"type": "log"}),
    ]  # fmt: skip
    return Specified(f"What conditions cost, {name}", [Grid(table.name, table.header, table.rows, notes)], charts)
