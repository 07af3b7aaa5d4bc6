"""Bounds of the likelihood, by importance sampling and by plain Monte Carlo, and differences of them: all in nats."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.distributions.noise import example_noise, prior_sample, prior_samples, reparameterize
from common.evaluation.proposals import Mixture, Proposal, examples_at_once
from common.evaluation.simulation import simulated
from common.model.latent_model import LatentModel
from common.objectives.samples import PosteriorSamples

NOISE_NUMBERS = 8_000_000  # most numbers of noise in memory at once
DECODES = 1_000  # samples of z that are decoded at once, where nobody says how many


@dataclass(frozen=True)
class Estimate:
    """log p(x | c) in nats and the effective number of samples behind it, each [B].

    Attributes:
        log_likelihood: [B].
        effective_sample_size: [B].
        mode: z [B, D] of Laplace's mode of each example; None where nothing searches for it.
    """

    log_likelihood: Tensor
    effective_sample_size: Tensor
    mode: Tensor | None = None

    @staticmethod
    def of(log_weights: Tensor, mode: Tensor | None = None) -> "Estimate":
        """From the log-weights of K samples of each example, [K, B]."""
        total = torch.logsumexp(log_weights, dim=0)
        effective = torch.exp(2 * total - torch.logsumexp(2 * log_weights, dim=0))
        return Estimate(total - math.log(len(log_weights)), effective, mode)


@torch.no_grad()
def log_likelihood(
    model: LatentModel,
    batch: Batch,
    num_samples: int,
    seed: int = 0,
    at_once: int = DECODES,
    proposal: Proposal | None = None,
    near: Tensor | None = None,
) -> Estimate:
    """log p(x | c) = log 1/K sum_k p(x | z_k, c) p(z_k | c) / q(z_k | x, c), z_k ~ q(z | x, c).

    A lower bound in expectation that tightens with K (Burda et al. 2016, theorem 1). With a mask, it is that of the
    observed values. Memory is bounded for any K and B; the result does not depend on the batch an example came in.

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        num_samples: K.
        seed: fixes the noise, together with each example's index.
        at_once: decodes at most this many of the K * B samples at a time.
        proposal: what takes the place of q; None is q.
        near: z [B, D] near which a refined q is searched as well, as in `proposals.refined`.
    """
    if proposal is None:
        draws = (model.draws(part, num_samples, seed, at_once) for part in _parts(model, batch, num_samples, at_once))
        return Estimate.of(torch.cat([drawn.log_weights() for drawn in draws], dim=1))
    parts = _parts(model, batch, num_samples, examples_at_once(model, proposal, at_once))
    weights, modes = [], []
    for part, close in zip(parts, rows_of(near, parts), strict=True):
        mixture = Mixture.of(model, part, proposal, num_samples, seed, close)
        weights.append(_log_weights(model, part, mixture, mixture.draws(seed, part.positions), at_once))
        modes.append(mixture.modes.first)
    return Estimate.of(torch.cat(weights, dim=1), torch.cat(modes) if proposal.searches else None)


@dataclass(frozen=True)
class Sandwich:
    """Bounds of log p(x | c) in expectation, each [B], of examples that the model has simulated."""

    lower: Tensor
    upper: Tensor

    @staticmethod
    def of(below: Tensor, above: Tensor) -> "Sandwich":
        """From log-weights [K, B] without, and with, one that belongs to a draw from the exact posterior."""
        return Sandwich(*(torch.logsumexp(weights, 0) - math.log(len(weights)) for weights in (below, above)))

    @staticmethod
    def joined(parts: "Iterable[Sandwich]") -> "Sandwich":
        """Those of the examples of several parts."""
        every = list(parts)
        return Sandwich(torch.cat([part.lower for part in every]), torch.cat([part.upper for part in every]))


@torch.no_grad()
def sandwiched(
    model: LatentModel,
    batch: Batch,
    num_samples: int,
    seed: int = 0,
    at_once: int = DECODES,
    proposal: Proposal | None = None,
) -> Sandwich:
    """Both bounds by importance sampling, for an x that the model simulates under each example's condition (and mask).

    The z that x was made from is a draw from the exact posterior; it takes the place of one of the K samples, of which
    the mean weight is then an upper bound in expectation. The gap is the sum of what both bounds miss.
    Source: Grosse, Ghahramani and Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo",
    section 3, of chains without transitions.

    Args:
        model: the model, in evaluation mode.
        batch: B examples, of whose x the shape alone is used.
        num_samples: K.
        seed: fixes the noise, together with each example's index.
        at_once: as in `log_likelihood`.
        proposal: as in `log_likelihood`.
    """
    chosen = proposal or Proposal(refine=0, covariance="diagonal")

    def of(part: Batch) -> Sandwich:
        made, z = simulated(model, part, seed)
        index, exact = made.positions, z.unsqueeze(0)
        mixture = Mixture.of(model, made, chosen, num_samples, seed)
        below = _log_weights(model, made, mixture, mixture.draws(seed, index), at_once)
        place = mixture.places(z, seed, index).unsqueeze(0)
        return Sandwich.of(below, below.scatter(0, place, _log_weights(model, made, mixture, exact, at_once)))

    return Sandwich.joined(map(of, _parts(model, batch, num_samples, examples_at_once(model, chosen, at_once))))


def _log_weights(model: LatentModel, batch: Batch, mixture: Mixture, z: Tensor, at_once: int) -> Tensor:
    """log p(x, z | c) minus the log-density of what z [K, B, D] were drawn from, [K, B]."""
    likelihood = model.log_likelihood_of_latents(batch, z, model.embed(batch), at_once)
    return likelihood + mixture.prior.log_prob(z) - mixture.log_density(z)


@torch.no_grad()
def prior_log_likelihood(
    model: LatentModel, batch: Batch, num_samples: int, seed: int = 0, at_once: int = DECODES
) -> Tensor:
    """log p(x | c) = log 1/K sum_k p(x | z_k, c), z_k ~ p(z | c), [B]: plain Monte Carlo.

    A lower bound in expectation, and a loose one where the posterior is far from the prior: `log_likelihood` is the
    better estimate. Sohn, Lee and Yan 2015 (equation 6) report both.

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        num_samples: K.
        seed: fixes the noise, together with each example's index.
        at_once: as in `log_likelihood`.
    """
    found = []
    for part in _parts(model, batch, num_samples, at_once):
        c = model.embed(part)
        z = prior_samples(model.prior(c), num_samples, seed, part.positions)
        found.append(torch.logsumexp(model.log_likelihood_of_latents(part, z, c, at_once), dim=0))
    return torch.cat(found) - math.log(num_samples)


def rows_of(values: Tensor | None, parts: Sequence[Batch]) -> list[Tensor | None]:
    """Values [B, ...] of the examples of each part, in their order."""
    return [None] * len(parts) if values is None else list(values.split([len(part) for part in parts]))


def _parts(model: LatentModel, batch: Batch, num_samples: int, at_once: int) -> list[Batch]:
    """Parts of a batch whose noise, and one sample of each of whose examples, may be in memory at once."""
    if model.latent_prior.latent_dim is None:
        model.draws(batch[slice(0, 1)])  # the first posterior fixes the size of z
    most = max(1, min(at_once, NOISE_NUMBERS // max(num_samples * model.latent_prior.size, 1)))
    indexed = batch.replace(index=batch.positions)
    return [indexed[slice(start, start + most)] for start in range(0, len(batch), most)]


@dataclass(frozen=True)
class Candidates:
    """Conditions that represent the distribution of a data set's conditions.

    Attributes:
        fields: raw fields of M conditions, each [M].
        weights: [M], summing to one.
        drawn: how many were drawn, the repeated ones counted; None if these are all conditions that occur.
    """

    fields: Fields
    weights: Tensor
    drawn: int | None = None


@torch.no_grad()
def condition_gain(
    model: LatentModel, batch: Batch, candidates: Candidates, num_samples: int, seed: int = 0, at_once: int = DECODES
) -> Tensor:
    """`gain_of` by importance sampling.

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        candidates: the conditions to compare with.
        num_samples: importance samples for each log p(x | c).
        seed: seed of the noise.
        at_once: as in `log_likelihood`.
    """

    def estimate(part: Batch, near: Tensor | None) -> Estimate:
        return log_likelihood(model, part, num_samples, seed, at_once, near=near)

    return gain_of(estimate, batch, candidates)


def gain_of(
    estimate: Callable[[Batch, Tensor | None], Estimate],
    batch: Batch,
    candidates: Candidates,
    own: Estimate | None = None,
) -> Tensor:
    """log p(x | c) - log sum_m w_m p(x | c_m), [B]: what knowing the condition is worth, in nats.

    The mixture over conditions is the unconditional model that the conditional one implies; with every condition and
    its frequency among the candidates, the mean over the data is the mutual information of x and c under the model.
    Where the candidates are M draws, each example's own condition is added as one more: a lower bound, at most
    log (M + 1), which is InfoNCE with the model's likelihood as critic (Poole et al. 2019, equation 10).

    Where q is refined for each example, the mode under its own condition is where the search under the others begins
    once more, and where another condition comes out higher, its mode is where that under the own one does: no condition
    falls behind because its search has failed.

    Args:
        estimate: of log p(x | c) of the examples of a batch, where it may look for z as well (`log_likelihood`).
        batch: B examples.
        candidates: the conditions to compare with.
        own: the estimate under the examples' own conditions, if it is known.
    """
    weights = candidates.weights
    found = own or estimate(batch, None)
    others = []
    for row in range(len(weights)):
        condition = {name: f[row].expand(len(batch)).to(batch.x.device) for name, f in candidates.fields.items()}
        others.append(estimate(batch.replace(condition=batch.condition | condition), found.mode))
    given, under = _searched_again(estimate, batch, found, others), [other.log_likelihood for other in others]
    if candidates.drawn is not None:
        under.append(given)
        weights = torch.cat([candidates.drawn * weights, weights.new_ones(1)]) / (candidates.drawn + 1)
    log_weights = weights.to(given.device, torch.float32).log().unsqueeze(1)
    return given - torch.logsumexp(torch.stack(under) + log_weights, dim=0)


def _searched_again(
    estimate: Callable[[Batch, Tensor | None], Estimate], batch: Batch, own: Estimate, others: Sequence[Estimate]
) -> Tensor:
    """log p(x | c) under the own condition [B], where another is higher searched near the other's mode as well."""
    if own.mode is None or not others:
        return own.log_likelihood
    highest = torch.stack([other.log_likelihood for other in others]).max(0)
    lost = highest.values > own.log_likelihood
    if not lost.any():
        return own.log_likelihood
    modes = torch.stack([other.mode for other in others if other.mode is not None])
    near = modes[highest.indices, torch.arange(len(batch), device=modes.device)]
    return own.log_likelihood.index_put((lost,), estimate(batch[lost], near[lost]).log_likelihood)


def condition_candidates(fields: Fields, tested: Fields | None = None, limit: int = 32, seed: int = 0) -> Candidates:
    """Candidates that represent the distribution of a table of conditions.

    At most `limit` distinct rows, the tested ones all among them, are taken with their frequencies. Otherwise `limit`
    rows are drawn: a mixture over conditions that lacks a tested one would overstate what knowing that one is worth.

    Args:
        fields: the conditions of the training split, each [N].
        tested: those of the examples whose gain is measured; None if they are the same.
        limit: most candidates.
        seed: seed of the draw.
    """
    table = _table(fields)
    rows, inverse, counts = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
    known = tested is None or len(torch.cat([rows, _table(tested)]).unique(dim=0)) == len(rows)
    drawn = None
    if len(rows) > limit or not known:
        chosen = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:limit]
        drawn = len(chosen)
        counts = torch.bincount(inverse[chosen], minlength=len(rows))
    taken = counts.nonzero()[:, 0].tolist()
    first = torch.stack([(inverse == row).nonzero()[0, 0] for row in taken])
    return Candidates({name: field[first] for name, field in fields.items()}, counts[taken] / counts.sum(), drawn)


def _table(fields: Fields) -> Tensor:
    """Fields [N] as the columns of a table, with minus infinity for NaN, which does not equal itself."""
    table = torch.stack([field.double().reshape(len(field)) for field in fields.values()], dim=1)
    return table.nan_to_num(nan=float("-inf"))


@torch.no_grad()
def random_latent_cost(
    model: LatentModel, batch: Batch, samples: PosteriorSamples, seed: int = 0, at_once: int = DECODES
) -> Tensor:
    """E_q[log p(x | z, c)] - log p(x | z', c) with z' from the prior, [B]: nats that a random z costs.

    Close to zero means that the decoder ignores z, however many units look active.
    """
    noise = example_noise(seed, batch.positions, (3, samples.z.shape[-1]))
    random = prior_sample(samples.prior, noise[1], noise[2, :, 0])
    z = torch.stack([reparameterize(samples.posterior, noise[0]), random])
    own, other = model.log_likelihood_of_latents(batch, z, samples.condition, at_once)
    return own - other
