"""What importance samples of z are drawn from: the encoder's q(z | x, c), or what is fitted to an example from it on.

Shapes: B examples, K samples, M modes, D latent.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.attention import SDPBackend, sdpa_kernel

from common.batch import Batch
from common.configurable import Configurable
from common.distributions.noise import example_noise, prior_samples
from common.model.latent_model import LatentModel

Covariance = Literal["laplace", "full", "diagonal"]
LEAP = 0.3  # first step of Adam, in deviations of the encoder's q
# Streams of noise that share nothing, neither with each other nor with the samples of q.
START, FIT, DRAW, RADIUS, PRIOR, PLACE, AROUND = range(1, 8)
STREAMS = 1_000_003
CLIMB = 1.0  # first step of Adam on the way to a mode, in deviations of the encoder's q
COLD = (0.01, 1.0, 0.1, 0.003)  # first exponents of the likelihood on that way, which starts take in turn
CROSSED = 5  # times fewer steps that starts climb which are crossed
WIDE = 3.0  # deviations of the encoder's q by which starts beyond these are spread
FLAT = 0.01  # least curvature along any direction: no mode is taken to be wider than ten deviations of q
NUMBERS = 8_000_000  # most numbers of full covariances that are refined at once


@dataclass(frozen=True)
class Proposal(Configurable):
    """A mixture that importance samples of z are drawn from, each part a fixed share of them.

    Its log-density is that of the whole mixture, so that a part that misses the posterior costs its share of the
    samples and no more (the balance heuristic: Veach and Guibas 1995, "Optimally Combining Sampling Techniques for
    Monte Carlo Rendering", section 3.1; Owen and Zhou 2000, "Safe and Effective Importance Sampling").

    Attributes:
        refine: gradient steps that fit q to each example by itself, from the encoder's on (Kim et al. 2018,
            "Semi-Amortized Variational Autoencoders"; Cremer et al. 2018, "Inference Suboptimality in Variational
            Autoencoders"). 0 takes q as it is.
        covariance: of what is refined: "laplace", the inverse curvature of log p(x, z | c) at the mode that gradient
            steps climb, which takes one more derivative for each unit (Tierney and Kadane 1986); or that which raises
            the ELBO together with the mean, "full" or "diagonal", as the encoder's.
        modes: Gaussians. All but the first are refined from a draw of the prior each, and may end in other modes.
        degrees: degrees of freedom of a multivariate t-distribution in place of each Gaussian: fewer have heavier
            tails. None keeps Gaussians.
        prior: share of samples that are drawn from p(z | c), with which no weight exceeds p(x | z, c) / share.
        draws: z of each mode that a step of refining decodes; "laplace" has one.
        starts: of "laplace": ways by which each mode is searched. They differ in how slowly the likelihood comes in,
            and from the fifth on in where they begin.
    """

    refine: int = 100
    covariance: Covariance = "laplace"
    modes: int = 1
    degrees: int | None = None
    prior: float = 0.0
    draws: int = 4
    starts: int = 1

    def __post_init__(self) -> None:
        for name, least in (("refine", 0), ("modes", 1), ("draws", 1), ("degrees", 1), ("starts", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}; got {value}")
        if self.starts > 1 and self.covariance != "laplace":
            raise ValueError("several starts are of covariance laplace: set it as well")
        if not 0 <= self.prior < 1:
            raise ValueError(f"prior is a share, at least 0 and less than 1; got {self.prior}")
        if not self.refine and self.modes > 1:
            raise ValueError("several modes come from refining: set refine, such as 100")

    def __str__(self) -> str:
        parts = []
        if self.refine:
            several = f"{self.modes} modes, " if self.modes > 1 else ""
            kind = "Laplace's" if self.covariance == "laplace" else self.covariance
            several += f"best of {self.starts} starts, " if self.starts > 1 else ""
            parts.append(f"{several}q refined by {self.refine} steps for each example, {kind} covariance")
        if self.degrees is not None:
            parts.append(f"t with {self.degrees} degrees of freedom")
        if self.prior:
            parts.append(f"{self.prior:.0%} from the prior")
        return ", ".join(parts) or "q"

    @property
    def decodes(self) -> int:
        """How many z are decoded for an example, each with a gradient, before the samples."""
        return self.refine * self.at_once

    @property
    def searches(self) -> bool:
        """Whether a mode is searched for each example, which can begin near one that is known."""
        return self.refine > 0 and self.covariance == "laplace"

    @property
    def at_once(self) -> int:
        """How many z of an example a step of refining decodes."""
        return (self.starts if self.covariance == "laplace" else self.draws) * self.modes

    def shares(self, num_samples: int) -> list[int]:
        """How many of K samples each of the M modes and, last, the prior give."""
        prior = min(num_samples - 1, max(1, round(self.prior * num_samples))) if self.prior else 0
        rest = num_samples - prior
        return [rest // self.modes + (number < rest % self.modes) for number in range(self.modes)] + [prior]


def examples_at_once(model: LatentModel, proposal: Proposal, at_once: int) -> int:
    """How many examples may be refined together, so that the memory of z and of covariances is bounded."""
    size = max(1, at_once // proposal.at_once)
    if proposal.covariance != "diagonal" and proposal.refine:
        size = min(size, max(1, NUMBERS // (proposal.modes * model.latent_prior.size**2)))
    return size


@contextmanager
def gradients_of_z() -> Iterator[None]:
    """No gradient but those that are asked for: Lightning tests in inference mode, which has none at all."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@dataclass(frozen=True)
class Modes:
    """Several Gaussians (or t-distributions) of z for each example: z = mean + scale * (place + root r), r standard.

    Attributes:
        mean: of the encoder's q, [B, D].
        scale: of the encoder's q, [B, D].
        place: [M, B, D].
        log_diagonal: of the root, [M, B, D].
        below: of the root, strictly lower triangle of [M, B, D, D]; None for a diagonal one.
    """

    mean: Tensor
    scale: Tensor
    place: Tensor
    log_diagonal: Tensor
    below: Tensor | None

    @staticmethod
    def joined(parts: "Sequence[Modes]") -> "Modes":
        """Those of the examples of several parts."""

        def whole(name: str, dim: int) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts], dim)

        below = None if parts[0].below is None else whole("below", 1)
        return Modes(whole("mean", 0), whole("scale", 0), whole("place", 1), whole("log_diagonal", 1), below)

    @property
    def first(self) -> Tensor:
        """The centre of the first mode, z [B, D]."""
        return self.mean + self.scale * self.place[0]

    def at(self, r: Tensor) -> Tensor:
        """z [..., M, B, D] of standardised r."""
        return self.mean + self.scale * self.place + self.spread(r)

    def spread(self, r: Tensor) -> Tensor:
        """How far z of standardised r lie from the centre of their mode, [..., M, B, D]."""
        moved = r * self.log_diagonal.exp()
        if self.below is not None:
            moved = moved + (self.below.tril(-1) @ r.unsqueeze(-1)).squeeze(-1)
        return self.scale * moved

    def gathered(self, slope: Tensor) -> Tensor:
        """The slope [..., M, B, D] with respect to r, from that with respect to z: the adjoint of `spread`."""
        scaled = self.scale * slope
        found = scaled * self.log_diagonal.exp()
        if self.below is not None:
            found = found + (self.below.tril(-1).mT @ scaled.unsqueeze(-1)).squeeze(-1)
        return found

    def log_density(self, z: Tensor, number: int, degrees: int | None) -> Tensor:
        """Of z [K, B, D] under a mode, [K, B]."""
        r = (z - self.mean) / self.scale - self.place[number]
        if self.below is None:
            r = r / self.log_diagonal[number].exp()
        else:
            root = self.below[number].tril(-1) + torch.diag_embed(self.log_diagonal[number].exp())
            r = torch.linalg.solve_triangular(root, r.permute(1, 2, 0), upper=False).permute(2, 0, 1)
        size, squared = z.shape[-1], r.square().sum(-1)
        volume = self.scale.log().sum(-1) + self.log_diagonal[number].sum(-1)
        if degrees is None:
            return -0.5 * squared - 0.5 * size * math.log(2 * math.pi) - volume
        constant = (
            math.lgamma((degrees + size) / 2) - math.lgamma(degrees / 2) - 0.5 * size * math.log(degrees * math.pi)
        )
        return constant - volume - 0.5 * (degrees + size) * torch.log1p(squared / degrees)


@dataclass(frozen=True)
class Mixture:
    """What K importance samples of each of B examples are drawn from, a fixed share of them from each part.

    Attributes:
        modes: the Gaussians or t-distributions.
        prior: p(z | c), the last part; its share may be 0.
        shares: samples of each part; their sum is K.
        degrees: as in `Proposal`.
    """

    modes: Modes
    prior: Distribution
    shares: list[int]
    degrees: int | None

    @staticmethod
    def of(
        model: LatentModel,
        batch: Batch,
        proposal: Proposal,
        num_samples: int,
        seed: int,
        near: Tensor | None = None,
    ) -> "Mixture":
        """That of a batch that can be refined at once (`examples_at_once`).

        Args:
            model: the model, in evaluation mode.
            batch: B examples.
            proposal: its parts.
            num_samples: K.
            seed: seed of the noise, together with each example's index.
            near: as in `refined`.
        """
        with gradients_of_z():  # which tensors of inference mode do not have
            modes = refined(model, batch.map(torch.clone), proposal, seed, near)
        return Mixture(modes, model.prior(model.embed(batch)), proposal.shares(num_samples), proposal.degrees)

    def draws(self, seed: int, index: Tensor) -> Tensor:
        """Samples z [K, B, D] in the order of the parts; those of an example depend on the seed and its index alone."""
        *shares, from_prior = self.shares
        modes, size = len(self.modes.place), self.modes.mean.shape[-1]
        noise = example_noise(seed * STREAMS + DRAW, index, (sum(self.shares), size))
        if self.degrees is not None:  # t = normal / sqrt(chi squared / degrees), one radius for all units
            radius = example_noise(seed * STREAMS + RADIUS, index, (sum(self.shares), self.degrees))
            noise = noise / radius.square().mean(-1, keepdim=True).sqrt()
        parts = [
            self.modes.at(r.unsqueeze(1).expand(-1, modes, -1, -1))[:, number]
            for number, r in enumerate(noise[: sum(shares)].split(shares))
        ]
        if from_prior:
            parts.append(prior_samples(self.prior, from_prior, seed * STREAMS + PRIOR, index))
        return torch.cat(parts)

    def log_densities(self, z: Tensor) -> Tensor:
        """Of z [K', B, D] under each part, times its share, [M + 1, K', B]."""
        parts = [self.modes.log_density(z, number, self.degrees) for number in range(len(self.modes.place))]
        parts.append(self.prior.log_prob(z) if self.shares[-1] else torch.zeros_like(parts[0]))
        logs = z.new_tensor(self.shares).log() - math.log(sum(self.shares))
        return torch.stack(parts) + logs.view(-1, 1, 1)

    def log_density(self, z: Tensor) -> Tensor:
        """Of z [K', B, D] under the mixture, [K', B]."""
        return torch.logsumexp(self.log_densities(z), 0)

    def places(self, z: Tensor, seed: int, index: Tensor) -> Tensor:
        """Numbers [B] of the samples whose place draws z [B, D] from elsewhere take: of a part that explains them."""
        shares = self.log_densities(z.unsqueeze(0))[:, 0].softmax(0)
        uniform = torch.special.ndtr(example_noise(seed * STREAMS + PLACE, index, (1, 1))[0, :, 0])
        part = (shares.cumsum(0) < uniform).sum(0).clamp_max(len(shares) - 1)
        first = torch.tensor([0, *self.shares[:-1]], device=z.device).cumsum(0)
        return first[part].clamp_max(sum(self.shares) - 1)


def refined(model: LatentModel, batch: Batch, proposal: Proposal, seed: int, near: Tensor | None = None) -> Modes:
    """The modes of B examples, each with the ELBO of its example raised by Adam with steps that fall to 0.

    Args:
        model: the model, in evaluation mode.
        batch: B examples, outside of inference mode.
        proposal: how many modes, steps and draws.
        seed: seed of the noise, together with each example's index.
        near: z [B, D] at which the search of Laplace's modes begins once more, such as a mode that was found under
            another condition.
    """
    q = model.encode(batch.shown(model.missing_value).x, model.embed(batch)).base_dist
    mean, scale = q.loc.float(), q.scale.float()
    count, size = mean.shape
    place = mean.new_zeros(proposal.modes, count, size)
    if proposal.modes > 1:
        prior = model.prior(model.embed(batch))
        starts = prior_samples(prior, proposal.modes - 1, seed * STREAMS + START, batch.positions)
        place[1:] = (starts - mean) / scale
    if not proposal.refine:
        return Modes(mean, scale, place, torch.zeros_like(place), None)
    if proposal.covariance == "laplace":
        return _laplace(model, batch, Modes(mean, scale, place, torch.zeros_like(place), None), proposal, seed, near)
    parts = [place, torch.zeros_like(place)]
    if proposal.covariance == "full":
        parts.append(place.new_zeros(proposal.modes, count, size, size))
    c = model.embed(batch)
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # which differentiates training mode only
        free = [part.requires_grad_() for part in parts]
        # Adam moves each entry by about its rate, noise or not: D times more entries, D times smaller steps.
        rates = [LEAP, LEAP, LEAP / size][: len(free)]
        optimizer = torch.optim.Adam([{"params": [part], "lr": rate} for part, rate in zip(free, rates, strict=True)])
        means, averaged = [torch.zeros_like(part) for part in free], proposal.refine - proposal.refine // 2
        for step in range(proposal.refine):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - step / proposal.refine) ** 2
            modes = Modes(mean, scale, free[0], free[1], free[2] if len(free) > 2 else None)
            numbered = (seed * STREAMS + FIT) * STREAMS + step
            r = example_noise(numbered, batch.positions, (proposal.draws * proposal.modes, size))
            z = modes.at(r.view(proposal.draws, proposal.modes, count, size)).flatten(0, 1)
            log_joint = model.log_likelihood_of_latents(batch, z, c) + model.prior(c).log_prob(z)
            elbo = log_joint.sum() / proposal.draws + modes.log_diagonal.sum()  # but for a constant
            for part, gradient in zip(free, torch.autograd.grad(-elbo, free), strict=True):
                part.grad = gradient
            optimizer.step()
            if step >= proposal.refine - averaged:  # the noise of single steps averages out (Polyak and Juditsky 1992)
                for total, part in zip(means, free, strict=True):
                    total += part.detach() / averaged
    return Modes(mean, scale, means[0], means[1], means[2] if len(means) > 2 else None)


def _laplace(
    model: LatentModel, batch: Batch, modes: Modes, proposal: Proposal, seed: int, near: Tensor | None
) -> Modes:
    """Modes of log p(x, z | c), climbed by Adam with steps that fall to 0, with the inverse curvature as covariance.

    A likelihood of many values has many local modes. Its exponent rises from one of `COLD` to 1 in the first half of
    the steps: no exponent is the best for every example. Starts that are wrong are mostly so in a few units, and not in
    the same ones: the highest is crossed with each of the others, unit by unit, and what ends highest of all is kept.
    Source: Tierney and Kadane 1986, "Accurate Approximations for Posterior Moments and Marginal Densities".
    """
    c = model.embed(batch)
    prior = model.prior(c)
    shape, size = (proposal.starts, *modes.place.shape), modes.mean.shape[-1]

    def log_joint(place: Tensor, exponents: Tensor | float = 1.0) -> Tensor:
        z = (modes.mean + modes.scale * place).flatten(0, -3)
        likelihood = model.log_likelihood_of_latents(batch, z, c).unflatten(0, place.shape[:-2])
        return exponents * likelihood + prior.log_prob(z).unflatten(0, place.shape[:-2])

    def climbed(place: Tensor, steps: int, cold: Tensor) -> Tensor:
        free = place.clone().requires_grad_()
        optimizer = torch.optim.Adam([free], lr=CLIMB)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = CLIMB * (1 - step / steps) ** 2
            exponents = cold ** max(0.0, 1 - 2 * step / steps)
            (free.grad,) = torch.autograd.grad(-log_joint(free, exponents).sum(), free)
            optimizer.step()
        return free.detach()

    @torch.no_grad()
    def highest(places: Tensor) -> Tensor:
        best = log_joint(places).argmax(0)  # [M, B]
        return places.gather(0, best.expand(1, size, -1, -1).permute(0, 2, 3, 1))

    # cuDNN differentiates training mode only, and fast attention only once.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH):
        starts = modes.place.repeat(proposal.starts, 1, 1, 1)
        cold = starts.new_tensor([COLD[number % len(COLD)] for number in range(proposal.starts)])
        noise = example_noise(seed * STREAMS + AROUND, batch.positions, (math.prod(shape[:2]), size)).view(shape)
        starts[len(COLD) :] += WIDE * noise[len(COLD) :]
        if near is not None:
            starts = torch.cat([starts, ((near - modes.mean) / modes.scale).expand(1, *shape[1:])])
            cold = torch.cat([cold, cold.new_ones(1)])
        ends = climbed(starts, proposal.refine, cold.view(-1, 1, 1))
        place = highest(ends)
        if proposal.starts > 1:
            children = torch.where(noise > 0, ends[: proposal.starts], place)
            children = climbed(children, max(1, proposal.refine // CROSSED), cold.new_ones(1))
            place = highest(torch.cat([place, children]))
        place = place[0].requires_grad_()
        (slope,) = torch.autograd.grad(log_joint(place).sum(), place, create_graph=True)
        units = range(place.shape[-1])
        rows = [torch.autograd.grad(slope[..., unit].sum(), place, retain_graph=True)[0] for unit in units]
    curvature = -torch.stack(rows, -1).cpu().double()  # not every device has double precision and eigenvectors
    values, directions = torch.linalg.eigh(0.5 * (curvature + curvature.mT))  # [M, B, D], [M, B, D, D]
    covariance = (directions / values.clamp_min(FLAT).unsqueeze(-2)) @ directions.mT
    root = torch.linalg.cholesky(covariance).float().to(place.device)
    log_diagonal = root.diagonal(dim1=-2, dim2=-1).log()
    return Modes(modes.mean, modes.scale, place.detach(), log_diagonal, root.tril(-1))
