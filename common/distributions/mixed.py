"""Distributions of rows whose columns differ in type, each column with its own distribution."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, LogNormal, constraints

TINY = 1e-30


def ordinal_logits(location: Tensor, thresholds: Tensor) -> Tensor:
    """Log-probabilities [..., V] of ordered values from a location [...] and ascending thresholds [..., V - 1].

    P(x <= k) = sigmoid(threshold_k - location). Source: McCullagh 1980, "Regression models for ordinal data".
    """
    upper = thresholds - location.unsqueeze(-1)
    below = torch.nn.functional.pad(upper, (1, 0), value=float("-inf"))
    above = torch.nn.functional.pad(upper, (0, 1), value=float("inf"))
    # log(sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - exp(a - b)) for a < b
    gap = (below - above).clamp_max(-1e-6)
    log_sigmoid = torch.nn.functional.logsigmoid
    return log_sigmoid(above) + log_sigmoid(-below) + torch.log(-torch.expm1(gap))


class ZeroSafeLogNormal(LogNormal):
    """Log-normal whose gradient stays finite at x = 0, the value of a hidden cell."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, nats."""
        return super().log_prob(value.clamp_min(TINY))


class Mixed(Distribution):
    """Independent columns with a distribution each: batch shape [..., F], event shape [].

    Values of discrete columns are codes 0, 1, ... in floating point.

    Args:
        parts: pairs of column positions [n] and a distribution with batch shape [..., n]; together they cover all F.
    """

    arg_constraints: ClassVar = {}
    support = constraints.real
    has_rsample = False

    def __init__(self, parts: Sequence[tuple[Tensor, Distribution]]) -> None:
        self.parts = list(parts)
        self.order = torch.cat([positions for positions, _ in parts]).argsort()
        shape = torch.Size([*parts[0][1].batch_shape[:-1], len(self.order)])
        super().__init__(shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each column, nats [..., F]."""
        log_probs = [distribution.log_prob(value[..., positions]) for positions, distribution in self.parts]
        return torch.cat(log_probs, dim=-1)[..., self.order]

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Values [*sample_shape, ..., F]."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            drawn = torch.cat([distribution.sample(shape).float() for _, distribution in self.parts], dim=-1)
            return drawn[..., self.order]

    @property
    def mean(self) -> Tensor:
        """The mean of a number, the likeliest code of a discrete column."""
        return self.point(self.statistics())

    def statistics(self) -> list[Tensor]:
        """For each part its means [..., n], or its probabilities [..., n, V] where it is discrete.

        Their averages over draws of z, or over models, are those of the mixture.
        """
        return [part.probs if isinstance(part, Categorical) else part.mean for _, part in self.parts]

    def point(self, statistics: Sequence[Tensor]) -> Tensor:
        """Values [..., F] from (averaged) statistics: means, and likeliest codes."""
        values = [
            entry.argmax(-1).to(entry.dtype) if isinstance(part, Categorical) else entry
            for entry, (_, part) in zip(statistics, self.parts, strict=True)
        ]
        return torch.cat(values, dim=-1)[..., self.order]
