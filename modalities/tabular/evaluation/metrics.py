"""Metrics of an imputation on cells whose true values are known."""

from collections.abc import Sequence

import numpy as np
import torch

from common.results import Measurement
from modalities.tabular.columns import Column
from modalities.tabular.imputation.filled import Filled


def imputation_metrics(
    filled: Filled, truth: np.ndarray, hidden: np.ndarray, columns: Sequence[Column], level: float = 0.9
) -> dict[str, Measurement]:
    """MSE, NRMSE, PFC, coverage and width of intervals over hidden cells, by short name.

    Numbers (continuous, positive, counts) are divided by their column's standard deviation in the whole of `truth`;
    discrete columns are right or wrong. NRMSE is the root of the mean squared error over the variance of the true
    hidden cells, PFC the proportion falsely classified (Stekhoven and Buehlmann 2012). Standard errors are over cells.

    Args:
        filled: the imputation.
        truth: true table [N, F], NaN where unknown.
        hidden: [N, F], True for the cells to score.
        columns: the table's columns.
        level: nominal coverage of the intervals.
    """
    cells = hidden & ~np.isnan(truth)
    discrete = np.array([column.discrete for column in columns])
    deviation = np.nanstd(truth, axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    numbers, labels = cells & ~discrete, cells & discrete
    figures = {}
    if numbers.any():
        error = ((filled.point - truth) / deviation)[numbers]
        figures["mse"] = _mean(error**2, "variances", "mean over hidden numbers, divided by their column's deviation")
        spread = ((truth - np.nanmean(truth, axis=0)) / deviation)[numbers].var()
        ratio = float(np.sqrt((error**2).mean() / spread)) if spread > 0 else float("nan")
        figures["nrmse"] = Measurement(ratio, None, int(numbers.sum()), "deviations", "root of MSE over true variance")
    if labels.any():
        wrong = (filled.point != truth)[labels]
        figures["pfc"] = _mean(wrong.astype(float), "share", "falsely classified among hidden discrete cells")
    if numbers.any() and filled.low is not None and filled.high is not None:
        inside = ((truth >= filled.low) & (truth <= filled.high))[numbers]
        width = ((filled.high - filled.low) / deviation)[numbers]
        figures["coverage"] = _mean(inside.astype(float), "share", f"hidden numbers inside of {level:.0%} intervals")
        figures["width"] = _mean(width, "deviations", f"{level:.0%} intervals of hidden numbers")
    if filled.log_likelihood is not None:
        densities = cells & np.array([column.kind in ("continuous", "positive") for column in columns])
        nats = filled.log_likelihood(truth, cells) + densities @ np.log(deviation)
        text = f"log p(hidden | observed) of rows with a hidden cell, numbers in their deviation; {filled.estimator}"
        figures["masked_log_likelihood"] = _mean(nats[cells.any(1)], "nats a row", text)
    return figures


def downstream_accuracy(table: np.ndarray, labels: np.ndarray, seed: int) -> Measurement:
    """Accuracy of a logistic regression that reads a filled table of numbers, in 5-fold cross-validation.

    What was filled has seen no label; a figure below that of the complete table is what the imputation has lost.

    Args:
        table: [N, F] without holes.
        labels: classes [N].
        seed: seed of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    predicted = cross_val_predict(make_pipeline(StandardScaler(), LogisticRegression()), table, labels, cv=folds)
    return _mean((predicted == labels).astype(float), "accuracy", "5-fold logistic regression on the filled table")


def _mean(values: np.ndarray, unit: str, estimator: str) -> Measurement:
    return Measurement.mean(torch.from_numpy(np.asarray(values, dtype=float)), unit, estimator)
