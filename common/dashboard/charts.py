"""Charts of a page other than curves: figures of plotly, in its own JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.dashboard.media import CELLS, moment_label
from common.dashboard.runs import Problems, Run
from common.lazy import pd

COLUMNS = ("row", "column", "truth", "imputed", "low", "high")
PANELS = 40
MOST_CELLS = 400  # of a panel
# Drawn with WebGL, for which plotly compiles code; where it may not, it draws nothing and says nothing.
COMPILED = ("parcoords", "scattergl", "scatter3d", "splom", "surface", "mesh3d")


class PlotlyFigure(Protocol):
    """What plotly makes, and libraries that draw with it."""

    def to_json(self) -> str: ...


@dataclass(frozen=True)
class Chart:
    """A figure of a page.

    Attributes:
        title: what it shows.
        figure: `data` and `layout`, as plotly's JSON has them.
        note: a sentence below it.
        run: number of the run that it belongs to.
    """

    title: str
    figure: Mapping[str, Any]
    note: str = ""
    run: int | None = None

    @staticmethod
    def of(title: str, figure: PlotlyFigure, note: str = "") -> Chart:
        """A chart of any figure of plotly, such as those that Optuna draws of a sweep."""
        return Chart(title, json.loads(figure.to_json()), note)

    @property
    def compiles(self) -> bool:
        """Whether plotly makes code for it while the page is open, which a page forbids unless it must."""
        return any(trace.get("type") in COMPILED for trace in self.figure["data"])


@dataclass(frozen=True)
class ChartGroup:
    """Charts below one heading; wide ones, such as those of a sweep, take the width of the page each."""

    title: str
    charts: list[Chart]
    notes: list[str] = field(default_factory=list)
    wide: bool = False


def lines(
    title: str, x: str, y: str, series: Iterable[tuple[str, list[float], list[float], list[float] | None]], **axes: Any
) -> Chart:
    """Lines with markers through points, with error bars where they are known.

    Args:
        title: of the chart.
        x: title of the axis.
        y: title of the axis.
        series: name, x, y and half of each error bar.
        axes: `xaxis` and `yaxis`, added to their titles.
    """
    traces = []
    for name, across, up, errors in series:
        trace: dict[str, Any] = {
            "type": "scatter",
            "mode": "lines+markers",
            "name": html.escape(name),
            "x": across,
            "y": up,
        }
        if errors is not None:
            trace["error_y"] = {"type": "data", "array": errors}
        traces.append(trace)
    layout = {
        "xaxis": {"title": {"text": html.escape(x)}, **axes.get("xaxis", {})},
        "yaxis": {"title": {"text": html.escape(y)}, **axes.get("yaxis", {})},
        "showlegend": len(traces) > 1,
    }
    return Chart(title, {"data": traces, "layout": layout})


def bars(title: str, x: str, names: list[str], values: list[float], low: list[float], high: list[float]) -> Chart:
    """Horizontal bars with their intervals, the first on top."""
    above = [h - v for h, v in zip(high, values, strict=True)]
    below = [v - lo for lo, v in zip(low, values, strict=True)]
    error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    trace = {"type": "bar", "orientation": "h", "x": values, "y": [html.escape(n) for n in names], "error_x": error,
             "opacity": 0.8}  # fmt: skip
    layout = {
        "xaxis": {"title": {"text": html.escape(x)}},
        "yaxis": {"autorange": "reversed", "type": "category", "automargin": True},
    }
    return Chart(title, {"data": [trace], "layout": layout})


def imputed_cells(runs: list[Run], problems: Problems) -> list[ChartGroup]:
    """The imputed cells of each run that lists them, against the truth: a chart for each column of numbers."""
    groups = []
    for number, run in enumerate(runs):
        tables = [file for file in run.media if (file.kind, file.name) == CELLS]
        if tables:
            last = tables[-1]
            path = run.folder / "samples" / last.file
            group = problems.attempt(path, f"the imputed cells of {run.label}", partial(_cells, path, number), None)
            if group is not None:
                charts, notes = group
                notes = [last.caption, *notes] if last.caption else notes
                groups.append(ChartGroup(f"Imputed cells, {moment_label(last.when)}: {run.label}", charts, notes))
    return groups


def _cells(path: Path, run: int) -> tuple[list[Chart], list[str]]:
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ValueError(f"has no column {', '.join(missing)}")
    numbers = frame[["truth", "imputed", "low", "high"]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    numeric = np.isfinite(numbers).all(1)
    charts: list[Chart] = []
    notes: list[str] = []
    within = shown = 0
    for name in dict.fromkeys(frame["column"]):
        own = (frame["column"] == name).to_numpy()
        if not (chosen := own & numeric).any():
            right = int((frame["truth"] == frame["imputed"])[own].sum())
            notes.append(f"{name}: {right} of {int(own.sum())} imputed categories are right")
            continue
        inside = int(((numbers[:, 0] >= numbers[:, 2]) & (numbers[:, 0] <= numbers[:, 3]))[chosen].sum())
        within, shown = within + inside, shown + int(chosen.sum())
        if len(charts) < PANELS:
            charts.append(_panel(name, numbers[chosen], frame["row"][chosen].tolist(), inside, run))
    if shown:
        notes.insert(0, f"{within} of {shown} true values ({within / shown:.0%}) lie within their intervals.")
    drawn = frame["column"].isin(set(frame["column"][numeric])).to_numpy()
    if bad := int((drawn & ~numeric).sum()):
        notes.append(f"{bad} cells of columns of numbers have no number, and are not drawn")
    return charts, notes


def _panel(name: str, numbers: np.ndarray, rows: list[str], inside: int, run: int) -> Chart:
    """One column: truth across, imputed up with its interval, and the diagonal."""
    count = len(numbers)
    truth, imputed, low, high = numbers[:MOST_CELLS].T
    ends = [float(numbers[:, [0, 1]].min()), float(numbers[:, [0, 1]].max())]
    error = {
        "type": "data",
        "symmetric": False,
        "array": (high - imputed).tolist(),
        "arrayminus": (imputed - low).tolist(),
    }
    error |= {"thickness": 1, "width": 0}
    points: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": truth.tolist(),
        "y": imputed.tolist(),
        "error_y": error,
    }
    points |= {"text": [f"row {html.escape(row)}" for row in rows[:MOST_CELLS]], "marker": {"size": 6}, "name": "cells"}
    diagonal: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": ends,
        "y": ends,
        "hoverinfo": "skip",
        "name": "truth = imputed",
    }
    diagonal["line"] = {"color": "#888", "width": 1, "dash": "dot"}
    layout = {"xaxis": {"title": {"text": "truth"}}, "yaxis": {"title": {"text": "imputed"}}, "showlegend": False}
    drawn = f"; the first {MOST_CELLS} are drawn" if count > MOST_CELLS else ""
    return Chart(name, {"data": [diagonal, points], "layout": layout}, f"{inside} of {count} within{drawn}", run)
