"""What the latent carries: mutual information with the data, and the number of active units."""

import math

import torch
from torch import Tensor

from common.data.splits import some_rows
from common.distributions.noise import example_noise


def mutual_information(mean: Tensor, std: Tensor, seed: int = 0, limit: int = 2000) -> tuple[float, int]:
    """I(x; z) = E[log q(z | x)] - E[log 1/N sum_j q(z | x_j)] over N examples, and N.

    At most log N. Source: Hoffman and Johnson 2016, "ELBO surgery"; estimator of He et al. 2019, section 4.1.

    Args:
        mean: posterior means [N, D].
        std: posterior standard deviations [N, D].
        seed: seed of the draws.
        limit: at most this many examples are used, drawn at random.
    """
    rows = some_rows(len(mean), limit)
    mean, std = mean[rows].double(), std[rows].double()
    mean = mean - mean.mean(0)  # shifts z as well; small numbers reduce rounding in the differences below
    noise = example_noise(seed, torch.arange(len(mean)), (1, mean.shape[1]))[0].double()
    z, precision = mean + std * noise, std**-2
    own = -0.5 * (noise**2).sum(-1)
    # (z_i - m_j)^2 / s_j^2 of all pairs by matrix products, which avoid memory of N x N x D.
    squares = z**2 @ precision.T - 2 * z @ (mean * precision).T + (mean**2 * precision).sum(-1)
    pairs = -0.5 * squares - std.log().sum(-1)
    aggregate = torch.logsumexp(pairs, dim=1) - math.log(len(mean))
    return float((own - std.log().sum(-1) - aggregate).mean()), len(mean)


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """Latent units whose posterior mean varies over the data: Var_x(E[z_d | x]) > threshold, from means [N, D].

    0 for a single example. Source: Burda, Grosse and Salakhutdinov 2016, section 5.2.
    """
    return int((mean.var(dim=0) > threshold).sum()) if len(mean) > 1 else 0


def effective_units(mean: Tensor) -> float:
    """Directions in which the posterior means [N, D] vary: exp of the entropy of their covariance's eigenvalues.

    D for uncorrelated units of equal variance; identical units count as one. 0 where nothing varies.
    Source: Roy and Vetterli 2007, "The effective rank", definition 1, of the covariance.
    """
    values = torch.linalg.eigvalsh(torch.atleast_2d(torch.cov(mean.double().T))).clamp_min(0)
    if values.sum() < 1e-12:
        return 0.0
    return float(torch.distributions.Categorical(probs=values / values.sum()).entropy().exp())


def informative_units(kl_per_unit: Tensor, threshold: float = 0.05) -> int:
    """Latent units whose mean KL exceeds the threshold in nats, from [N, D]."""
    return int((kl_per_unit.mean(0) > threshold).sum())
