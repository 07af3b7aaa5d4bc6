"""Masks: the cells that an experiment hides, and the random part of a row on which a training step conditions."""

from typing import Literal

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor

Mechanism = Literal["none", "mcar", "mar", "mnar"]
STEEPNESS = 2.0  # of the logistic functions behind MAR and MNAR, for a standardised argument


def hide(x: np.ndarray, mechanism: Mechanism, rate: float, seed: int) -> np.ndarray:
    """Cells to hide, [N, F] bool, True where hidden; they may include missing cells of x, which no metric counts.

    Args:
        x: table [N, F]; NaN where missing.
        mechanism: "mcar" hides completely at random, "mar" depending on other, observed columns, "mnar" depending on
            the hidden value, "none" hides no cell.
        rate: share of cells to hide.
        seed: seed of the mask.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"rate must be in [0, 1); got {rate}")
    if mechanism == "none":
        return np.zeros(x.shape, dtype=bool)
    if mechanism == "mcar":
        return mcar(x.shape, rate, seed)
    return mar(x, rate, seed) if mechanism == "mar" else mnar(x, rate, seed)


def randomly_masked(x: Tensor) -> Tensor:
    """x [B, F] with a random part of each row, of a random size, set to NaN: the condition of a training step."""
    shares = torch.rand(len(x), 1, device=x.device)
    return x.masked_fill(torch.rand(x.shape, device=x.device) >= shares, float("nan"))


def mcar(shape: tuple[int, ...], rate: float, seed: int) -> np.ndarray:
    """Hides exactly floor(N F rate) cells, every choice of them equally likely (the protocol of MIWAE)."""
    hidden = np.zeros(int(np.prod(shape)), dtype=bool)
    chosen = np.random.default_rng(seed).permutation(hidden.size)[: int(hidden.size * rate)]
    hidden[chosen] = True
    return hidden.reshape(shape)


def mar(x: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Hides cells of one random half of the columns with logistic probabilities that depend on the other half.

    The rate is that of the columns whose cells can be hidden. Missing cells of x count as their column's mean.
    """
    generator = np.random.default_rng(seed)
    values = standardised(x)
    columns = generator.permutation(x.shape[1])
    drivers, others = np.sort(columns[: max(1, len(columns) // 2)]), np.sort(columns[max(1, len(columns) // 2) :])
    weights = generator.standard_normal((len(drivers), len(others)))
    scores = standardised(values[:, drivers] @ weights)
    hidden = np.zeros(x.shape, dtype=bool)
    hidden[:, others] = generator.random(scores.shape) < _probabilities(scores, rate)
    return hidden


def mnar(x: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Hides the larger values of each column with higher probability (self-masking)."""
    generator = np.random.default_rng(seed)
    return generator.random(x.shape) < _probabilities(standardised(x), rate)


def standardised(x: np.ndarray) -> np.ndarray:
    """Columns with mean zero and deviation one; NaN becomes zero, as do constant columns."""
    deviation = np.nanstd(x, axis=0)
    return np.nan_to_num((x - np.nanmean(x, axis=0)) / np.where(deviation > 0, deviation, 1.0))


def _probabilities(scores: np.ndarray, rate: float) -> np.ndarray:
    """Probabilities that increase with the scores and have the rate as their mean in each column."""
    if rate == 0 or scores.size == 0:
        return np.zeros(scores.shape)

    def intercept(column: np.ndarray) -> float:
        return float(brentq(lambda a: expit(a + STEEPNESS * column).mean() - rate, -100, 100))

    return expit(np.array([intercept(column) for column in scores.T]) + STEEPNESS * scores)
