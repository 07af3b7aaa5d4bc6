"""Imputations to compare with: mean and mode, neighbours, scikit-learn's chained equations, factor analysis."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the next import work)
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.linear_model import BayesianRidge

from modalities.tabular.columns import Column, encode_table, fit_columns
from modalities.tabular.factor_analysis import FactorAnalysis, choose_factors
from modalities.tabular.features import Features
from modalities.tabular.imputer import CVAEImputer, held_out_cells
from modalities.tabular.metrics import Filled, decoded

Method = Callable[[pd.DataFrame, Sequence[Column], int], Filled]  # incomplete table, its columns, seed
NORMAL_90 = 1.6448536269514722  # half-width of a central 90 % interval of N(0, 1)


@dataclass(frozen=True)
class PlainTable:
    """A table as most imputers see it: standardised numbers as they are, and an indicator for each category."""

    columns: list[Column]
    layout: Features
    features: torch.Tensor
    known: torch.Tensor

    @staticmethod
    def of(table: pd.DataFrame, columns: Sequence[Column]) -> "PlainTable":
        """The table with all numbers continuous."""
        schema = {c.name: {"kind": c.kind, "values": list(c.values)} if c.discrete else "continuous" for c in columns}
        plain = fit_columns(table, schema)
        layout = Features(plain)
        features, known = layout(torch.from_numpy(encode_table(table, plain)))
        return PlainTable(plain, layout, features.double(), known)

    def incomplete(self) -> np.ndarray:
        """Features with NaN where missing."""
        return self.features.masked_fill(~self.known, float("nan")).numpy()

    def restore(self, features: np.ndarray) -> np.ndarray:
        """Features in the units of the columns, codes where discrete."""
        return decoded(self.layout.invert(torch.from_numpy(features)).numpy(), self.columns)


def mean_or_mode(table: pd.DataFrame, columns: Sequence[Column], seed: int) -> Filled:
    """The mean of a number, the most frequent code of a discrete column."""
    plain = PlainTable.of(table, columns)
    return Filled(plain.restore(np.where(plain.known, plain.features, _column_means(plain))))


def _column_means(plain: PlainTable) -> np.ndarray:
    filled = SimpleImputer(strategy="mean", keep_empty_features=True).fit_transform(plain.incomplete())
    means = np.where(plain.known, 0.0, filled).sum(0) / np.maximum((~plain.known).sum(0).numpy(), 1)
    for column, own in zip(plain.columns, plain.layout.slices(), strict=True):
        if column.discrete and column.kind != "categorical":
            means[own] = (int(np.argmax(column.shares)) - column.location) / column.scale
    return means


def _scikit(make: Callable[[int], Any]) -> Method:
    def method(table: pd.DataFrame, columns: Sequence[Column], seed: int) -> Filled:
        plain = PlainTable.of(table, columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return Filled(plain.restore(make(seed).fit_transform(plain.incomplete())))

    return method


def factor_analysis(table: pd.DataFrame, columns: Sequence[Column], seed: int) -> Filled:
    """Factor analysis by EM on the incomplete table, its size chosen as `CVAEImputer` does; Gaussian intervals."""
    plain = PlainTable.of(table, columns)
    observed = plain.known
    cells = held_out_cells(torch.ones(len(table), len(columns), dtype=torch.bool), 2, 0.1, seed)
    held_out = [hidden[:, plain.layout.column] & observed for hidden in cells]
    size = choose_factors(plain.features[:5000], observed[:5000], [hidden[:5000] for hidden in held_out])
    solution = FactorAnalysis.fit(plain.features, observed, size)
    mean, variance = solution.predict(plain.features, observed)
    mean = torch.where(observed, plain.features, mean)
    half = torch.where(observed, 0.0, NORMAL_90 * variance.sqrt())
    point, low, high = (plain.restore(part.numpy()) for part in (mean, mean - half, mean + half))
    return Filled(point, low, high)


def cvae(table: pd.DataFrame, columns: Sequence[Column], seed: int, **options: Any) -> Filled:
    """`CVAEImputer` with its defaults."""
    schema = {
        c.name: {"kind": c.kind, "family": c.family, **({"values": list(c.values)} if c.discrete else {})}
        for c in columns
    }
    return CVAEImputer(schema=schema, random_state=seed, **options).fit(table).complete(table)


METHODS: dict[str, Method] = {
    "mean / mode": mean_or_mode,
    "kNN-5": _scikit(lambda seed: KNNImputer(n_neighbors=5, keep_empty_features=True)),
    "IterativeImputer, BayesianRidge": _scikit(
        lambda seed: IterativeImputer(BayesianRidge(), random_state=seed, keep_empty_features=True)
    ),
    "IterativeImputer, ExtraTrees": _scikit(
        lambda seed: IterativeImputer(
            ExtraTreesRegressor(n_estimators=100, random_state=seed), random_state=seed, keep_empty_features=True
        )
    ),
    "factor analysis": factor_analysis,
    "CVAEImputer": cvae,
}
