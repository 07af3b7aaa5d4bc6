"""Factor analysis of an incomplete table by expectation-maximisation: a baseline, and the network's initialisation."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FactorAnalysis:
    """x = mean + loadings z + noise with z ~ N(0, I) and noise ~ N(0, diag(noise)).

    Source: Rubin and Thayer 1982, "EM algorithms for ML factor analysis"; with missing values the sums run over the
    observed cells of each row and column. Everything is float64.

    Attributes:
        loadings: [W, D], rotated so that the posterior of a complete row is diagonal.
        mean: [W].
        noise: variances [W].
    """

    loadings: Tensor
    mean: Tensor
    noise: Tensor

    @staticmethod
    def fit(
        x: Tensor, observed: Tensor, factors: int, iterations: int = 60, ridge: float = 1.0, floor: float = 1e-3
    ) -> "FactorAnalysis":
        """Maximum a posteriori by EM.

        Args:
            x: [N, W]; values of unobserved cells do not matter.
            observed: [N, W], True where observed.
            factors: D.
            iterations: of EM.
            ridge: precision of the loadings' Gaussian prior, in units of a column's noise.
            floor: smallest noise variance, as a share of the column's variance.
        """
        x = torch.where(observed, x.double(), 0.0)
        weight = observed.double()
        count = weight.sum(0).clamp_min(1.0)
        mean = x.sum(0) / count
        variance = (weight * (x - mean) ** 2).sum(0) / count
        lowest = (floor * variance).clamp_min(1e-6)
        filled = weight * (x - mean)
        _, singular, axes = torch.linalg.svd(filled, full_matrices=False)
        factors = min(factors, len(axes))
        loadings = axes[:factors].T * (singular[:factors] / len(x) ** 0.5)
        noise = torch.maximum(variance - loadings.pow(2).sum(1), lowest.clamp_min(0.1 * variance))
        penalty = torch.diag(torch.tensor([ridge] * factors + [0.0], dtype=torch.float64))
        for _ in range(iterations):
            z, covariance = FactorAnalysis(loadings, mean, noise).posterior(x, observed)
            # E[(z, 1) (z, 1)'] of each row, summed over the rows that observe each column.
            one = torch.cat([z, torch.ones_like(z[:, :1])], dim=1)
            second = one.unsqueeze(2) * one.unsqueeze(1)
            second[:, :factors, :factors] += covariance
            gram = (weight.T @ second.flatten(1)).unflatten(1, (factors + 1, factors + 1)) + penalty
            moment = (weight * x).T @ one
            weights = torch.linalg.solve(gram, moment)
            residual = (weight * x * x).sum(0) - (weights * moment).sum(1)  # ridge included: the MAP of the variance
            loadings, mean = weights[:, :factors], weights[:, factors]
            noise = torch.maximum(residual / count, lowest)
        # z' = R z with orthogonal R that makes loadings' / noise * loadings diagonal, largest first.
        _, rotation = torch.linalg.eigh(loadings.T @ (loadings / noise.unsqueeze(1)))
        return FactorAnalysis(loadings @ rotation.flip(1), mean, noise)

    def posterior(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Exact p(z | observed cells): means [N, D] and covariances [N, D, D]."""
        weight = observed / self.noise
        outer = self.loadings.unsqueeze(2) * self.loadings.unsqueeze(1)
        precision = (weight @ outer.flatten(1)).unflatten(1, outer.shape[1:])
        precision = precision + torch.eye(self.loadings.shape[1], dtype=x.dtype, device=x.device)
        residual = torch.where(observed, x - self.mean, 0.0)
        covariance = _inverse(precision) if torch.compiler.is_exporting() else torch.linalg.inv(precision)
        mean = (covariance @ ((residual / self.noise) @ self.loadings).unsqueeze(-1)).squeeze(-1)
        return mean, covariance

    def predict(self, x: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of every cell given the observed ones of its row, noise included, each [N, W]."""
        z, covariance = self.posterior(x.double(), observed)
        spread = torch.einsum("wd,nde,we->nw", self.loadings, covariance, self.loadings)
        return z @ self.loadings.T + self.mean, spread + self.noise

    def log_likelihood(self, x: Tensor, observed: Tensor) -> Tensor:
        """log p of the observed cells of each row in closed form, nats [N]."""
        x = x.double()
        weight = observed / self.noise
        outer = self.loadings.unsqueeze(2) * self.loadings.unsqueeze(1)
        precision = (weight @ outer.flatten(1)).unflatten(1, outer.shape[1:])
        precision = precision + torch.eye(self.loadings.shape[1], dtype=x.dtype, device=x.device)
        residual = torch.where(observed, x - self.mean, 0.0)
        projected = (residual / self.noise) @ self.loadings
        # Woodbury: r' S^-1 r and log det S through the D x D precision of z.
        solved = torch.linalg.solve(precision, projected.unsqueeze(-1)).squeeze(-1)
        quadratic = (residual**2 / self.noise).sum(1) - (projected * solved).sum(1)
        determinant = torch.logdet(precision) + (observed * self.noise.log()).sum(1)
        log_2pi = torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))
        return -0.5 * (quadratic + determinant + observed.sum(1) * log_2pi)


def choose_factors(
    x: Tensor,
    observed: Tensor,
    held_out: Sequence[Tensor],
    sizes: Sequence[int] = (1, 2, 3, 5, 8, 12, 16),
    ridges: Sequence[float] = (0.3, 1.0, 3.0, 10.0),
) -> tuple[int, float]:
    """The number of factors and the ridge with the least squared error on held-out observed cells.

    Sizes are compared with the third of the ridges, then ridges at the best size.

    Args:
        x: [N, W].
        observed: [N, W].
        held_out: masks [N, W] of cells to hide in turn.
        sizes: candidates; those not below W are left out.
        ridges: candidates.
    """

    def error(size: int, ridge: float) -> float:
        total = 0.0
        for cells in held_out:
            remaining = observed & ~cells
            predicted, _ = FactorAnalysis.fit(x, remaining, size, 30, ridge).predict(x, remaining)
            total += float((predicted - x)[cells & observed].pow(2).sum())
        return total

    by_size = {size: error(size, ridges[2]) for size in [size for size in sizes if size < x.shape[1]] or [1]}
    size = min(by_size, key=lambda size: by_size[size])
    by_ridge = {ridge: by_size[size] if ridge == ridges[2] else error(size, ridge) for ridge in ridges}
    return size, min(by_ridge, key=lambda ridge: by_ridge[ridge])


def _inverse(matrices: Tensor) -> Tensor:
    """Inverses of positive definite matrices [B, D, D], by Gauss-Jordan elimination, which needs no pivots there.

    For programs that are exported: ONNX has no operator for it.
    """
    size = matrices.shape[-1]
    rows = torch.cat([matrices, torch.eye(size, device=matrices.device).expand_as(matrices)], dim=-1)
    for k in range(size):
        pivot = rows[:, k : k + 1] / rows[:, k : k + 1, k : k + 1]
        rest = rows - rows[:, :, k : k + 1] * pivot
        rows = torch.cat([rest[:, :k], pivot, rest[:, k + 1 :]], dim=1)
    return rows[..., size:]
