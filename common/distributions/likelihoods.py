"""Likelihoods p(x | z, c): modules that turn a decoder's output into a normalised distribution over x.

A decoder's output is [..., outputs * channels, ...] with the rank of x behind its batch dimensions; the distribution
has those batch dimensions and the event shape of x. All of it is float32, also under autocast.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, Normal, constraints

from common.configurable import Configurable
from common.distributions.processes import mean_over_processes

Size = torch.Size | list[int] | tuple[int, ...]
LOG_2PI = math.log(2 * math.pi)


class Likelihood(Configurable, nn.Module):
    """Base of the likelihoods. `outputs` is the number of decoder outputs for each value of x."""

    outputs: int = 1

    def forward(self, parameters: Tensor, event_ndim: int) -> Independent:
        """p(x | z, c) from a decoder's output.

        Args:
            parameters: [*batch, outputs * channels, ...].
            event_ndim: rank of one x; the channels are the first of these dimensions.
        """
        raise NotImplementedError


class Bernoulli(Likelihood):
    """Binary data, x in {0, 1}. Grey values must be binarised first: a Bernoulli assigns no probability to 0.3."""

    def forward(self, parameters: Tensor, event_ndim: int) -> Independent:
        """Bernoulli with the decoder's output as logits."""
        return Independent(TorchBernoulli(logits=parameters.float(), validate_args=False), event_ndim)


class Gaussian(Likelihood):
    """N(x; decoder output, sigma^2) with one sigma for all values, or one for each index of some axes of x.

    Source: Rybkin, Daniilidis and Levine 2021, "Simple and Effective VAE Training with Calibrated Decoders":
    shared sigma (section 3.1) and optimal sigma (section 3.2, equation 6).

    Args:
        sigma: "shared" learns it by gradient, "optimal" takes the maximum-likelihood value (the root mean square error)
            of each training batch and a running average of it in evaluation, over the batches of all processes; a
            number fixes it.
        initial: sigma before training ("shared" and "optimal").
        momentum: weight of the newest batch in the running average ("optimal").
        shape: shape of sigma, broadcast against x: [] is one for all, [64, 1] one for each of 64 rows of x.
    """

    def __init__(
        self,
        sigma: float | Literal["shared", "optimal"] = "shared",
        initial: float = 0.3,
        momentum: float = 0.01,
        shape: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.mode = sigma if isinstance(sigma, str) else "fixed"
        self.momentum = momentum
        value = torch.full(tuple(shape), math.log(sigma if not isinstance(sigma, str) else initial))
        if self.mode == "shared":
            self.log_sigma: Tensor = nn.Parameter(value)
        else:
            self.register_buffer("log_sigma", value)

    def forward(self, parameters: Tensor, event_ndim: int) -> Independent:
        """Normal around the decoder's output."""
        mean = parameters.float()
        if self.mode == "optimal" and self.training:
            return Independent(_OptimalNormal(mean, self), event_ndim)
        return Independent(Normal(mean, self.log_sigma.exp(), validate_args=False), event_ndim)

    def observe(self, variance: Tensor) -> None:
        """Moves the running average of the optimal sigma towards a batch's variance."""
        with torch.no_grad():
            self.log_sigma.lerp_(variance.detach().log() / 2, self.momentum)


class _OptimalNormal(Normal):
    """Normal whose sigma is the maximum-likelihood one of the data it evaluates: for training only."""

    def __init__(self, mean: Tensor, likelihood: Gaussian) -> None:
        super().__init__(mean, likelihood.log_sigma.exp(), validate_args=False)
        self.likelihood = likelihood

    def expand(self, batch_shape: Size, _instance: object = None) -> "_OptimalNormal":
        return _OptimalNormal(self.loc.expand(batch_shape), self.likelihood)

    def log_prob(self, value: Tensor, mask: Tensor | None = None) -> Tensor:
        squared = (value - self.loc) ** 2
        observed = torch.ones_like(squared) if mask is None else mask.expand_as(squared).to(squared)
        # Axes that share a sigma: the leading ones, and those where its shape is 1.
        shape = self.likelihood.log_sigma.shape
        sizes = (1,) * (squared.dim() - len(shape)) + tuple(shape)
        axes = [axis for axis, size in enumerate(sizes) if size == 1]
        moments = torch.stack([part.sum(axes).reshape(shape) for part in (squared * observed, observed)])
        variance = _variance(moments)
        self.likelihood.observe(_variance(mean_over_processes(moments.detach())))
        return -0.5 * (squared / variance + variance.log() + LOG_2PI)


def _variance(moments: Tensor) -> Tensor:
    """Mean squared error from sums of squared errors and numbers of values, [2, ...]."""
    squares, count = moments
    return (squares / count.where(count > 0, 1.0)).clamp_min(1e-8)


class DiscretizedLogistic(Likelihood):
    """Logistic distribution integrated over the cells of a grid: for x in {0, 1/(levels-1), ..., 1}.

    The first and last cell take the tails, so that the probabilities of all levels sum to one.
    Source: Kingma et al. 2016, "Improved Variational Inference with Inverse Autoregressive Flow", appendix;
    Salimans et al. 2017 (PixelCNN++), equation 2.

    Args:
        levels: number of levels, 256 for 8-bit images.
        scale: "predicted" by the decoder for each value, or one "shared" learned number.
        initial: scale before training, in units of x.
    """

    def __init__(
        self, levels: int = 256, scale: Literal["predicted", "shared"] = "predicted", initial: float = 0.1
    ) -> None:
        super().__init__()
        self.levels = levels
        self.outputs = 2 if scale == "predicted" else 1
        self.log_scale = nn.Parameter(torch.tensor(math.log(initial)))

    def forward(self, parameters: Tensor, event_ndim: int) -> Independent:
        """Discretised logistic around the decoder's output (first half of the channels)."""
        parameters = parameters.float()
        if self.outputs == 2:
            location, log_scale = parameters.chunk(2, dim=-event_ndim)
            log_scale = log_scale + self.log_scale
        else:
            location, log_scale = parameters, self.log_scale.expand_as(parameters)
        return Independent(GridLogistic(location, log_scale.clamp(-7.0, 3.0), self.levels), event_ndim)


class GridLogistic(Distribution):
    """The distribution behind `DiscretizedLogistic`; event shape [], values on the grid k / (levels - 1)."""

    arg_constraints: ClassVar = {}
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, location: Tensor, log_scale: Tensor, levels: int) -> None:
        self.location, self.log_scale, self.levels = location, log_scale, levels
        super().__init__(location.shape, validate_args=False)

    def expand(self, batch_shape: Size, _instance: object = None) -> "GridLogistic":
        return GridLogistic(self.location.expand(batch_shape), self.log_scale.expand(batch_shape), self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """log P(x), nats; stable in both tails."""
        half = 0.5 / (self.levels - 1)
        inverse = torch.exp(-self.log_scale)
        upper = (value + half - self.location) * inverse
        lower = (value - half - self.location) * inverse
        # log(sigmoid(u) - sigmoid(l)) = u - softplus(u) - softplus(l) + log(1 - exp(l - u)), where u - l > 0
        softplus = nn.functional.softplus
        inside = upper - softplus(upper) - softplus(lower) + torch.log(-torch.expm1(lower - upper))
        first = nn.functional.logsigmoid(upper)  # all mass below the first edge
        last = nn.functional.logsigmoid(-lower)  # all mass above the last edge
        return torch.where(value < half, first, torch.where(value > 1 - half, last, inside))

    def sample(self, sample_shape: Size = ()) -> Tensor:
        """Values on the grid."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            uniform = torch.rand(shape, device=self.location.device).clamp(1e-6, 1 - 1e-6)
            value = self.location + self.log_scale.exp() * torch.logit(uniform)
            return (value * (self.levels - 1)).round().clamp(0, self.levels - 1) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """E[x] = sum over edges of P(x > edge) / (levels - 1)."""
        inverse = torch.exp(-self.log_scale)
        total = torch.zeros_like(self.location)
        for level in range(1, self.levels):
            total += torch.sigmoid((self.location - (level - 0.5) / (self.levels - 1)) * inverse)
        return total / (self.levels - 1)


class Clamped(Distribution):
    """A distribution over values of which some are known: those have probability one, the others that of `base`.

    Args:
        base: distribution of each value, batch shape [..., *shape], event shape [].
        observed: values [..., *shape], NaN where they are not known.
    """

    arg_constraints: ClassVar = {}
    has_rsample = False

    def __init__(self, base: Distribution, observed: Tensor) -> None:
        self.base, self.observed = base, observed
        super().__init__(base.batch_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint | None:
        """That of the base."""
        return self.base.support

    def expand(self, batch_shape: Size, _instance: object = None) -> "Clamped":
        return Clamped(self.base.expand(batch_shape), self.observed)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each value, nats: 0 where it is observed."""
        return torch.where(self.observed.isnan(), self.base.log_prob(value), 0.0)

    def sample(self, sample_shape: Size = ()) -> Tensor:
        """Values, the observed ones as they are."""
        return self._fill(self.base.sample(torch.Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """The base's mean, the observed values as they are."""
        return self._fill(self.base.mean)

    def _fill(self, value: Tensor) -> Tensor:
        return torch.where(self.observed.isnan(), value, torch.nan_to_num(self.observed))


def clamp(likelihood: Independent, observed: Tensor | None) -> Independent:
    """A likelihood that factorises, clamped to observed values (NaN elsewhere); unchanged where there are none."""
    if observed is None:
        return likelihood
    return Independent(Clamped(likelihood.base_dist, observed), likelihood.reinterpreted_batch_ndims)


def log_prob(likelihood: Distribution, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """log p(x | z, c) in nats [..., B], summed over the observed values of x where a mask is given.

    Args:
        likelihood: batch shape [..., B].
        x: [B, ...].
        mask: True where observed, shape of x.

    Raises:
        TypeError: if a mask is given and the likelihood does not factorise over the values of x.
    """
    if mask is None:
        return likelihood.log_prob(x)
    if not isinstance(likelihood, Independent):
        raise TypeError(f"a mask needs a likelihood that factorises (Independent); got {likelihood}")
    base = likelihood.base_dist
    x = torch.where(mask, x, 0.0)  # a hidden NaN would reach the decoder's gradient through the product with zero
    values = base.log_prob(x, mask) if isinstance(base, _OptimalNormal) else base.log_prob(x)
    return torch.where(mask, values, 0.0).flatten(-likelihood.reinterpreted_batch_ndims).sum(-1)
