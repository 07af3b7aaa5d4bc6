"""Means over examples that are not independent, such as the clips of a recording or the versions of a verse."""

import numpy as np


def by_group(values: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Independent numbers [G], one for each group, in place of those of examples [N], and with the same mean.

    A group's number is the mean of all examples plus G / N times the sum of what its own differ from it, so that the
    standard error of the mean of these numbers is that of the mean over examples where groups are drawn as a whole.
    Source: Liang and Zeger 1986, equation 4, for a mean; with the factor G / (G - 1).

    Args:
        values: figures of examples.
        groups: group [N] of each example; None where each stands for itself.
    """
    if groups is None or len(values) == 0:
        return values
    names, owner = np.unique(groups, return_inverse=True)
    if len(names) == len(values):
        return values
    mean = values.mean()
    return np.asarray(mean + np.bincount(owner, weights=values - mean) * len(names) / len(values))
