"""Estimators of likelihood and of what the latent carries. Everything is in nats; nothing here trains.

A model is anything with `condition`, `encode`, `decode` and `prior` as in `common.module.ConditionalELBO`.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, MixtureSameFamily

from common.batch import Batch
from common.conditions import Fields
from common.flows import Flow
from common.likelihoods import log_prob
from common.posterior import example_noise, reparameterize

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


def mutual_information(mean: Tensor, std: Tensor, seed: int = 0, limit: int = 2000) -> tuple[float, int]:
    """I(x; z) = E[log q(z | x)] - E[log 1/N sum_j q(z | x_j)] over N examples, and N.

    Never more than log N. Source: Hoffman and Johnson 2016, "ELBO surgery"; estimator of He et al. 2019, section 4.1.

    Args:
        mean: posterior means [N, D].
        std: posterior standard deviations [N, D].
        seed: seed of the draws.
        limit: at most this many examples are used.
    """
    mean, std = mean[:limit].double(), std[:limit].double()
    mean = mean - mean.mean(0)  # shifts z as well; small numbers keep the differences below exact
    noise = example_noise(seed, torch.arange(len(mean)), (1, mean.shape[1]))[0].double()
    z, precision = mean + std * noise, std**-2
    own = -0.5 * (noise**2).sum(-1)
    # (z_i - m_j)^2 / s_j^2 of all pairs by matrix products, which need no memory of N x N x D.
    squares = z**2 @ precision.T - 2 * z @ (mean * precision).T + (mean**2 * precision).sum(-1)
    pairs = -0.5 * squares - std.log().sum(-1)
    aggregate = torch.logsumexp(pairs, dim=1) - math.log(len(mean))
    return float((own - std.log().sum(-1) - aggregate).mean()), len(mean)


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """Latent units whose posterior mean varies over the data: Var_x(E[z_d | x]) > threshold, from means [N, D].

    Source: Burda, Grosse and Salakhutdinov 2016, section 5.2.
    """
    return int((mean.var(dim=0) > threshold).sum())


def effective_units(mean: Tensor) -> float:
    """Directions in which the posterior means [N, D] vary: exp of the entropy of their covariance's eigenvalues.

    D for uncorrelated units of one variance; units that repeat each other count as one. 0 where nothing varies.
    Source: Roy and Vetterli 2007, "The effective rank", definition 1, of the covariance.
    """
    values = torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(mean.double().T))).clamp_min(0)
    if values.sum() < 1e-12:
        return 0.0
    return float(torch.distributions.Categorical(probs=values / values.sum()).entropy().exp())


def informative_units(kl_per_unit: Tensor, threshold: float = 0.05) -> int:
    """Latent units whose mean KL exceeds the threshold in nats, from [N, D]."""
    return int((kl_per_unit.mean(0) > threshold).sum())


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


def prior_draw(prior: Any, noise: Tensor, choice: Tensor) -> Tensor:
    """A draw from the prior, [B, D], made of noise [B, D] and, for a mixture, standard normal numbers [B]."""
    if isinstance(prior, Independent):
        return reparameterize(prior, noise)
    if isinstance(prior, Flow):
        return prior.push(noise)
    if not isinstance(prior, MixtureSameFamily):
        raise TypeError(f"cannot draw reproducibly from {prior}")
    cumulative = prior.mixture_distribution.probs.cumsum(-1)
    uniform = torch.special.ndtr(choice).unsqueeze(-1)
    component = (cumulative < uniform).sum(-1).clamp_max(cumulative.shape[-1] - 1)
    base: Any = prior.component_distribution.base_dist  # type: ignore[attr-defined]
    rows = torch.arange(len(component), device=component.device)
    return base.loc[rows, component] + base.scale[rows, component] * noise


def latent_leakage(z: Tensor, field: Tensor, seed: int = 0, folds: int = 5) -> tuple[float, float]:
    """What a linear probe reads of a categorical condition from z: accuracy above the majority rate, and its error.

    Five-fold cross-validated logistic regression on standardised posterior draws; a value near zero says that z is free
    of the condition. Classes with fewer examples than folds are left out.

    Args:
        z: posterior draws [N, D].
        field: categories [N]; missing ones (-1) are left out.
        seed: seed of the folds.
        folds: number of folds.

    Returns:
        Accuracy minus the majority rate, and the standard error of the accuracy.

    Raises:
        ValueError: if fewer than two classes have enough examples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, features = field.numpy(), z.numpy()
    values, counts = np.unique(labels[labels >= 0], return_counts=True)
    kept = np.isin(labels, values[counts >= folds])
    labels, features = labels[kept], features[kept]
    if len(np.unique(labels)) < 2:
        raise ValueError("leakage needs two classes with at least as many examples as folds")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracy = float(cross_val_score(probe, features, labels, cv=splits).mean())
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    return accuracy - float(majority), math.sqrt(accuracy * (1 - accuracy) / len(labels))
