"""log p(x | c) by annealed importance sampling, in nats: from below for any x, and from above for simulated ones.

Shapes: B examples, K chains, T temperatures, D latent.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from common.batch import Batch
from common.configurable import Configurable
from common.distributions.noise import example_noise, prior_samples
from common.distributions.priors import factorises
from common.evaluation.bounds import DECODES, Estimate, Sandwich, rows_of
from common.evaluation.proposals import Covariance, Modes, Proposal, examples_at_once, gradients_of_z, refined
from common.evaluation.simulation import simulated
from common.model.latent_model import LatentModel

STEEPNESS = 4.0  # of the sigmoid that spaces temperatures
WARM_UP = 10  # transitions that adapt the step before it is noted
ADAPTATION = 0.2  # change of the log step for a rate of acceptance that is off by one
JITTER = 0.2  # largest relative change of a step: trajectories of one length can be periodic
# Streams of noise that share nothing.
FIRST, PILOT, FORWARD, REVERSE = range(4)


@dataclass(frozen=True)
class Annealing(Configurable):
    """Annealed importance sampling with Hamiltonian transitions.

    The path leads from the first distribution to p(x, z | c) by its geometric means. At each temperature a chain takes
    one Hamiltonian trajectory with a Metropolis correction. A pilot run adapts the length of its steps for each example
    and temperature; the chains that are counted have fixed ones, so that both bounds hold.

    Source: Neal 2001, "Annealed Importance Sampling"; Wu, Burda, Salakhutdinov and Grosse 2017, "On the Quantitative
    Analysis of Decoder-Based Generative Models", section 3.

    Attributes:
        chains: K.
        temperatures: T, distributions of the path, both ends included.
        leapfrog: steps of a trajectory.
        start: the first distribution: q(z | x, c), which is near where the path ends; q "refined" for each example,
            which is nearer and measures steps; or p(z | c), which misses no mode.
        refine: gradient steps that refine q.
        covariance: of a refined q, as in `Proposal`.
        starts: of "laplace", as in `Proposal`.
        prior: of a refined start, the share of p(z | c) in the first distribution, which bounds what a posterior
            elsewhere costs.
        acceptance: rate of accepted trajectories that the pilot run aims at.
    """

    chains: int = 10
    temperatures: int = 100
    leapfrog: int = 5
    start: Literal["posterior", "refined", "prior"] = "posterior"
    refine: int = 100
    covariance: Covariance = "laplace"
    starts: int = 1
    prior: float = 0.0
    acceptance: float = 0.65

    def __post_init__(self) -> None:
        for name, least in (("chains", 1), ("temperatures", 2), ("leapfrog", 1), ("refine", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}; got {getattr(self, name)}")
        if self.prior and self.start != "refined":
            raise ValueError(f"a share of the prior is of start refined: set it, or leave prior at 0; got {self.prior}")

    def __str__(self) -> str:
        first = str(self.proposal) if self.start == "refined" else f"the {self.start}"
        return (
            f"annealed importance sampling from {first}, {self.chains} chains of {self.temperatures} "
            f"temperatures, {self.leapfrog} steps each"
        )

    @property
    def proposal(self) -> Proposal:
        """How q is refined."""
        return Proposal(self.refine, self.covariance, prior=self.prior, starts=self.starts)

    @property
    def decodes(self) -> int:
        """How many z are decoded for an example, each with a gradient."""
        refining = self.proposal.decodes if self.start == "refined" else 0
        return refining + (self.chains + pilots(self)) * self.temperatures * self.leapfrog

    def schedule(self) -> Tensor:
        """The exponents of p(x, z | c) along the path, [T], from 0 to 1: close to each other at both ends."""
        places = torch.linspace(-STEEPNESS, STEEPNESS, self.temperatures, dtype=torch.float64)
        sigmoid = torch.sigmoid(places)
        return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).float()


def annealed_log_likelihood(
    model: LatentModel,
    batch: Batch,
    settings: Annealing,
    seed: int = 0,
    at_once: int = DECODES,
    near: Tensor | None = None,
) -> Estimate:
    """log p(x | c) by annealed importance sampling: a lower bound in expectation. With a mask, of the observed values.

    Memory is bounded for any K and B; the result does not depend on the batch an example came in.

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        settings: the path and its chains.
        seed: fixes the noise, together with each example's index.
        at_once: decodes at most this many z at a time.
        near: z [B, D] near which a refined q is searched as well, as in `proposals.refined`.
    """
    weights, modes = [], []
    with gradients_of_z():
        parts = list(_blocks(model, batch, settings, at_once))
        for part, close in zip(parts, rows_of(near, parts), strict=True):
            path = _Path.of(model, part, settings, at_once, seed, close)
            weights.append(_forward(path, settings, seed))
            modes += [path.first.modes.first] if isinstance(path.first, _Refined) else []
    return Estimate.of(torch.cat(weights, dim=1), torch.cat(modes) if settings.proposal.searches and modes else None)


def sandwiched_log_likelihood(
    model: LatentModel, batch: Batch, settings: Annealing, seed: int = 0, at_once: int = DECODES
) -> Sandwich:
    """Both bounds of log p(x | c) for an x that the model simulates under the condition (and mask) of each example.

    The z that x was made from is a draw from the exact posterior. A chain that starts there and runs backwards takes
    the place of one of the K chains: the mean weight is then an upper bound in expectation.
    Source: Grosse, Ghahramani and Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo",
    section 3; Wu et al. 2017, section 3.2.

    Args:
        model: the model, in evaluation mode.
        batch: B examples, of whose x the shape alone is used.
        settings: the path and its chains.
        seed: fixes the noise, together with each example's index.
        at_once: as in `annealed_log_likelihood`.
    """
    parts = []
    with gradients_of_z():
        for part in _blocks(model, batch, settings, at_once):
            made, z = simulated(model, part, seed)
            path = _Path.of(model, made, settings, at_once, seed)
            below = _forward(path, settings, seed)
            above = torch.cat([_reverse(path, z, settings, seed), below[1:]])
            parts.append(Sandwich.of(below, above))
    return Sandwich.joined(parts)


def _blocks(model: LatentModel, batch: Batch, settings: Annealing, at_once: int) -> Iterator[Batch]:
    """Parts of a batch of which one z of each example can be decoded at once, with all examples' indices."""
    if model.latent_prior.latent_dim is None:
        model.draws(batch[slice(0, 1)])  # the first posterior fixes the size of z
    indexed = batch.replace(index=batch.positions).map(torch.clone)  # tensors of inference mode have no gradient
    size = max(1, at_once // settings.chains)
    for start in range(0, len(batch), size):
        yield indexed[slice(start, start + size)]


@dataclass(frozen=True)
class _Point:
    """Places z [K, B, D] of chains, the log-densities [K, B] of both ends of the path there, and their gradients."""

    z: Tensor
    log_first: Tensor
    log_joint: Tensor
    slope_first: Tensor
    slope_joint: Tensor

    def log_density(self, beta: Tensor) -> Tensor:
        return torch.lerp(self.log_first, self.log_joint, beta)

    def slope(self, beta: Tensor) -> Tensor:
        return torch.lerp(self.slope_first, self.slope_joint, beta)

    def log_ratio(self) -> Tensor:
        return self.log_joint - self.log_first

    def where(self, chosen: Tensor, other: "_Point") -> "_Point":
        """This point for chains that are chosen [K, B], the other one for the rest."""
        wide = chosen.unsqueeze(-1)
        return _Point(
            torch.where(wide, self.z, other.z),
            torch.where(chosen, self.log_first, other.log_first),
            torch.where(chosen, self.log_joint, other.log_joint),
            torch.where(wide, self.slope_first, other.slope_first),
            torch.where(wide, self.slope_joint, other.slope_joint),
        )


@dataclass(frozen=True)
class _Given:
    """The prior or the encoder's posterior of B examples as the first distribution; steps are measured in deviations.

    Attributes:
        distribution: batch shape [B], event shape [D].
        scale: deviations of its units, [B, D].
    """

    distribution: Distribution
    scale: Tensor

    @staticmethod
    def of(distribution: Distribution, size: int, where: torch.device) -> "_Given":
        scale = distribution.stddev if factorises(distribution) else torch.ones(size, device=where)
        return _Given(distribution, scale.float().expand(*distribution.batch_shape, size))

    def draws(self, chains: int, seed: int, index: Tensor) -> Tensor:
        return prior_samples(self.distribution, chains, seed, index)

    def log_prob(self, z: Tensor, _log_prior: Tensor) -> Tensor:
        return self.distribution.log_prob(z)

    def spread(self, r: Tensor) -> Tensor:
        return self.scale * r

    def gathered(self, slope: Tensor) -> Tensor:
        return self.scale * slope


@dataclass(frozen=True)
class _Refined:
    """A refined q of B examples, with a share of the prior, as the first distribution; steps follow q's covariance."""

    modes: Modes
    prior: Distribution
    share: float

    def draws(self, chains: int, seed: int, index: Tensor) -> Tensor:
        size = self.modes.mean.shape[-1]
        noise = example_noise(seed, index, (chains, size + bool(self.share)))
        z = self.modes.at(noise[..., :size].unsqueeze(1))[:, 0]
        if not self.share:
            return z
        from_prior = torch.special.ndtr(noise[..., size:]) < self.share
        return torch.where(from_prior, prior_samples(self.prior, chains, seed + 1, index), z)

    def log_prob(self, z: Tensor, log_prior: Tensor) -> Tensor:
        log_density = self.modes.log_density(z, 0, None)
        if not self.share:
            return log_density
        return torch.logaddexp(math.log1p(-self.share) + log_density, math.log(self.share) + log_prior)

    def spread(self, r: Tensor) -> Tensor:
        return self.modes.spread(r.unsqueeze(-3)).squeeze(-3)

    def gathered(self, slope: Tensor) -> Tensor:
        return self.modes.gathered(slope.unsqueeze(-3)).squeeze(-3)


@dataclass(frozen=True)
class _Path:
    """The first distribution and p(x, z | c) of B examples.

    Attributes:
        model: the model.
        batch: the examples.
        first: draws, density and the units of steps.
        size: D.
        at_once: z that are decoded at a time.
    """

    model: LatentModel
    batch: Batch
    first: _Given | _Refined
    size: int
    at_once: int

    @staticmethod
    @torch.no_grad()
    def of(
        model: LatentModel, batch: Batch, settings: Annealing, at_once: int, seed: int, near: Tensor | None = None
    ) -> "_Path":
        size, where = model.latent_prior.size, batch.x.device
        if settings.start == "refined":
            proposal = settings.proposal
            rows = torch.arange(len(batch)).split(examples_at_once(model, proposal, at_once))
            parts = [batch[some] for some in rows]
            modes = [
                refined(model, part, proposal, seed, close)
                for part, close in zip(parts, rows_of(near, parts), strict=True)
            ]
            refined_q = _Refined(Modes.joined(modes), model.prior(model.embed(batch)), settings.prior)
            return _Path(model, batch, refined_q, size, at_once)
        c = model.embed(batch)
        first: Distribution = model.prior(c)
        if settings.start == "posterior":
            first = model.encode(batch.shown(model.missing_value).x, c)
        return _Path(model, batch, _Given.of(first, size, where), size, at_once)

    def start(self, chains: int, seed: int) -> _Point:
        """Chains at draws from the first distribution."""
        return self.at(self.first.draws(chains, seed, self.batch.positions))

    def at(self, z: Tensor) -> _Point:
        """Densities and gradients at z [K, B, D], in float32 whatever the autocast."""
        parts = [self._at(part) for part in z.split(max(1, self.at_once // len(self.batch)))]
        return _Point(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _at(self, z: Tensor) -> tuple[Tensor, ...]:
        # cuDNN differentiates recurrent networks in training mode only.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            z = z.detach().requires_grad_()
            c = self.model.embed(self.batch)
            log_prior = self.model.prior(c).log_prob(z)
            log_joint = self.model.log_likelihood_of_latents(self.batch, z, c) + log_prior
            (slope_joint,) = torch.autograd.grad(log_joint.sum(), z, retain_graph=True)
            log_first = self.first.log_prob(z, log_prior)
            (slope_first,) = torch.autograd.grad(log_first.sum(), z)
        return z.detach(), log_first.detach(), log_joint.detach(), slope_first, slope_joint


def _noise(path: _Path, chains: int, seed: int, stream: int, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Momenta [K, B, D], relative steps [K, B] and uniform thresholds [K, B] of a transition."""
    size = path.size
    numbered = (seed * 4 + stream) * 1_000_003 + number
    noise = example_noise(numbered, path.batch.positions, (chains, size + 2))
    uniform = torch.special.ndtr(noise[..., size:])
    return noise[..., :size], 1 + JITTER * (2 * uniform[..., 0] - 1), uniform[..., 1]


def _moved(
    path: _Path, point: _Point, beta: Tensor, step: Tensor, noise: tuple[Tensor, Tensor, Tensor], leapfrog: int
) -> tuple[_Point, Tensor]:
    """Chains after a trajectory at a temperature, and the probabilities [K, B] with which they were accepted.

    Source: Neal 2011, "MCMC Using Hamiltonian Dynamics", section 5.2.3.1.

    Args:
        path: the path.
        point: the chains.
        beta: exponent of p(x, z | c).
        step: length of a step, [B], in units of the first distribution.
        noise: from `_noise`.
        leapfrog: steps.
    """
    momentum, relative, threshold = noise
    length, first = (step * relative).unsqueeze(-1), path.first
    reached, velocity = point, momentum + 0.5 * length * first.gathered(point.slope(beta))
    for number in range(leapfrog):
        reached = path.at(reached.z + length * first.spread(velocity))
        whole = length if number < leapfrog - 1 else 0.5 * length
        velocity = velocity + whole * first.gathered(reached.slope(beta))
    kinetic = 0.5 * (velocity**2 - momentum**2).sum(-1)
    change = reached.log_density(beta) - point.log_density(beta) - kinetic
    probability = change.clamp_max(0.0).exp().nan_to_num(0.0)  # a trajectory that has left all numbers is refused
    return reached.where(threshold < probability, point), probability


def pilots(settings: Annealing) -> int:
    """Chains of the pilot run."""
    return max(2, settings.chains // 4)


def _steps(path: _Path, settings: Annealing, seed: int) -> list[Tensor]:
    """The length of a step [B] at each temperature between the ends, from chains of their own."""
    chains = pilots(settings)
    where = path.batch.x.device
    between = settings.schedule()[1:-1].to(where)
    point = path.start(chains, (seed * 4 + PILOT) * 1_000_003)
    step = torch.full((len(path.batch),), path.size**-0.25, device=where)
    found = []
    for number, beta in enumerate([*between[:1]] * WARM_UP + [*between]):
        found.append(step)
        noise = _noise(path, chains, seed, PILOT, number + 1)
        point, probability = _moved(path, point, beta, step, noise, settings.leapfrog)
        step = step * torch.exp(ADAPTATION * (probability.mean(0) - settings.acceptance))
    return found[WARM_UP:]


def _forward(path: _Path, settings: Annealing, seed: int) -> Tensor:
    """Log-weights [K, B] of chains from the first distribution on."""
    betas = settings.schedule().to(path.batch.x.device)
    point = path.start(settings.chains, (seed * 4 + FIRST) * 1_000_003)
    log_weights = betas[1] * point.log_ratio()
    for number, step in enumerate(_steps(path, settings, seed), 1):
        noise = _noise(path, settings.chains, seed, FORWARD, number)
        point, _ = _moved(path, point, betas[number], step, noise, settings.leapfrog)
        log_weights = log_weights + (betas[number + 1] - betas[number]) * point.log_ratio()
    return log_weights


def _reverse(path: _Path, z: Tensor, settings: Annealing, seed: int) -> Tensor:
    """The log-weight [1, B] of a chain that leads back from draws z [B, D] of the exact posterior."""
    betas = settings.schedule().to(path.batch.x.device)
    point = path.at(z.unsqueeze(0))
    log_weights = (betas[-1] - betas[-2]) * point.log_ratio()
    steps = _steps(path, settings, seed)
    for number in range(len(steps), 0, -1):
        noise = _noise(path, 1, seed, REVERSE, number)
        point, _ = _moved(path, point, betas[number], steps[number - 1], noise, settings.leapfrog)
        log_weights = log_weights + (betas[number] - betas[number - 1]) * point.log_ratio()
    return log_weights
