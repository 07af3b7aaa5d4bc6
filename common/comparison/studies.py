"""Studies of what conditions are worth and of how much data they need: what is run, and what follows from it.

A study is a comparison table (`specification`) whose rows are made from a few words, and a conclusion in numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from common.comparison.results import examples
from common.comparison.specification import Budget, Cell, Column, Plain, Row, Table, read_specification
from common.data.subset import Combination

CONTROL = "shuffled"  # row of the negative control
NONE = "none"
ALL = "all"


@dataclass(frozen=True)
class Study:
    """What a study runs.

    Attributes:
        title: what is asked.
        script: training script.
        configs: configurations of data and model; the model's condition encoder must have the option `use`.
        conditions: candidate conditions, fields of the data.
        sizes: training examples of each combination of conditions, for a study of data requirements.
        hold_out: combinations that training never sees, for a study of data requirements.
        set: dotted options of every run.
        seeds: one run of each row for every seed.
        notes: what a reader has to know.
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


def _table(study: Study, rows: dict[str, Row], columns: list[Column]) -> Table:
    budget = Budget(study.seeds, study.configs, study.set)
    return Table(study.title, rows, columns, {"study": budget}, script=study.script, notes=study.notes)


def condition_table(study: Study) -> Table:
    """Rows: no condition, each candidate, all of them, and all of them dealt out at random."""
    use = "model.condition.init_args.use"
    rows = {NONE: Row(set={use: []})}
    rows |= {name: Row(set={use: [name]}) for name in study.conditions}
    if len(study.conditions) > 1:
        rows[ALL] = Row(set={use: study.conditions})
    rows[CONTROL] = Row(set={use: study.conditions, "subset.shuffle": study.conditions})
    columns = [
        Column("test/nll", "NLL", "lower"),
        Column("test/effective_sample_size", "effective samples", digits=1),
        Column("test/kl", "KL"),
        Column("test/control_accuracy", "control accuracy", "higher", 3),
        Column("test/leakage", "leakage", "lower", 3),
    ]
    return _table(study, rows, columns)


@dataclass(frozen=True)
class Gain:
    """What a row's conditions are worth: nats of test NLL below those of no condition, with the ends of an interval.

    Attributes:
        mean: over test examples.
        low: lower end of the 95 % interval.
        high: upper end.
        n: test examples.
    """

    mean: float
    low: float
    high: float
    n: int


def paired_gain(base: np.ndarray, other: np.ndarray, level: float = 0.95) -> Gain:
    """Gain of one model over another from the NLL of the same examples, each [N]; NaN where not measured.

    Student's interval of the mean difference: examples vary far more than their differences do.

    Raises:
        ValueError: if fewer than two examples were measured in both.
    """
    difference = base - other
    difference = difference[~np.isnan(difference)]
    if len(difference) < 2:
        raise ValueError("a gain needs two test examples that both runs measured")
    error = difference.std(ddof=1) / len(difference) ** 0.5
    reach = float(stats.t.ppf((1 + level) / 2, len(difference) - 1) * error)
    mean = float(difference.mean())
    return Gain(mean, mean - reach, mean + reach, len(difference))


def condition_gains(cells: Sequence[Cell], metric: str = "test/nll") -> dict[str, Gain]:
    """Gain of every finished row over the row without conditions, averaged over seeds, best first.

    Args:
        cells: of a condition table.
        metric: whose figures of each test example the runs have kept.
    """
    values: dict[str, list[np.ndarray]] = {}
    for cell in cells:
        kept = examples(cell.folder, metric)
        if kept is not None:
            values.setdefault(cell.row, []).append(kept)
    if NONE not in values:
        return {}
    means = {row: np.mean(of_seeds, axis=0) for row, of_seeds in values.items()}
    gains = {row: paired_gain(means[NONE], mean) for row, mean in means.items() if row != NONE}
    return dict(sorted(gains.items(), key=lambda item: -item[1].mean))


def verdict(gains: dict[str, Gain]) -> str:
    """In words, which conditions are worth having: those whose interval lies above nothing and above the control's.

    Intervals know the chance of the test examples alone; what the control gains is no condition's doing.
    """

    def told(row: str) -> str:
        gain = gains[row]
        return f"{row} ({gain.mean:+.2f} nats, 95 % interval {gain.low:+.2f} to {gain.high:+.2f})"

    control = gains.get(CONTROL)
    floor = 0.0 if control is None else max(0.0, control.high)
    tried = [row for row in gains if row != CONTROL]
    worth = [told(row) for row in tried if gains[row].low > floor]
    others = [told(row) for row in tried if gains[row].low <= floor]
    parts = [f"Worth having: {', '.join(worth) or 'none'}."]
    if others:
        parts.append(f"Not shown to be worth anything: {', '.join(others)}.")
    if control is not None:
        dealt = "The control, the same conditions dealt out at random,"
        if control.low <= 0:
            parts.append(f"{dealt} gains nothing: {told(CONTROL)}.")
        else:
            parts.append(f"{dealt} gains too: {told(CONTROL)}. A gain has to be above it.")
    return " ".join(parts)


def size_title(size: int) -> str:
    """Title of a size's row."""
    return f"{size:,} example{'' if size == 1 else 's'} each"


def data_table(study: Study) -> Table:
    """A row for each number of training examples of a combination; combinations held out are measured apart.

    Raises:
        ValueError: with fewer than two sizes.
    """
    if len(study.sizes) < 2:
        raise ValueError("a study of data requirements needs at least two sizes")
    fixed: dict[str, Any] = {"subset.hold_out": study.hold_out} if study.hold_out else {}
    fixed["model.condition.init_args.use"] = study.conditions
    rows = {size_title(size): Row(set={**fixed, "subset.examples": size}) for size in study.sizes}
    columns = [
        Column("test/nll", "NLL", "lower"),
        Column("test/effective_sample_size", "effective samples", digits=1),
        Column("test/control_accuracy", "control accuracy", "higher", 3),
    ]
    if study.hold_out:
        columns.append(Column("test/unseen/nll", "NLL, unseen", "lower"))
        columns.append(Column("test/unseen/control_accuracy", "control accuracy, unseen", "higher", 3))
    columns.append(Column("test/judge_accuracy", "judge on real data", "none", 3))
    return _table(study, rows, columns)
