"""Estimators of likelihood and of what the latent carries. Everything is in nats; nothing here trains.

A model is anything with `condition`, `encode`, `decode` and `prior` as in `common.training.module.ConditionalELBO`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent

from common.batch import Batch
from common.conditions.attributes import Fields
from common.distributions.likelihoods import log_prob
from common.distributions.noise import example_noise, prior_draw, reparameterize

# Bounds of what is in memory at once.
NOISE_NUMBERS = 8_000_000
DECODES = 1_000


@dataclass(frozen=True)
class ImportanceEstimate:
    """log p(x | c) and the effective number of importance samples behind it, each [B]."""

    log_likelihood: Tensor
    effective_sample_size: Tensor


@torch.no_grad()
def log_likelihood(model: Any, batch: Batch, num_samples: int, seed: int = 0) -> ImportanceEstimate:
    """Log p(x | c) = log 1/K sum_k p(x | z_k, c) p(z_k | c) / q(z_k | x, c), z_k ~ q(z | x, c).

    A lower bound in expectation that tightens with K (Burda et al. 2016, theorem 1). With a mask, that of the observed
    values. Memory is bounded whatever K and B; the result does not depend on the batch an example came in.

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        num_samples: K.
        seed: with each example's index it fixes the noise.
    """
    rows_at_once = max(1, min(len(batch), DECODES, NOISE_NUMBERS // max(num_samples * _latent_dim(model, batch), 1)))
    parts = []
    for start in range(0, len(batch), rows_at_once):
        part = batch.replace(index=batch.positions)[slice(start, start + rows_at_once)]
        parts.append(_log_weights(model, part, num_samples, seed))
    log_weights = torch.cat(parts, dim=1)
    total = torch.logsumexp(log_weights, dim=0)
    effective = torch.exp(2 * total - torch.logsumexp(2 * log_weights, dim=0))
    return ImportanceEstimate(total - math.log(num_samples), effective)


def _latent_dim(model: Any, batch: Batch) -> int:
    first = batch[slice(0, 1)]
    return int(model.encode(first.x, model.condition(first.condition)).event_shape[-1])


def _log_weights(model: Any, batch: Batch, num_samples: int, seed: int) -> Tensor:
    """Log importance weights, [K, B]."""
    c = model.condition(batch.condition).expand(len(batch), -1)
    posterior, prior = model.encode(batch.shown(getattr(model, "hidden_value", 0.0)).x, c), model.prior(c)
    noise = example_noise(seed, batch.positions, (num_samples, posterior.event_shape[-1]))
    chunks = []
    for eps in noise.split(max(1, DECODES // len(batch))):
        z = reparameterize(posterior, eps)
        likelihood = log_prob(model.decode(z, c), batch.x, batch.mask)
        chunks.append(likelihood + prior.log_prob(z) - posterior.log_prob(z))
    return torch.cat(chunks)


@torch.no_grad()
def prior_log_likelihood(model: Any, batch: Batch, num_samples: int, seed: int = 0) -> Tensor:
    """Log p(x | c) = log 1/K sum_k p(x | z_k, c), z_k ~ p(z | c), [B]: plain Monte Carlo.

    A lower bound in expectation, and a loose one where the posterior is far from the prior: `log_likelihood` is the
    better estimate. It is what Sohn, Lee and Yan 2015 (equation 6) report beside it.

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        num_samples: K.
        seed: with each example's index it fixes the noise.
    """
    c = model.condition(batch.condition).expand(len(batch), -1)
    prior = model.prior(c)
    noise = example_noise(seed, batch.positions, (num_samples, prior.event_shape[-1] + 1))
    chunks = []
    for part in noise.split(max(1, DECODES // len(batch))):
        z = torch.stack([prior_draw(prior, eps[:, 1:], eps[:, 0]) for eps in part])
        chunks.append(log_prob(model.decode(z, c), batch.x, batch.mask))
    return torch.logsumexp(torch.cat(chunks), dim=0) - math.log(num_samples)


@torch.no_grad()
def condition_gain(
    model: Any, batch: Batch, candidates: Fields, weights: Tensor, exact: bool, num_samples: int, seed: int = 0
) -> Tensor:
    """Log p(x | c) - log sum_m w_m p(x | c_m), [B]: what knowing the condition is worth, in nats.

    The mixture over conditions is the unconditional model that the conditional one implies; with every condition and
    its frequency among the candidates, the mean over the data is the mutual information of x and c under the model.
    With M drawn conditions, each example's own joins them: a lower bound, at most log (M + 1), which is InfoNCE with
    the model's likelihood as critic (Poole et al. 2019, equation 10).

    Args:
        model: the model, in evaluation mode.
        batch: B examples.
        candidates: raw fields of M conditions, each [M].
        weights: [M], summing to one.
        exact: whether the candidates are all the conditions there are.
        num_samples: importance samples for each log p(x | c).
        seed: seed of the noise.
    """
    own = log_likelihood(model, batch, num_samples, seed).log_likelihood
    under = []
    for row in range(len(weights)):
        condition = {name: field[row].expand(len(batch)).to(batch.x.device) for name, field in candidates.items()}
        other = batch.replace(condition=batch.condition | condition)
        under.append(log_likelihood(model, other, num_samples, seed).log_likelihood)
    if not exact:
        under.append(own)
        weights = torch.full((len(under),), 1 / len(under))
    log_weights = weights.to(own.device, torch.float32).log().unsqueeze(1)
    return own - torch.logsumexp(torch.stack(under) + log_weights, dim=0)


def condition_candidates(fields: Fields, limit: int = 32, seed: int = 0) -> tuple[Fields, Tensor, bool]:
    """Conditions that stand for the distribution of a table of them: fields [M], weights [M], and whether it is exact.

    Up to `limit` distinct rows are all taken with their frequencies (exact); of more, `limit` are drawn.
    """
    table = torch.stack([field.double().reshape(len(field)) for field in fields.values()], dim=1)
    table = table.nan_to_num(nan=float("-inf"))  # NaN equals nothing, itself included
    rows, inverse, counts = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
    if len(rows) <= limit:
        first = torch.stack([(inverse == row).nonzero()[0, 0] for row in range(len(rows))])
        return {name: field[first] for name, field in fields.items()}, counts / counts.sum(), True
    chosen = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:limit]
    return {name: field[chosen] for name, field in fields.items()}, torch.full((limit,), 1 / limit), False


@torch.no_grad()
def random_latent_cost(model: Any, batch: Batch, posterior: Independent, c: Tensor, seed: int = 0) -> Tensor:
    """E_q[log p(x | z, c)] - log p(x | z', c) with z' from the prior, [B]: nats that a random z costs.

    Close to zero means that the decoder ignores z, however many units look active.
    """
    noise = example_noise(seed, batch.positions, (3, posterior.event_shape[-1]))
    random = prior_draw(model.prior(c), noise[1], noise[2, :, 0])
    z = torch.stack([reparameterize(posterior, noise[0]), random])
    own, other = log_prob(model.decode(z, c), batch.x, batch.mask)
    return own - other
