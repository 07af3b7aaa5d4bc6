"""Judges of another family than a trained network: scikit-learn's predictors on statistics that are not learned.

A result that only one of two judges supports may be an artefact of that judge.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import RealFigures
from common.data.examples import Examples
from common.data.splits import some_rows

EXAMPLES = 4000  # most training examples: the cost of a support-vector machine grows with their square
STEP = 64  # examples for each optimiser step of the first judge, where that is trained for a trial alone

Describe = Callable[[Tensor], Any]  # x [B, ...] -> statistics [B, F], dense or sparse
Make = Callable[[Attribute], Any]  # a field -> scikit-learn's predictor of it, not fitted


class StatisticsJudge:
    """Predicts conditions from statistics of an example.

    Args:
        attributes: the fields that it predicts.
        describe: the statistics of examples.
        make: the predictor of a field.
    """

    real: RealFigures

    def __init__(self, attributes: dict[str, Attribute], describe: Describe, make: Make) -> None:
        self.attributes, self.describe, self.make = attributes, describe, make
        self.readers: dict[str, Any] = {}

    def fit(self, x: Tensor, fields: Fields) -> None:
        """Trains on real examples [N, ...]; for each field, examples without a value are left out.

        A field of which training knows a single value has no predictor, and is not judged.
        """
        statistics = self.describe(x)
        for name, attribute in list(self.attributes.items()):
            known = (~attribute.missing(fields[name])).numpy()
            values = fields[name].numpy()[known]
            if len(np.unique(values)) < 2:
                del self.attributes[name]
                continue
            self.readers[name] = self.make(attribute).fit(self.seen(statistics, name)[known], values)

    def seen(self, statistics: Any, name: str) -> Any:
        """The statistics [B, F] that the predictor of a field sees: all of them."""
        return statistics

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted raw value of each field, [B]."""
        statistics = self.describe(x)
        found = {
            name: torch.from_numpy(reader.predict(self.seen(statistics, name))) for name, reader in self.readers.items()
        }
        return {
            name: values.long() if isinstance(self.attributes[name], Categorical) else values.float()
            for name, values in found.items()
        }


def examples_of(steps: int | None) -> int:
    """How many training examples such a judge takes where the first one takes so many optimiser steps; None is all."""
    return EXAMPLES if steps is None else min(EXAMPLES, STEP * steps)


def second_judge(
    table: Examples,
    judge: StatisticsJudge,
    prepared: Callable[[Tensor], Tensor],
    steps: int | None = None,
    part: int = 500,
) -> StatisticsJudge | None:
    """The judge, trained on some of the training split and examined on the test split; None if nothing can be judged.

    Args:
        table: the data.
        judge: not trained yet.
        prepared: stored examples -> x as a model generates it.
        steps: as for the first judge: few of them are for a trial, with few examples.
        part: examples that are prepared at once.
    """
    rows = table.splits["train"]
    rows = rows[some_rows(len(rows), examples_of(steps))]
    judge.fit(prepared(table.x[rows]), {name: table.fields[name][rows] for name in judge.attributes})
    if not judge.attributes:
        return None
    test = table.splits["test"]
    parts: Iterable[Tensor] = (prepared(table.x[chosen]) for chosen in test.split(part))
    judge.real = RealFigures.of(judge, parts, {name: table.fields[name][test] for name in judge.attributes})
    return judge


def support_vectors(attribute: Attribute, scaled: bool = True) -> Any:
    """A support-vector machine for categories, support-vector regression for numbers.

    Args:
        attribute: the field.
        scaled: whether each statistic is standardised; pixels, most of which are constant, are better left as they are.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC, SVR

    if isinstance(attribute, Categorical):
        machine: Any = SVC(C=10.0, class_weight="balanced")
    else:
        machine = TransformedTargetRegressor(SVR(), transformer=StandardScaler())
    return make_pipeline(StandardScaler(), machine) if scaled else machine
