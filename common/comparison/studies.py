"""Studies of what conditions are worth and of how much data they need: runs and conclusions.

A study is a comparison table (`specification`) with generated rows, and a conclusion in numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from common.clusters import by_group
from common.comparison.results import examples
from common.comparison.runner import State
from common.comparison.specification import Budget, Cell, MetricColumn, Plain, Row, Table, read_specification
from common.data.subset import Combination
from common.evaluation.columns import GROUP

CONTROL = "shuffled"  # row of the negative control
NONE = "none"
ALL = "all"


@dataclass(frozen=True)
class Study:
    """The specification of a study.

    Attributes:
        title: the question, as the title of tables and plots.
        script: training script.
        configs: configurations of data and model; the model's condition encoder must have the option `use`.
        conditions: candidate conditions, fields of the data.
        sizes: training examples of each combination of conditions, for a study of data requirements.
        hold_out: combinations to exclude from training, for a study of data requirements.
        set: dotted options of every run.
        seeds: one run of each row for every seed.
        notes: what a reader needs to know.
    """

    title: str
    script: str
    configs: list[str]
    conditions: list[str]
    sizes: list[int] = field(default_factory=list)
    hold_out: list[Combination] = field(default_factory=list)
    set: dict[str, Plain] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0])
    notes: str = ""


def read_study(path: Path) -> Study:
    """A study from its YAML file; see `common.comparison.specification.read_specification`."""
    return read_specification(Study, path, "study")


def _table(study: Study, rows: dict[str, Row], columns: list[MetricColumn]) -> Table:
    budget = Budget(study.seeds, study.configs, study.set)
    return Table(study.title, rows, columns, {"study": budget}, script=study.script, notes=study.notes)


def condition_table(study: Study) -> Table:
    """Rows: no condition, each candidate, all of them, and all of them permuted at random."""
    use = "model.condition.init_args.use"
    rows = {NONE: Row(set={use: []})}
    rows |= {name: Row(set={use: [name]}) for name in study.conditions}
    if len(study.conditions) > 1:
        rows[ALL] = Row(set={use: study.conditions})
    rows[CONTROL] = Row(set={use: study.conditions, "subset.shuffle": study.conditions})
    columns = [
        MetricColumn("test/nll", "NLL", "lower"),
        MetricColumn("test/effective_sample_size", "effective samples", digits=1),
        MetricColumn("test/kl", "KL"),
        MetricColumn("test/control_accuracy", "control accuracy", "higher", 3),
        MetricColumn("test/leakage", "leakage", "lower", 3),
    ]
    return _table(study, rows, columns)


@dataclass(frozen=True)
class Gain:
    """What a row's conditions are worth: the nats by which they lower the test NLL, with an interval.

    Attributes:
        mean: mean over test examples and seeds.
        low: lower end of the 95 % interval.
        high: upper end.
        n: number of test examples.
        seeds: number of pairs of runs.
    """

    mean: float
    low: float
    high: float
    n: int
    seeds: int = 1


def paired_gain(base: np.ndarray, other: np.ndarray, level: float = 0.95, groups: np.ndarray | None = None) -> Gain:
    """Gain of one model over another from the NLL of the same examples; NaN where not measured.

    Examples vary far more than their differences do, and so do seeds. Student's half-widths of both are independent
    where the examples are the same for every seed, and add up as squares. Of one seed, the interval is that of the
    choice of test examples alone.

    Args:
        base: [N], or [S, N] of S seeds.
        other: the same of the model that is to gain.
        level: that of the interval.
        groups: group [N] of each example; those of a group are not independent.

    Raises:
        ValueError: if fewer than two examples, or of two groups, were measured in both.
    """
    difference = np.atleast_2d(base - other)
    known = ~np.isnan(difference).any(axis=0)
    difference = difference[:, known]
    seeds, n = difference.shape
    apart = by_group(difference.mean(axis=0), None if groups is None else groups[known]) if n else np.zeros(0)
    if len(apart) < 2:
        raise ValueError("a gain needs two test examples, and of two groups, that both runs measured")
    half = _half_width(apart, level)
    if seeds > 1:
        half = float(np.hypot(half, _half_width(difference.mean(axis=1), level)))
    mean = float(difference.mean())
    return Gain(mean, mean - half, mean + half, n, seeds)


def _half_width(values: np.ndarray, level: float) -> float:
    """Half of Student's interval of the mean of values [N]."""
    return float(stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def condition_gains(states: Mapping[Cell, State], metric: str = "test/nll") -> dict[str, Gain]:
    """Gain of every row over the row without conditions, over the seeds that both have finished, best first.

    Args:
        states: the states of the cells of a condition table.
        metric: metric whose figures of each test example the runs have stored.
    """
    values: dict[str, dict[int, np.ndarray]] = {}
    groups = None
    for cell, state in states.items():
        stored = examples(cell.folder, metric) if state.status == "finished" else None
        if stored is not None:
            values.setdefault(cell.row, {})[cell.seed] = stored
            groups = examples(cell.folder, GROUP)
    base, gains = values.pop(NONE, {}), {}
    for row, of_seeds in values.items():
        seeds = base.keys() & of_seeds.keys()
        if seeds:
            without, given = (np.stack([figures[seed] for seed in seeds]) for figures in (base, of_seeds))
            gains[row] = paired_gain(without, given, groups=groups)
    return dict(sorted(gains.items(), key=lambda item: -item[1].mean))


def conclusion(gains: dict[str, Gain]) -> str:
    """In words, which conditions are worth having: those whose interval lies above zero and above the control's.

    Intervals cover the choice of test examples, and that of seeds where there are several; a gain of the control is not
    due to its conditions.
    """

    def formatted(row: str) -> str:
        gain = gains[row]
        return f"{row} ({gain.mean:+.2f} nats, 95 % interval {gain.low:+.2f} to {gain.high:+.2f})"

    control = gains.get(CONTROL)
    floor = 0.0 if control is None else max(0.0, control.high)
    candidates = [row for row in gains if row != CONTROL]
    worth = [formatted(row) for row in candidates if gains[row].low > floor]
    others = [formatted(row) for row in candidates if gains[row].low <= floor]
    parts = [f"Worth having: {', '.join(worth) or 'none'}."]
    if others:
        parts.append(f"Not shown to be worth anything: {', '.join(others)}.")
    if control is not None:
        permuted = "The control, the same conditions permuted at random,"
        if control.low <= 0:
            parts.append(f"{permuted} gains nothing: {formatted(CONTROL)}.")
        else:
            parts.append(f"{permuted} gains too: {formatted(CONTROL)}. A gain has to be above it.")
    if any(gain.seeds == 1 for gain in gains.values()):
        parts.append("One seed: the intervals do not say how much of a gain is that of a seed.")
    return " ".join(parts)


def size_title(size: int) -> str:
    """Title of a size's row."""
    return f"{size:,} example{'' if size == 1 else 's'} each"


def data_table(study: Study) -> Table:
    """A row for each number of training examples per combination; held-out combinations have their own columns.

    Raises:
        ValueError: with fewer than two sizes.
    """
    if len(study.sizes) < 2:
        raise ValueError("a study of data requirements needs at least two sizes")
    fixed: dict[str, Any] = {"subset.hold_out": study.hold_out} if study.hold_out else {}
    fixed["model.condition.init_args.use"] = study.conditions
    rows = {size_title(size): Row(set={**fixed, "subset.examples": size}) for size in study.sizes}
    columns = [
        MetricColumn("test/nll", "NLL", "lower"),
        MetricColumn("test/effective_sample_size", "effective samples", digits=1),
        MetricColumn("test/control_accuracy", "control accuracy", "higher", 3),
    ]
    if study.hold_out:
        columns.append(MetricColumn("test/unseen/nll", "NLL, unseen", "lower"))
        columns.append(MetricColumn("test/unseen/control_accuracy", "control accuracy, unseen", "higher", 3))
    columns.append(MetricColumn("test/judge_accuracy", "judge on real data", "none", 3))
    return _table(study, rows, columns)
