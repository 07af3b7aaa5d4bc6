"""Objectives: functions of the log-probabilities of posterior draws.

K draws z ~ q(z | x, c) for B examples. The ELBO in nats per example (`ElboTerms`) is reported whatever is
optimised; an objective's value is a different number, the loss.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from common.configurable import Configurable
from common.distributions.priors import factorises
from common.objectives.samples import PosteriorSamples
from common.objectives.schedules import Schedule, as_schedule


def iwae_bound(log_weights: Tensor) -> Tensor:
    """log 1/K sum_k w_k, [B] from [K, B] (Burda, Grosse and Salakhutdinov 2016, equation 8)."""
    return torch.logsumexp(log_weights, dim=0) - math.log(len(log_weights))


def free_bits(kl_per_unit: Tensor, floor: float, group: int = 1) -> Tensor:
    """sum_g max(floor, mean_B KL_g) over groups of units: a group below the floor has no gradient.

    Source: Kingma et al. 2016, "Improving Variational Inference with Inverse Autoregressive Flow", equation 15.

    Args:
        kl_per_unit: [B, D].
        floor: nats per group.
        group: consecutive units that share a floor.

    Raises:
        ValueError: if the groups do not divide the units.
    """
    units = kl_per_unit.shape[1]
    if units % group:
        raise ValueError(f"free_bits_group ({group}) must divide the {units} units of z; 0 puts all in one group")
    return kl_per_unit.mean(0).unflatten(0, (-1, group)).sum(1).clamp_min(floor).sum()


def log_aggregate_posterior(z: Tensor, posterior: Independent, dataset_size: int) -> tuple[Tensor, Tensor]:
    """log q(z) [B] and log q(z_d) [B, D] of draws z [B, D] by minibatch-weighted sampling.

    Source: Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs", appendix C.1.
    """
    log_q = posterior.base_dist.log_prob(z.unsqueeze(1))  # [B, B, D]: draws, posteriors, units
    normaliser = math.log(len(z) * dataset_size)
    joint = torch.logsumexp(log_q.sum(-1), dim=1) - normaliser
    per_unit = torch.logsumexp(log_q, dim=1) - normaliser
    return joint, per_unit


@dataclass(frozen=True)
class Objective(Configurable):
    """Base of the objectives: a loss in nats per example from draws and the global step."""

    num_samples: int = field(default=1, kw_only=True)

    def __call__(self, draws: PosteriorSamples, step: int) -> Tensor:
        raise NotImplementedError

    def at(self, step: int) -> "Objective":
        """The objective used at a step: itself, unless it has stages."""
        return self

    def coefficients(self, step: int) -> dict[str, float]:
        """The values of scheduled coefficients at a step, for the log."""
        return {}


@dataclass(frozen=True)
class ELBO(Objective):
    """-reconstruction + beta * KL, optionally with free bits or a capacity.

    Source: Higgins et al. 2017 (beta); Kingma et al. 2016, appendix C.8 (free bits); Burgess et al. 2018,
    "Understanding disentangling in beta-VAE", equation 8 (capacity: beta * |KL - C(step)|).

    Attributes:
        beta: weight of the KL, a number or a schedule. With beta = 1 and nothing else this is the ELBO.
        free_bits: nats of KL that each group of units may use without cost.
        capacity: target of the KL in nats, a number or a schedule; None sets no target.
        free_bits_group: units of a group, 0 puts all in one. A floor for every single unit can be met by
            redundant units.
        num_samples: posterior draws per example.
    """

    beta: float | Schedule = 1.0
    free_bits: float = 0.0
    capacity: float | Schedule | None = None
    free_bits_group: int = 1

    def __post_init__(self) -> None:
        if self.free_bits and self.capacity is not None:
            raise ValueError("free_bits and capacity both bound the KL: choose one")

    def __call__(self, draws: PosteriorSamples, step: int) -> Tensor:
        terms = draws.terms()
        if self.free_bits and not self.free_bits_group:
            kl = terms.kl.mean().clamp_min(self.free_bits)
        elif self.free_bits:
            kl = free_bits(draws.kl_per_unit(), self.free_bits, self.free_bits_group)
        elif self.capacity is not None:
            kl = (terms.kl.mean() - as_schedule(self.capacity)(step)).abs()
        else:
            kl = terms.kl.mean()
        return as_schedule(self.beta)(step) * kl - terms.reconstruction.mean()

    def coefficients(self, step: int) -> dict[str, float]:
        """Beta, and the capacity where there is one."""
        values = {"beta": as_schedule(self.beta)(step)}
        if self.capacity is not None:
            values["capacity"] = as_schedule(self.capacity)(step)
        return values


@dataclass(frozen=True)
class IWAE(Objective):
    """The importance-weighted bound: tighter than the ELBO, log p(x | c) as K grows.

    Source: Burda, Grosse and Salakhutdinov 2016, "Importance Weighted Autoencoders", equation 8.
    """

    num_samples: int = field(default=5, kw_only=True)

    def __call__(self, draws: PosteriorSamples, step: int) -> Tensor:
        return -iwae_bound(draws.log_weights()).mean()


@dataclass(frozen=True)
class DReG(Objective):
    """The value of IWAE with the doubly reparameterised gradient for the recognition network.

    The recognition network receives sum_k w_k^2 d log w_k / dz_k dz_k / dphi, whose signal does not vanish as K grows.
    Source: Tucker et al. 2019, "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives", equation 8.
    A VampPrior reaches the recognition network through the prior as well; that path keeps its ordinary gradient.
    """

    num_samples: int = field(default=5, kw_only=True)

    def __call__(self, draws: PosteriorSamples, step: int) -> Tensor:
        base = draws.posterior.base_dist
        fixed = Independent(Normal(base.loc.detach(), base.scale.detach(), validate_args=False), 1)
        z = draws.decoded
        log_weights = draws.log_likelihood + draws.prior.log_prob(z) - fixed.log_prob(z)
        weights = torch.softmax(log_weights.detach(), dim=0)
        if z.requires_grad:
            z.register_hook(_scale_by(weights))
        surrogate = (weights * log_weights).sum(0)
        # The value is the bound; the gradient is that of the surrogate.
        return -(surrogate + (iwae_bound(log_weights) - surrogate).detach()).mean()


def _check_one_sample(objective: Objective, why: str) -> None:
    if objective.num_samples != 1:
        raise ValueError(f"{type(objective).__name__} {why}: num_samples must be 1; got {objective.num_samples}")


def _scale_by(weights: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient * weights.unsqueeze(-1)


@dataclass(frozen=True)
class BetaTC(Objective):
    """-reconstruction + alpha * mutual information + beta * total correlation + gamma * dimension-wise KL.

    Source: Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs", equation 4. With all three weights at one
    the value is the single-draw ELBO.
    """

    alpha: float = 1.0
    beta: float | Schedule = 6.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        _check_one_sample(self, "reads a single draw of z for each example")

    def __call__(self, draws: PosteriorSamples, step: int) -> Tensor:
        if draws.dataset_size is None:
            raise ValueError("BetaTC needs the number of training examples: train with a DataModule")
        if not factorises(draws.prior):
            raise ValueError("BetaTC needs a factorised prior (StandardNormal or ConditionalNormal)")
        z = draws.decoded[0]
        joint, per_unit = log_aggregate_posterior(z, draws.posterior, draws.dataset_size)
        information = (draws.posterior.log_prob(z) - joint).mean()
        total_correlation = (joint - per_unit.sum(-1)).mean()
        dimension_wise = (per_unit - draws.prior.base_dist.log_prob(z)).sum(-1).mean()
        penalty = self.alpha * information + as_schedule(self.beta)(step) * total_correlation
        return penalty + self.gamma * dimension_wise - draws.log_likelihood[0].mean()

    def coefficients(self, step: int) -> dict[str, float]:
        """Beta."""
        return {"beta": as_schedule(self.beta)(step)}


@dataclass(frozen=True)
class Staged(Objective):
    """One objective up to a step, another from there on: a warm-up, or a tighter bound at the end.

    Attributes:
        first: objective of the steps before `change`.
        then: objective from that step on.
        change: global step of the change.
    """

    first: Objective
    then: Objective
    change: int

    def __post_init__(self) -> None:
        _check_one_sample(self, "leaves the number of draws to its stages")

    def at(self, step: int) -> Objective:
        """The objective used at a step."""
        return (self.first if step < self.change else self.then).at(step)
