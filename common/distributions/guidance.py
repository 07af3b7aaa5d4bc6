"""Guidance: moving a conditional distribution away from the one under the null condition."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch.distributions import Bernoulli, Distribution, Independent, Normal

from common.distributions.likelihoods import Clamped, GridLogistic


@runtime_checkable
class Guidable(Protocol):
    """A modality's own distribution that implements guidance against another one of its class."""

    def extrapolate(self, null: Any, weight: float) -> Distribution:
        """As `extrapolate` below."""


def extrapolate(conditional: Distribution, null: Distribution, weight: float) -> Distribution:
    """null + weight * (conditional - null) in the location parameter: logits, means or tokens' logits.

    Weight 0 gives the null distribution's location, 1 the conditional distribution unchanged, and a larger weight
    exaggerates the condition. Scales are those of the conditional distribution.
    Source: the classifier-free guidance of Ho and Salimans 2022, equation 6, applied to a decoder's output.

    Raises:
        TypeError: for a distribution that has no location parameter.
    """
    if weight == 1.0:
        return conditional
    if isinstance(conditional, Guidable) and type(null) is type(conditional):
        return conditional.extrapolate(null, weight)
    if isinstance(conditional, Independent) and isinstance(null, Independent):
        base = extrapolate(conditional.base_dist, null.base_dist, weight)
        return Independent(base, conditional.reinterpreted_batch_ndims, validate_args=False)
    if isinstance(conditional, Clamped) and isinstance(null, Clamped):
        return Clamped(extrapolate(conditional.base, null.base, weight), conditional.observed)
    if isinstance(conditional, Bernoulli) and isinstance(null, Bernoulli):
        return Bernoulli(logits=torch.lerp(null.logits, conditional.logits, weight), validate_args=False)
    if isinstance(conditional, Normal) and isinstance(null, Normal):
        return Normal(torch.lerp(null.loc, conditional.loc, weight), conditional.scale, validate_args=False)
    if isinstance(conditional, GridLogistic) and isinstance(null, GridLogistic):
        location = torch.lerp(null.location, conditional.location, weight)
        return GridLogistic(location, conditional.log_scale, conditional.levels)
    raise TypeError(f"guidance is not defined for {type(conditional).__name__}: use guidance 1")
