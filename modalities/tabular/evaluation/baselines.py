"""Imputers to compare: mean and mode, neighbours, scikit-learn's chained equations, factor analysis, ours, others'."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 (makes the next import work)
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge

from common.data.splits import some_rows
from common.lazy import pd
from modalities.tabular.columns import Column
from modalities.tabular.evaluation.peers import FORESTS, forests
from modalities.tabular.evaluation.plain_table import PlainTable
from modalities.tabular.imputation.filled import Filled, by_importance, in_table_units
from modalities.tabular.imputation.imputer import CHOICE_ROWS, CVAEImputer, held_out_cells
from modalities.tabular.networks.factor_analysis import FactorAnalysis, choose_factors
from modalities.tabular.schema import schema_of

Method = Callable[[pd.DataFrame, Sequence[Column], int], Filled]  # incomplete table, its columns, seed
NORMAL_90 = 1.6448536269514722  # half-width of a central 90 % interval of N(0, 1)


def mean_or_mode(table: pd.DataFrame, columns: Sequence[Column], seed: int) -> Filled:
    """The mean of a number, the most frequent code of a discrete column."""
    plain = PlainTable.of(table, columns)
    return Filled(plain.restore(np.where(plain.known, plain.features, _column_means(plain))))


def _column_means(plain: PlainTable) -> np.ndarray:
    means = np.nanmean(plain.incomplete(), axis=0)
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
    """Factor analysis by EM on the incomplete table, with the size chosen as in `CVAEImputer`; Gaussian intervals."""
    plain = PlainTable.of(table, columns)
    observed = plain.known
    cells = held_out_cells(torch.ones(len(table), len(columns), dtype=torch.bool), 5, 0.1, seed)
    rows = some_rows(len(table), CHOICE_ROWS, seed)
    held_out = [hidden[rows][:, plain.layout.column] & observed[rows] for hidden in cells]
    size, ridge = choose_factors(plain.features[rows], observed[rows], held_out)
    solution = FactorAnalysis.fit(plain.features, observed, size, ridge=ridge)
    mean, variance = solution.predict(plain.features, observed)
    mean = torch.where(observed, plain.features, mean)
    half = torch.where(observed, 0.0, NORMAL_90 * variance.sqrt())
    point, low, high = (plain.restore(part.numpy()) for part in (mean, mean - half, mean + half))

    def log_likelihood(truth: np.ndarray, cells: np.ndarray) -> np.ndarray:
        whole = torch.from_numpy(np.stack([c.scaled(truth[:, i]) for i, c in enumerate(plain.columns)], axis=1))
        given = solution.log_likelihood(plain.features, observed)
        nats = solution.log_likelihood(whole.nan_to_num(), observed | torch.from_numpy(cells)) - given
        return in_table_units(nats.numpy(), cells, plain.columns)

    density = None if any(column.kind != "continuous" for column in columns) else log_likelihood
    return Filled(point, low, high, density)


def cvae(table: pd.DataFrame, columns: Sequence[Column], seed: int, **options: Any) -> Filled:
    """`CVAEImputer` with its defaults, but for some options."""
    imputer = CVAEImputer(schema=schema_of(columns), random_state=seed, **options).fit(table)

    def log_likelihood(truth: np.ndarray, cells: np.ndarray) -> np.ndarray:
        whole = np.where(table.notna() | cells, truth, np.nan)
        return imputer.log_likelihood(
            table, pd.DataFrame({c.name: _named(whole[:, i], c) for i, c in enumerate(columns)})
        )

    how = by_importance(imputer.draws, conditional=False)
    return replace(imputer.complete(table), log_likelihood=log_likelihood, estimator=how)


def _named(values: np.ndarray, column: Column) -> np.ndarray:
    """Decoded values of a column with names in place of codes."""
    if not column.discrete:
        return values
    cells = np.full(len(values), None, dtype=object)
    known = ~np.isnan(values)
    cells[known] = column.present(values[known])
    return cells


EARLY: dict[str, Any] = {"max_steps": 5000, "patience": 25}  # of one model, which stops where held-out cells say
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
    "CVAEImputer, learned prior": partial(cvae, learned_prior=True),
    # The methods that it comes from: one model from random weights, with the sizes and rates of their papers.
    "MIWAE": partial(
        cvae, members=1, linear_start=False, latent_dim=10, samples=20, learning_rate=1e-3, proposals=1000, **EARLY
    ),
    "VAEAC": partial(
        cvae, members=1, linear_start=False, latent_dim=64, hidden=256, learning_rate=3e-4, learned_prior=True, **EARLY
    ),
    **{name: partial(forests, name) for name in FORESTS},
}
