"""The trials of a sweep as a table."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.sweeps.space import options, space
from common.sweeps.specification import Sweep
from common.sweeps.storage import REASON, SECONDS, run_folder, state_of, study_of

STATES = ("finished", "pruned", "failed", "running", "stopped")


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: its number.
        state: finished, pruned, failed, running, or stopped, which the next worker goes on with.
        options: dotted option -> value.
        value: the metric: of a finished trial that of the weights that are kept, of another its last validation's.
        seconds: of its processes; None where it has not come to a validation.
        folder: its run folder.
        reason: why it failed.
        best: whether it is the best of those that have finished.
    """

    number: int
    state: str
    options: dict[str, Any]
    value: float | None
    seconds: float | None
    folder: Path
    reason: str = ""
    best: bool = False


@dataclass(frozen=True)
class TrialTable:
    """The trials of a sweep.

    Attributes:
        metric: what is searched for.
        goal: maximize or minimize.
        folder: the folder of their run folders.
        rows: the trials in their order.
    """

    metric: str
    goal: str
    folder: Path
    rows: list[TrialRow] = field(default_factory=list)

    @property
    def best(self) -> TrialRow | None:
        """The best of the finished trials."""
        return next((row for row in self.rows if row.best), None)

    @property
    def summary(self) -> str:
        """How many trials are in which state."""
        count = Counter(row.state for row in self.rows)
        return f"{len(self.rows)} trials in {self.folder}: " + ", ".join(f"{count[state]} {state}" for state in STATES)


def trial_table(folder: Path, sweep: Sweep) -> TrialTable:
    """The trials in a sweep's folder.

    Raises:
        ValueError: if there are none.
    """
    study, parts = study_of(folder), space(sweep)
    trials = study.get_trials(deepcopy=False)
    finished = [trial for trial in trials if trial.state.name == "COMPLETE"]
    order = max if sweep.metric.goal == "maximize" else min
    best = order(finished, key=lambda trial: trial.value or 0.0).number if finished else None
    rows = []
    for trial in trials:
        run = run_folder(folder, sweep.modality, trial.number)
        last = trial.intermediate_values.get(trial.last_step) if trial.last_step is not None else None
        rows.append(
            TrialRow(
                trial.number,
                state_of(trial, run),
                options(parts, trial.params),
                trial.value if trial.value is not None else last,
                trial.user_attrs.get(SECONDS),
                run,
                trial.user_attrs.get(REASON, ""),
                trial.number == best,
            )
        )
    return TrialTable(sweep.metric.name, sweep.metric.goal, run_folder(folder, sweep.modality, 0).parent, rows)


def _cells(table: TrialTable) -> tuple[list[str], list[list[str]]]:
    """Headings and rows as text; an option is headed by what tells it from the others."""
    names = list(table.rows[0].options) if table.rows else []
    arrow = "↑" if table.goal == "maximize" else "↓"
    header = ["trial", "state", *_short(names), f"{table.metric} {arrow}", "seconds", "run folder"]
    rows = []
    for row in table.rows:
        value = "-" if row.value is None else f"{row.value:.4f}"
        seconds = "-" if row.seconds is None else f"{row.seconds:.0f}"
        chosen = map(_text, row.options.values())
        rows.append([str(row.number), row.state, *chosen, value, seconds, row.folder.name])
    return header, rows


def _short(names: Sequence[str]) -> list[str]:
    """The shortest endings of dotted names that differ from each other."""

    def ending(name: str, parts: int) -> str:
        return ".".join(name.split(".")[-parts:])

    short = []
    for name in names:
        parts = 1
        while sum(ending(other, parts) == ending(name, parts) for other in names) > 1:
            parts += 1
        short.append(ending(name, parts))
    return short


def _text(value: Any) -> str:
    """A value, numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _failures(table: TrialTable) -> list[str]:
    return [f"trial {row.number} failed: {row.reason}" for row in table.rows if row.state == "failed"]


def as_markdown(table: TrialTable) -> str:
    """The table in Markdown, the best trial bold."""
    header, rows = _cells(table)
    lines = [header, ["---"] * len(header)]
    lines += [
        [f"**{cell}**" for cell in row] if trial.best else row for row, trial in zip(rows, table.rows, strict=True)
    ]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    notes = [f"- {note}" for note in [f"{table.summary}.", *_failures(table)]]
    return "\n".join([*text, "", *notes]) + "\n"


def as_csv(table: TrialTable) -> str:
    """The table as CSV, with every digit and whole names."""
    text = io.StringIO()
    names = list(table.rows[0].options) if table.rows else []
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *names, table.metric, "seconds", "best", "run_folder", "reason"])
    for row in table.rows:
        values = [value if isinstance(value, str) else json.dumps(value) for value in row.options.values()]
        writer.writerow([row.number, row.state, *values, row.value, row.seconds, int(row.best), row.folder, row.reason])
    return text.getvalue()


def as_text(table: TrialTable, width: int | None = None) -> str:
    """The table for a terminal."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table as RichTable

    header, rows = _cells(table)
    grid = RichTable(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for number, name in enumerate(header):
        left = number == 1 or number == len(header) - 1
        grid.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=left)
    for row, trial in zip(rows, table.rows, strict=True):
        grid.add_row(*row, style="bold green" if trial.best else "dim" if trial.state != "finished" else "")
    console = Console(width=width)
    with console.capture() as captured:
        console.print(grid)
        console.print("\n".join([table.summary, *_failures(table)]), highlight=False, markup=False)
    return captured.get()


FORMATS = {"text": as_text, "md": as_markdown, "csv": as_csv}
