"""Training curves from metrics.csv, thinned to what can be seen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from common.lazy import pd

FIRST = ("elbo", "reconstruction", "kl", "loss")  # the metrics that are shown first
KINDS = ("val", "train")
AXES = ("epoch", "step")
MOST_POINTS = 1000  # of a curve
ALL_POINTS = 120_000  # of all curves of a page
FEWEST_POINTS = 50


@dataclass(frozen=True)
class Curve:
    """The values [N] of a metric with the optimiser steps and the epochs at which they were measured."""

    step: np.ndarray
    epoch: np.ndarray
    value: np.ndarray

    def thinned(self, most: int) -> Curve:
        """At most that many points: the first, the last, and of each stretch between the lowest and the highest."""
        count = len(self.value)
        if count <= most:
            return self
        bounds = np.linspace(1, count - 1, max(1, (most - 2) // 2) + 1).astype(int)
        kept = {0, count - 1}
        for start, end in pairwise(bounds):
            if end > start:
                kept |= {start + int(self.value[start:end].argmin()), start + int(self.value[start:end].argmax())}
        chosen = np.array(sorted(kept))
        return Curve(self.step[chosen], self.epoch[chosen], self.value[chosen])


def read_curves(path: Path) -> dict[str, Curve]:
    """Metric -> curve of a metrics.csv. Values that are not finite are left out, and so are the figures of a test.

    Raises:
        ValueError: if it is no such table.
    """
    table = pd.read_csv(path, on_bad_lines="skip", low_memory=False)
    if "step" not in table:
        raise ValueError("has no column step")
    numbers = table.apply(pd.to_numeric, errors="coerce")
    step = numbers["step"].to_numpy(dtype=np.float64)
    # Rows of learning rates have no epoch: it is that of the next row which has one.
    epoch = (
        numbers["epoch"].bfill().ffill().to_numpy(dtype=np.float64) if "epoch" in numbers else np.full(len(step), 0.0)
    )
    curves = {}
    for name in numbers.columns:
        value = numbers[name].to_numpy(dtype=np.float64)
        known = np.isfinite(value) & np.isfinite(step) & np.isfinite(epoch)
        if name in AXES or name.startswith("test/") or not known.any():
            continue
        order = np.argsort(step[known], kind="stable")
        curves[str(name)] = Curve(step[known][order], epoch[known][order], value[known][order])
    return curves


def ordered(metrics: set[str]) -> list[str]:
    """Metrics with those of `FIRST` before the others, in validation before in training; the rest by name."""

    def place(metric: str) -> tuple[int, str]:
        known = [f"{kind}/{name}" for kind in KINDS for name in FIRST]
        return known.index(metric) if metric in known else len(known), metric

    return sorted(metrics, key=place)


def shown_first(metrics: set[str]) -> list[str]:
    """The metrics that are drawn before any is chosen: those of `FIRST`, in training where validation has none."""
    places = [[f"{kind}/{name}" for kind in KINDS if f"{kind}/{name}" in metrics] for name in FIRST]
    return [place[0] for place in places if place] or ordered(metrics)[: len(FIRST)]


def points_each(curves: int) -> int:
    """How many points each of the curves of a page may have."""
    return max(FEWEST_POINTS, min(MOST_POINTS, ALL_POINTS // max(1, curves)))


def rounded(values: np.ndarray) -> list[float | int]:
    """Numbers as a page holds them: six digits, whole ones without a point."""
    return [int(value) if value.is_integer() else float(f"{value:.6g}") for value in map(float, values)]
