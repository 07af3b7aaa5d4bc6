"""Baselines of the audio CVAE: a Gaussian for each condition (PPCA), and the nearest training clip."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from common.conditions.attributes import Fields
from common.distributions.likelihoods import LOG_2PI

COMPONENTS = 32


@dataclass(frozen=True)
class PPCA:
    """x ~ N(mean, W W' + variance I), the maximum-likelihood fit.

    Source: Tipping and Bishop 1999, "Probabilistic Principal Component Analysis", equations 7 and 8.

    Attributes:
        mean: [F].
        weights: W [F, Q].
        variance: variance of the noise.
    """

    mean: Tensor
    weights: Tensor
    variance: float

    @staticmethod
    def fit(x: Tensor, components: int = COMPONENTS) -> "PPCA":
        """Fits rows [N, F], N at least 2, by the eigenvalues of their Gram matrix: F may be far larger than N."""
        count, size = x.shape
        mean = x.mean(0)
        centred = x - mean
        values, vectors = torch.linalg.eigh(centred @ centred.T / count)
        values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
        rank = min(components, count - 1, size - 1)
        total = centred.square().sum().item() / count
        variance = max((total - values[:rank].sum().item()) / (size - rank), 1e-6)
        directions = centred.T @ vectors[:, :rank] / (values[:rank] * count).sqrt().clamp_min(1e-9)
        weights = directions * (values[:rank] - variance).clamp_min(0).sqrt()
        return PPCA(mean, weights, variance)

    @property
    def inner(self) -> Tensor:
        """W'W + variance I, [Q, Q]."""
        return self.weights.T @ self.weights + self.variance * torch.eye(self.weights.shape[1])

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of rows [N, F] in nats, [N], through the Q x Q matrix W'W + variance I."""
        size, components = self.weights.shape
        inner = self.inner
        centred = x - self.mean
        projected = centred @ self.weights
        solved = torch.linalg.solve(inner, projected.T).T
        distance = (centred.square().sum(1) - (projected * solved).sum(1)) / self.variance
        log_determinant = torch.logdet(inner) + (size - components) * math.log(self.variance)
        return -0.5 * (size * LOG_2PI + log_determinant + distance)

    def reconstruct(self, x: Tensor) -> Tensor:
        """Means of x given the mean of its code, rows [N, F]: mean + W (W'W + variance I)^-1 W' (x - mean)."""
        code = torch.linalg.solve(self.inner, ((x - self.mean) @ self.weights).T).T
        return self.mean + code @ self.weights.T

    def sample(self, count: int) -> Tensor:
        """Means of x given random codes, [count, F], to compare with the means of a decoder."""
        return self.mean + torch.randn(count, self.weights.shape[1]) @ self.weights.T


class ClassGaussians:
    """A PPCA for each combination of categories, fitted on training clips.

    Args:
        x: standardised clips [N, ...].
        fields: categories by name, each [N].
    """

    def __init__(self, x: Tensor, fields: Fields) -> None:
        self.names = list(fields)
        keys = self._keys(fields)
        self.models = {
            tuple(key.tolist()): PPCA.fit(x[(keys == key).all(1)].flatten(1))
            for key in keys.unique(dim=0)
            if (keys == key).all(1).sum() >= 2
        }

    def _keys(self, fields: Fields) -> Tensor:
        return torch.stack([fields[name] for name in self.names], dim=1)

    def log_prob(self, x: Tensor, fields: Fields) -> Tensor:
        """log p(x | c) in nats, [N]; NaN where no training clip has the condition."""
        result = torch.full((len(x),), float("nan"))
        for key, rows in self._rows(fields):
            result[rows] = self.models[key].log_prob(x[rows].flatten(1))
        return result

    def sample(self, fields: Fields, shape: tuple[int, ...]) -> Tensor:
        """One clip under each condition, [N, *shape]; zeros where no training clip has it."""
        result = torch.zeros(len(next(iter(fields.values()))), *shape)
        for key, rows in self._rows(fields):
            result[rows] = self.models[key].sample(len(rows)).unflatten(1, shape)
        return result

    def reconstruct(self, x: Tensor, fields: Fields) -> Tensor:
        """Clips [N, ...] from the means of their codes; zeros where no training clip has the condition."""
        result = torch.zeros_like(x)
        for key, rows in self._rows(fields):
            result[rows] = self.models[key].reconstruct(x[rows].flatten(1)).view_as(x[rows])
        return result

    def _rows(self, fields: Fields) -> list[tuple[tuple[int, ...], Tensor]]:
        keys = self._keys(fields)
        groups = [(tuple(key.tolist()), (keys == key).all(1).nonzero()[:, 0]) for key in keys.unique(dim=0)]
        return [(key, rows) for key, rows in groups if key in self.models]


def nearest(x: Tensor, others: Tensor, rows: Tensor, chunk: int = 1000) -> tuple[Tensor, Tensor]:
    """Euclidean distance of each clip to the nearest of some others, and the row of that one, each [N].

    Args:
        x: clips [N, ...].
        others: clips [M, ...], which may be memory-mapped and of another precision.
        rows: those of them that are compared.
        chunk: clips that are read and compared at once.
    """
    best = torch.full((len(x),), float("inf"))
    which = torch.zeros(len(x), dtype=torch.int64)
    for part in rows.split(chunk):
        value, place = torch.cdist(x.flatten(1), others[part].float().flatten(1)).min(1)
        closer = value < best
        best[closer], which[closer] = value[closer], part[place[closer]]
    return best, which
