"""The figures of a table in compact form: the results of its runs, and which differences are significant.

The file is small enough to commit, so that a table can be rendered and checked on a machine without its runs.
"""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from common.clusters import by_group
from common.comparison.runner import State
from common.comparison.shared_training import taken_from
from common.comparison.specification import Cell, MetricColumn, Table, cells
from common.evaluation.columns import GROUP
from common.paths import written_whole
from common.results import EXAMPLES, Measurement, Results

SIGNIFICANCE = 0.05
TINY = 1e-10  # a smaller p is reported as below it


@dataclass(frozen=True)
class Figure:
    """One figure of one row over its seeds.

    Attributes:
        values: one per finished run.
        stderrs: standard error over examples of each value, or None.
        n: examples behind each value.
        estimator: how it was estimated, with sample counts.
    """

    values: list[float]
    stderrs: list[float | None]
    n: list[int]
    estimator: str

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """Standard deviation over seeds; of one seed, the standard error over its examples."""
        if len(self.values) > 1:
            return float(np.std(self.values, ddof=1))
        return self.stderrs[0]


@dataclass(frozen=True)
class RowResults:
    """The results of a row's runs.

    Attributes:
        runs: id, seed, revision, data fingerprint, hash, seconds of training, and the run that this was taken from, of
            each finished run.
        figures: metric -> figure.
        differences: metric -> paired difference from the first row of the group, of columns that ask for it.
        problems: reasons for seeds whose run failed.
        missing: number of seeds that have not been run.
    """

    runs: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    differences: dict[str, Figure] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    missing: int = 0


@dataclass(frozen=True)
class TableResults:
    """A whole table.

    Attributes:
        budget: name of the budget that it was run with.
        rows: title -> results.
        best: metric -> titles of the rows that are significantly better than every other of their group.
        tests: metric -> how `best` was tested, and the largest p of each group.
    """

    budget: str
    rows: dict[str, RowResults]
    best: dict[str, list[str]]
    tests: dict[str, str]

    def write(self, path: Path) -> None:
        """Writes the compact file."""
        with written_whole(path) as partial:
            partial.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @staticmethod
    def of(raw: dict[str, Any]) -> "TableResults":
        """The inverse of `dataclasses.asdict`."""
        rows = {
            title: RowResults(**{**row, **{kind: _figures(row.get(kind, {})) for kind in ("figures", "differences")}})
            for title, row in raw["rows"].items()
        }
        return TableResults(raw["budget"], rows, raw["best"], raw["tests"])

    @staticmethod
    def read(path: Path) -> "TableResults":
        """Reads the compact file.

        Raises:
            ValueError: if it is missing or damaged; the message names it and the remedy.
        """
        if not path.exists():
            raise ValueError(f"{path} does not exist: run the table first (compare.py run)")
        try:
            return TableResults.of(json.loads(path.read_text()))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}): run the table again (compare.py run)") from error


def collect(table: Table, budget: str, states: dict[Cell, State]) -> TableResults:
    """The compact form of a table's runs."""
    missing = Counter(cell.row for cell, state in states.items() if state.status == "missing")
    rows = {title: RowResults(missing=missing[title]) for title in table.rows}
    finished: dict[str, dict[int, Cell]] = {title: {} for title in table.rows}
    for cell, state in states.items():
        row = rows[cell.row]
        if state.results is None:
            if state.status != "missing":
                row.problems.append(f"seed {cell.seed}: {state.reason}")
            continue
        finished[cell.row][cell.seed] = cell
        run = state.results.run
        row.runs.append(
            {"id": run.id, "seed": cell.seed, "git": run.git, "key": cell.key, "data": run.data_fingerprint,
             "seconds": run.seconds, "taken_from": taken_from(cell)}
        )  # fmt: skip
        for metric in dict.fromkeys(column.metric for column in table.columns):
            _add(row.figures, metric, state.results)
    groups: dict[str, dict[str, RowResults]] = {}
    for title, specified in table.rows.items():
        groups.setdefault(specified.group, {})[title] = rows[title]
    best: dict[str, list[str]] = {}
    tests: dict[str, str] = {}
    for column in table.columns:
        if column.difference:
            for group in groups.values():
                _add_differences(column.metric, group, finished)
            continue
        leaders = [significant_best(column, group, finished) for group in groups.values()]
        tested = dict(leader for leader in leaders if leader is not None)  # title -> test
        if tested:
            best[column.metric] = list(tested)
            tests[column.metric] = tests_of(tested)
    return TableResults(budget, rows, best, tests)


def outdated(table: Table, results: TableResults) -> list[str]:
    """Titles of rows with runs that had other options than the specification gives them today."""
    keys = {cell.row: cell.key for cell in cells(table, results.budget, Path())}
    return [
        row for row, key in keys.items() if row in results.rows and any(r["key"] != key for r in results.rows[row].runs)
    ]


def unkept(results: TableResults, renewed: Collection[str], kept: Collection[tuple[str, int]]) -> list[str]:
    """Titles of rows with runs that new results would not hold.

    Args:
        results: the former results.
        renewed: titles of rows that are run.
        kept: key and seed of the runs that the new results will hold.
    """
    return [
        title
        for title, row in results.rows.items()
        if title not in renewed and any((run["key"], run["seed"]) not in kept for run in row.runs)
    ]


def tests_of(tested: dict[str, str]) -> str:
    """How the best rows were tested, with their titles where the tests differ."""
    if len(set(tested.values())) == 1:
        return next(iter(tested.values()))
    return "; ".join(f"{title}: {test}" for title, test in tested.items())


def _figures(raw: dict[str, dict[str, Any]]) -> dict[str, Figure]:
    return {name: Figure(**figure) for name, figure in raw.items()}


def _add(figures: dict[str, Figure], metric: str, results: Results) -> None:
    if metric.startswith("run/"):
        name = metric.removeprefix("run/")
        value, stderr, n, estimator = float(getattr(results.run, name)), None, 1, results.run.device
    elif metric in results.metrics:
        measured = results.metrics[metric]
        value, stderr, n, estimator = measured.value, measured.stderr, measured.n, measured.estimator
    else:
        return
    figure = figures.setdefault(metric, Figure([], [], [], estimator))
    figure.values.append(value)
    figure.stderrs.append(stderr)
    figure.n.append(n)


def significant_best(
    column: MetricColumn, rows: dict[str, RowResults], finished: dict[str, dict[int, Cell]]
) -> tuple[str, str] | None:
    """The row that is better than every other one in paired t-tests, and a sentence about the test.

    With three or more common seeds the pairs are seeds; otherwise they are test examples, if the runs stored them.
    None where there is no such row, nothing to pair, or fewer than two rows.
    """
    known = {title: row.figures[column.metric] for title, row in rows.items() if column.metric in row.figures}
    if column.better == "none" or len(known) < 2 or column.metric.startswith("run/"):
        return None
    sign = 1.0 if column.better == "higher" else -1.0
    leader = max(known, key=lambda title: sign * known[title].mean)
    worst, pairs = 0.0, ""
    for title in known:
        if title == leader:
            continue
        paired = _pairs(column.metric, rows, finished, leader, title)
        if paired is None:
            return None
        differences, pairs = paired
        p = paired_p(sign * differences)
        if p is None or p >= SIGNIFICANCE:
            return None
        worst = max(worst, p)
    formatted = f"p <= {worst:.1e}" if worst >= TINY else f"p < {TINY:.0e}"
    return leader, f"paired t-test over {pairs}, {formatted}"


def _add_differences(metric: str, rows: dict[str, RowResults], finished: dict[str, dict[int, Cell]]) -> None:
    """Each row's difference from the first one of its group, of every seed that both have, paired by test examples."""
    first, *others = rows
    for title in others:
        seeds = sorted(finished[first].keys() & finished[title].keys())
        found = [_differences(metric, [finished[title][seed]], [finished[first][seed]]) for seed in seeds]
        measured = [difference for difference in found if difference is not None]
        if measured:
            figures = [
                Measurement.mean(torch.from_numpy(values), "", f"from {first}, paired by test example", groups)
                for values, groups in measured
            ]
            rows[title].differences[metric] = Figure(
                [figure.value for figure in figures],
                [figure.stderr for figure in figures],
                [figure.n for figure in figures],
                figures[0].estimator,
            )


def _differences(
    metric: str, ones: Sequence[Cell], others: Sequence[Cell]
) -> tuple[np.ndarray, torch.Tensor | None] | None:
    """Differences [N] of the runs of two rows, means over runs, for the test examples that all of them have measured.

    Also the groups [N] of these examples, where they have some. None where runs stored no figures of the same examples.
    """
    stored = [[examples(cell.folder, metric) for cell in cells] for cells in (ones, others)]
    arrays = [[array for array in row if array is not None] for row in stored]
    if any(len(row) < len(cells) for row, cells in zip(arrays, (ones, others), strict=True)):
        return None
    if len({len(array) for row in arrays for array in row}) > 1:  # not the same test examples
        return None
    one, two = (np.mean(row, axis=0) for row in arrays)
    both = ~(np.isnan(one) | np.isnan(two))
    groups = examples(ones[0].folder, GROUP)
    return (one - two)[both], None if groups is None else torch.from_numpy(groups[both])


def paired_p(differences: np.ndarray) -> float | None:
    """One-sided p of a paired t-test that differences [N] are above zero; None where they do not vary."""
    if len(differences) < 2 or not np.std(differences) > 0:
        return None
    return float(stats.ttest_1samp(differences, 0.0, alternative="greater").pvalue)


def _pairs(
    metric: str, rows: dict[str, RowResults], finished: dict[str, dict[int, Cell]], first: str, second: str
) -> tuple[np.ndarray, str] | None:
    """Independent differences of two rows, and what they are of; None where there is nothing to pair."""
    seeds = sorted(finished[first].keys() & finished[second].keys())
    if len(seeds) >= 3:

        def by_seed(title: str) -> np.ndarray:
            figure, order = rows[title].figures[metric], [run["seed"] for run in rows[title].runs]
            return np.array([figure.values[order.index(seed)] for seed in seeds])

        if all(len(rows[title].figures[metric].values) == len(rows[title].runs) for title in (first, second)):
            return by_seed(first) - by_seed(second), f"{len(seeds)} seeds"
    if not seeds:
        return None
    found = _differences(metric, *([finished[title][seed] for seed in seeds] for title in (first, second)))
    if found is None:
        return None
    differences, groups = found
    apart = by_group(differences, None if groups is None else groups.numpy())
    of = "" if len(apart) == len(differences) else f"{len(apart)} groups of "
    return apart, f"{of}{len(differences)} test examples"


def examples(folder: Path, metric: str) -> np.ndarray | None:
    """A run's figure of each test example in the order of the split, NaN where not measured; None if not stored."""
    path = folder / EXAMPLES
    if not path.exists():
        return None
    with np.load(path) as file:
        name = metric.removeprefix("test/")
        return np.asarray(file[name], dtype=np.float64) if name in file else None
