"""Writes the page: everything that it shows, its styles and its scripts, in one file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.dashboard.charts import ChartGroup, imputed_cells
from common.dashboard.curves import ordered, points_each, rounded, shown_first
from common.dashboard.figures import figure_grids, option_grid, run_grid
from common.dashboard.films import films
from common.dashboard.grids import is_numeric
from common.dashboard.runs import Problems, Run
from common.dashboard.specified import Specified
from common.paths import written_whole

HERE = Path(__file__).parent
NAME = "index.html"
# Told apart on white and on black, and by most colour-blind readers; further runs have the same colours and other dashes.
COLOURS = ("#3b7ddd", "#e07b26", "#2a9d74", "#c8428f", "#8e6bd8", "#b08d00", "#1aa3b8", "#d64545", "#7a869a", "#6f9a28")
DASHES = ("solid", "dash", "dot", "dashdot")
MANY = 4  # runs above which a row for each run is shown first
PRESENT = "the runs of a sweep, its importances and coordinates, or whatever else is drawn with plotly"


@dataclass
class Content:
    """What a page is made from.

    Attributes:
        title: its title.
        runs: the runs, in order.
        specified: comparison tables and studies.
        charts: further charts, such as those of a sweep, below headings of their own.
        directions: metric -> `lower` or `higher`, where it is known which is better.
        notes: what a reader needs to know.
    """

    title: str
    runs: Sequence[Run] = ()
    specified: Sequence[Specified] = ()
    charts: Sequence[ChartGroup] = ()
    directions: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_page(content: Content, folder: Path, problems: Problems) -> Path:
    """Writes `index.html` into a folder and returns its path.

    Args:
        content: what it shows.
        folder: made where it does not exist.
        problems: what could not be read so far; receives what cannot be read now.

    Raises:
        OSError: if it cannot be written.
    """
    text = render(content, problems)
    path = folder / NAME
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace")
    return path


def render(content: Content, problems: Problems) -> str:
    """The page as HTML."""
    runs = list(content.runs)
    shown_films, left_out = films(runs, problems) if runs else ([], [])
    groups = [*content.charts, *imputed_cells(runs, problems)]
    specified_charts = [chart for section in content.specified for chart in section.charts]
    charts = [*specified_charts, *(chart for group in groups for chart in group.charts)]
    metrics = ordered({metric for run in runs for metric in run.curves})
    first = shown_first(set(metrics))
    metrics = [*first, *(metric for metric in metrics if metric not in first)]
    data = {
        "runs": [{"label": run.label, **style} for run, style in zip(runs, _styles(len(runs)), strict=True)],
        "curves": _curves(runs, left_out),
        "charts": [chart.figure for chart in charts],
        "templates": _templates(),
    }
    evaluates = any(chart.compiles for chart in charts)
    scripts = [_plotly(), *((HERE / name).read_text() for name in ("charts.js", "page.js"))]
    if not charts and not metrics:
        scripts = scripts[2:]  # nothing to draw
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.tests["numeric_in"] = lambda column, grid: is_numeric(grid, column)
    return environment.get_template("page.html").render(
        title=content.title,
        summary=_summary(runs, content.specified),
        notes=content.notes,
        runs=data["runs"],
        run_table=run_grid(runs) if runs else None,
        specified=content.specified,
        groups=groups,
        chart_number={id(chart): number for number, chart in enumerate(charts)},
        identity=id,
        metrics=metrics,
        shown_first=first,
        described={metric: _described(metric, runs) for metric in metrics},
        figures=figure_grids(runs, content.directions),
        rows_are_runs=sum(run.results is not None for run in runs) > MANY,
        options=option_grid(runs),
        films=shown_films,
        left_out=left_out,
        problems=problems.lines,
        policy=_policy(scripts, evaluates),
        style=(HERE / "style.css").read_text(),
        scripts=scripts,
        data=_script_json(data),
    )


def _styles(count: int) -> list[dict[str, str]]:
    return [
        {"colour": COLOURS[n % len(COLOURS)], "dash": DASHES[n // len(COLOURS) % len(DASHES)]} for n in range(count)
    ]


def _summary(runs: Sequence[Run], specified: Sequence[Specified]) -> str:
    """What the page holds, and when it was made."""
    modalities = list(dict.fromkeys(run.modality for run in runs))
    parts = [f"{len(runs)} run{'' if len(runs) == 1 else 's'}"] if runs or not specified else []
    parts += [", ".join(modalities)] if modalities else []
    parts += [section.title for section in specified[1:]]
    return " · ".join([*parts, f"written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"])


def _curves(runs: Sequence[Run], left_out: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Metric -> the points of each run."""
    most = points_each(sum(len(run.curves) for run in runs))
    curves: dict[str, list[dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        for metric, curve in run.curves.items():
            thin = curve.thinned(most)
            points = {"step": rounded(thin.step), "epoch": rounded(thin.epoch), "value": rounded(thin.value)}
            curves.setdefault(metric, []).append({"run": number, **points})
        longest = max((len(curve.value) for curve in run.curves.values()), default=0)
        if longest > most:
            left_out.append(f"{run.label}: points of its curves, of which at most {most} of {longest:,} are drawn")
    return curves


def _described(metric: str, runs: Sequence[Run]) -> str:
    """A curve in words: its last value in each run."""
    last = [f"{run.label} {run.curves[metric].value[-1]:.4g}" for run in runs if metric in run.curves]
    return f"{metric} in training; last values: {', '.join(last)}"


@cache
def _plotly() -> str:
    """plotly's script."""
    from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

    return str(get_plotlyjs())


@cache
def _templates() -> dict[str, Any]:
    """plotly's colours on white and on black."""
    import plotly.io  # type: ignore[import-untyped]

    names = {"light": "plotly_white", "dark": "plotly_dark"}
    return {theme: plotly.io.templates[name].to_plotly_json() for theme, name in names.items()}


def _policy(scripts: Sequence[str], evaluates: bool) -> str:
    """Content-Security-Policy: no network, and no script but those of the suite."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) + (" 'unsafe-eval'" if evaluates else "")
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(data: object) -> str:
    """JSON inside of a script element: nothing in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
