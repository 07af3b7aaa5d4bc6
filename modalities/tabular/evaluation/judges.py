"""Two judges of generated rows: random forests and linear models, each of which reads a column from the other ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.conditions.attributes import OBSERVED, Attribute, Categorical, Continuous, Fields
from common.conditions.classifier import RealFigures
from common.data.splits import some_rows
from common.eval_mode import eval_mode
from common.evaluation.control import judged
from common.evaluation.evaluation import Evaluation
from common.evaluation.fidelity import fidelity_figures
from common.evaluation.sampling import sampled
from common.evaluation.second_judge import StatisticsJudge, examples_of
from common.results import Measurement
from common.seeding import seeded
from modalities.tabular.columns import Column
from modalities.tabular.data import TabularData
from modalities.tabular.model import TabularCVAE
from modalities.tabular.networks.features import Features

COLUMNS = 5  # most columns that are judged
TREES = 50


class RowJudge(StatisticsJudge):
    """Reads columns of a row from its other columns, in standardised units; an empty cell counts as its mean.

    Args:
        columns: the table's columns.
        names: those that are read.
        make: scikit-learn's predictor of a column.
    """

    def __init__(self, columns: Sequence[Column], names: Sequence[str], make: Callable[[Attribute], Any]) -> None:
        self.layout, places = Features(columns), {column.name: place for place, column in enumerate(columns)}
        self.places = {name: places[name] for name in names}
        kinds = {name: columns[place] for name, place in self.places.items()}
        attributes: dict[str, Attribute] = {
            name: Categorical(column.values) if column.discrete else Continuous() for name, column in kinds.items()
        }
        super().__init__(attributes, lambda x: self.layout(x)[0].numpy(), make)

    def seen(self, statistics: Any, name: str) -> Any:
        """Those of the other columns."""
        own = self.layout.slices()[self.places[name]]
        return np.delete(statistics, own, axis=1)

    def truth(self, x: Tensor) -> Fields:
        """The columns that are read, each [B]: codes, or standardised numbers."""
        values, known = self.layout(x)
        slices, found = self.layout.slices(), {}
        for name, attribute in self.attributes.items():
            place = self.places[name]
            if isinstance(attribute, Categorical):
                found[name] = x[:, place].nan_to_num(nan=-1.0).round().long()
            else:
                own = slices[place].start
                found[name] = values[:, own].masked_fill(~known[:, own], float("nan"))
        return found


def forest(attribute: Attribute) -> Any:
    """A random forest."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestClassifier if isinstance(attribute, Categorical) else RandomForestRegressor
    return kind(TREES, min_samples_leaf=2, max_features="sqrt", random_state=0)


def linear(attribute: Attribute) -> Any:
    """A logistic or ridge regression."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return LogisticRegression(max_iter=300) if isinstance(attribute, Categorical) else Ridge()


def judged_columns(columns: Sequence[Column], targets: Sequence[str]) -> list[str]:
    """Names of at most 5 columns that are judged: targets, then categories, then numbers spread over the table."""
    rest = [column for column in columns if column.name not in targets]
    discrete = [column.name for column in rest if column.discrete]
    numbers = [column.name for column in rest if not column.discrete]
    first = [*targets, *discrete][:COLUMNS]
    left = min(COLUMNS - len(first), len(numbers))
    return [*first, *(numbers[place * len(numbers) // left] for place in range(left))]


def row_judges(data: TabularData, steps: int | None = None) -> tuple[RowJudge, RowJudge] | None:
    """Both judges, trained on some of the training rows and examined on the test rows; None of a single column.

    Args:
        data: the table.
        steps: few of them, as for judges of other modalities, are for a trial: of few rows.
    """
    if len(data.columns) < 2:
        return None
    x, splits = data.whole.x, data.whole.splits
    names = judged_columns(data.columns, data.targets())
    train, test = splits["train"], x[splits["test"]].float()
    rows = x[train[some_rows(len(train), examples_of(steps))]].float()
    found = []
    for make in (forest, linear):
        judge = RowJudge(data.columns, names, make)
        judge.fit(rows, judge.truth(rows))
        if not judge.attributes:
            return None
        judge.real = RealFigures.of(judge, [test], judge.truth(test))
        found.append(judge)
    return found[0], found[1]


def generated_figures(
    model: TabularCVAE, data: TabularData, evaluation: Evaluation, steps: int | None = None
) -> dict[str, Measurement]:
    """Control of rows that are generated given a single cell, and how rows given none differ from real ones.

    For each judged column, rows are drawn given the cell of a test row in that column alone; both judges read the
    column back from the other cells.

    Args:
        model: the tested model.
        data: the tested data.
        evaluation: sample counts and seed.
        steps: as in `row_judges`.
    """
    figures: dict[str, Measurement] = {}
    count, at_once = evaluation.control_samples, evaluation.at_once()
    if count == 0 or not model.condition.reads_observed:
        return figures
    test = data.examples.x[data.examples.splits["test"]].float()
    blank = torch.full((count, test.shape[1]), float("nan"))
    judges = row_judges(data, steps)
    with seeded(evaluation.seed), eval_mode(model):
        alone = sampled(model, {OBSERVED: blank}, at_once, draw=True)[0].float()
        if judges is not None:
            first, second = judges
            parts, asked = _asked(model, first, test, max(1, count // len(first.attributes)), at_once)
            estimator = "rows drawn given this cell alone, standardised units"
            figures |= judged(first, second, parts, asked, estimator)
        # A missing cell reads as the mean: drawn rows, which have none of their own, lack what random real rows lack.
        lacking = test[torch.randint(len(test), (count,))].isnan()
    features = Features(data.columns)
    real, drawn = (features(x)[0] for x in (test, alone.masked_fill(lacking, float("nan"))))
    different = fidelity_figures(real, drawn, {}, {}, {}, evaluation.seed)
    cells = "cells, missing where random real rows lack them" if lacking.any() else "cells"
    return figures | {
        name: Measurement(
            figure.value, figure.stderr, figure.n, figure.unit, figure.estimator.replace("judge features", cells)
        )
        for name, figure in different.items()
    }


def _asked(model: TabularCVAE, judge: RowJudge, test: Tensor, count: int, at_once: int) -> tuple[list[Tensor], Fields]:
    """Rows for each judged column, given a cell of it, and what they were asked for: missing in other columns."""
    parts, asked = [], []
    for name, attribute in judge.attributes.items():
        truth = judge.truth(test)
        known = (~attribute.missing(truth[name])).nonzero()[:, 0]
        chosen = known[torch.randperm(len(known))].repeat(-(-count // max(1, len(known))))[:count]
        if len(chosen) == 0:
            continue
        observed = torch.full((len(chosen), test.shape[1]), float("nan"))
        observed[:, judge.places[name]] = test[chosen, judge.places[name]]
        parts.append(sampled(model, {OBSERVED: observed}, at_once, draw=True)[0].float())
        asked.append(judge.truth(observed))
    return parts, {name: torch.cat([fields[name] for fields in asked]) for name in judge.attributes}
