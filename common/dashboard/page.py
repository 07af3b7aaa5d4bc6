"""Writes the page: everything that it shows, its styles and its scripts, in one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from common.dashboard.charts import ChartGroup, imputed_cells
from common.dashboard.curves import ordered, points_each, rounded, shown_first
from common.dashboard.figures import figure_grids, number_text, option_grid, run_grid
from common.dashboard.films import ALL_BYTES, films
from common.dashboard.grids import Grid, is_numeric
from common.dashboard.runs import Problems, Run
from common.paths import written_whole

if TYPE_CHECKING:
    from common.dashboard.specified import Specified  # whose imports take a second

HERE = Path(__file__).parent
NAME = "index.html"
# Told apart on white and on black; further runs have the same colours and other dashes.
COLOURS = ("#3b7ddd", "#e07b26", "#2a9d74", "#c8428f", "#8e6bd8", "#b08d00", "#1aa3b8", "#d64545", "#7a869a", "#6f9a28")
DASHES = ("solid", "dash", "dot", "dashdot")
MANY = 4  # runs above which a row for each run is shown first


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
        media_bytes: most bytes of all pictures and sounds, as they are in the page.
    """

    title: str
    runs: Sequence[Run] = ()
    specified: Sequence[Specified] = ()
    charts: Sequence[ChartGroup] = ()
    directions: dict[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    media_bytes: int = ALL_BYTES


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
    shown_films, left_out = films(runs, problems, content.media_bytes) if runs else ([], [])
    groups = [*content.charts, *imputed_cells(runs, problems)]
    specified_charts = [chart for section in content.specified for chart in section.charts]
    charts = [*specified_charts, *(chart for group in groups for chart in group.charts)]
    kinds = [_kind(modality, members, content.directions) for modality, members in _by_modality(runs).items()]
    metrics = list(dict.fromkeys(metric for kind in kinds for metric in kind.metrics))
    curves = [(kind, metric) for kind in kinds for metric in kind.metrics]
    data = {
        "runs": [{"label": run.label, **style} for run, style in zip(runs, _styles(len(runs)), strict=True)],
        "curves": _curves(curves, points_each(sum(len(run.curves) for run in runs)), left_out),
        "charts": [chart.figure for chart in charts],
        "templates": _templates(),
        "colours": COLOURS,
    }
    draws = bool(charts or curves)
    plotly = _plotly() if draws else ""
    scripts = [(HERE / name).read_text() for name in (["charts.js"] if draws else []) + ["page.js"]]
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    environment.filters["breakable"] = _breakable
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
        kinds=kinds,
        metrics=metrics,
        shown_first={metric for kind in kinds for metric in kind.shown_first},
        curve_number={(kind.modality, metric): number for number, (kind, metric) in enumerate(curves)},
        described=_described,
        turns=any(len(kind.figures) > 1 for kind in kinds),
        rows_are_runs=max((len(kind.runs) for kind in kinds), default=0) > MANY,
        films=shown_films,
        left_out=left_out,
        problems=problems.lines,
        policy=_policy([plotly, *scripts], any(chart.compiles for chart in charts)),
        style=(HERE / "style.css").read_text(),
        plotly=plotly,
        scripts=scripts,
        data=_script_json(data),
    )


@dataclass(frozen=True)
class Kind:
    """The runs of one modality, whose figures and curves are comparable.

    Attributes:
        modality: its name.
        runs: number of a run -> the run.
        metrics: names of their curves, in order.
        shown_first: those that are drawn before any is chosen.
        figures: their final figures.
        options: the options in which they differ.
    """

    modality: str
    runs: dict[int, Run]
    metrics: list[str]
    shown_first: list[str]
    figures: list[Grid]
    options: Grid | None


def _by_modality(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    groups: dict[str, dict[int, Run]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(run.modality, {})[number] = run
    return groups


def _kind(modality: str, runs: dict[int, Run], directions: dict[str, str]) -> Kind:
    metrics = ordered({metric for run in runs.values() for metric in run.curves})
    first = shown_first(set(metrics))
    metrics = [*first, *(metric for metric in metrics if metric not in first)]
    return Kind(modality, runs, metrics, first, figure_grids(runs, directions), option_grid(runs))


def _styles(count: int) -> list[dict[str, str]]:
    return [
        {"colour": COLOURS[n % len(COLOURS)], "dash": DASHES[n // len(COLOURS) % len(DASHES)]} for n in range(count)
    ]


def _breakable(text: str) -> Markup:
    """A text that may be broken after the signs that join names."""
    return Markup(re.sub(r"([_/.])(?=[A-Za-z])", r"\1<wbr>", str(escape(text))))


def _summary(runs: Sequence[Run], specified: Sequence[Specified]) -> str:
    """What the page holds, and when it was made."""
    modalities = list(dict.fromkeys(run.modality for run in runs))
    parts = [f"{len(runs)} run{'' if len(runs) == 1 else 's'}"] if runs or not specified else []
    parts += [", ".join(modalities)] if modalities else []
    parts += [section.title for section in specified[1:]]
    return " · ".join([*parts, f"written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"])


def _curves(curves: Sequence[tuple[Kind, str]], most: int, left_out: list[str]) -> list[dict[str, Any]]:
    """The points of each chart of curves, by run."""
    drawn: list[dict[str, Any]] = []
    thinned: dict[str, int] = {}
    for kind, metric in curves:
        lines = []
        for number, run in kind.runs.items():
            if metric in run.curves:
                thin = run.curves[metric].thinned(most)
                points = {"step": rounded(thin.step), "epoch": rounded(thin.epoch), "value": rounded(thin.value)}
                lines.append({"run": number, **points})
                if len(run.curves[metric].value) > most:
                    thinned[run.label] = max(len(run.curves[metric].value), thinned.get(run.label, 0))
        drawn.append({"metric": metric, "lines": lines})
    left_out += [
        f"{label}: points of curves, of which at most {most} of {n:,} are drawn" for label, n in thinned.items()
    ]
    return drawn


def _described(metric: str, kind: Kind) -> str:
    """A chart of curves in words: the last value of each run."""
    last = [
        f"{run.label} {number_text(run.curves[metric].value[-1])}" for run in kind.runs.values() if metric in run.curves
    ]
    return f"{metric} in training; last values: {', '.join(last)}"


@cache
def _plotly() -> str:
    """plotly's script."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


@cache
def _templates() -> dict[str, Any]:
    """plotly's colours on white and on black."""
    import plotly.io

    names = {"light": "plotly_white", "dark": "plotly_dark"}
    return {theme: plotly.io.templates[name].to_plotly_json() for theme, name in names.items()}


def _policy(scripts: Sequence[str], compiles: bool) -> str:
    """Content-Security-Policy: no network, and no script but those of the suite."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes) + (" 'unsafe-eval'" if compiles else "")
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(data: object) -> str:
    """JSON inside of a script element: nothing in it can end the element."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
