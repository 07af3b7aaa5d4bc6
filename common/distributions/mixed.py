"""Distributions for rows whose values differ in kind: columns side by side, each with its own distribution."""

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
    """Log-normal whose gradient stays finite at x = 0, which stands for a hidden cell."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, nats."""
        return super().log_prob(value.clamp_min(TINY))


class Mixed(Distribution):
    """Columns side by side, independent of each other: batch shape [..., F], event shape [].

    Values of discrete columns are codes 0, 1, ... in floating point.

    Args:
        parts: pairs of column positions [n] and a distribution with batch shape [..., n]; together they cover all F.
        given: values [..., F] that are known beforehand, NaN elsewhere: they have probability one, so that they add
            nothing to `log_prob` and every sample repeats them.
    """

    arg_constraints: ClassVar = {}
    support = constraints.real
    has_rsample = False

    def __init__(self, parts: Sequence[tuple[Tensor, Distribution]], given: Tensor | None = None) -> None:
        self.parts = list(parts)
        self.order = torch.cat([positions for positions, _ in parts]).argsort()
        self.given = given
        shape = torch.Size([*parts[0][1].batch_shape[:-1], len(self.order)])
        super().__init__(shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each column, nats [..., F]."""
        found = [distribution.log_prob(value[..., positions]) for positions, distribution in self.parts]
        joined = torch.cat(found, dim=-1)[..., self.order]
        return joined if self.given is None else torch.where(self.given.isnan(), joined, 0.0)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Values [*sample_shape, ..., F]."""
        shape = torch.Size(sample_shape)
        with torch.no_grad():
            drawn = torch.cat([distribution.sample(shape).float() for _, distribution in self.parts], dim=-1)
            return self._known(drawn[..., self.order])

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
        return self._known(torch.cat(values, dim=-1)[..., self.order])

    def _known(self, value: Tensor) -> Tensor:
        if self.given is None:
            return value
        given = self.given.expand(value.shape) if self.given.dim() <= value.dim() else self.given
        return torch.where(given.isnan(), value, given)
