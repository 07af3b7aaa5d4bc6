"""Noise that depends only on the seed and on each example, and samples made from it."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, Normal

from common.distributions.flows import Flow

# Two odd constants spread neighbouring (seed, index) pairs over the 32 bits that torch's CPU generator takes.
_SEED_FACTOR = 0x9E3779B1
_INDEX_FACTOR = 0x85EBCA6B


def example_noise(seed: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise [*shape[:1], B, *shape[1:]] that depends only on the seed and on each example's index.

    It is drawn on the CPU, so that every device, batch size and number of processes sees the same noise.

    Args:
        seed: seed of the evaluation.
        index: [B], position of each example in its split.
        shape: shape of the noise of one example; its first dimension (importance samples) comes first in the result.
    """
    generator = torch.Generator()
    draws = []
    for position in index.tolist():
        generator.manual_seed((seed * _SEED_FACTOR + position * _INDEX_FACTOR) % 2**32)
        draws.append(torch.randn(shape, generator=generator))
    return torch.stack(draws, dim=1).to(index.device)


def example_uniform(seed: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Uniform noise in [0, 1], [*shape[:1], B, *shape[1:]]: the probabilities of `example_noise` under N(0, 1)."""
    return torch.special.ndtr(example_noise(seed, index, shape))


def reparameterize(posterior: Independent, noise: Tensor) -> Tensor:
    """z = mean + scale * noise for a diagonal Gaussian (Kingma and Welling 2014, section 2.4)."""
    base = getattr(posterior, "base_dist", None)
    if not isinstance(base, Normal):
        raise TypeError(f"encode must return a diagonal Gaussian, Independent(Normal(...), 1); got {posterior}")
    return base.loc + base.scale * noise


def prior_samples(prior: Distribution, num_samples: int, seed: int, index: Tensor) -> Tensor:
    """K draws from the prior p(z | c) of B examples that depend on the seed and on each example's index: [K, B, D].

    Args:
        prior: batch shape [B]: a diagonal Gaussian, a flow, or a mixture of Gaussians.
        num_samples: K.
        seed: seed of the evaluation.
        index: [B], position of each example in its split.
    """
    size = prior.event_shape[-1]
    if isinstance(prior, Independent):
        return reparameterize(prior, example_noise(seed, index, (num_samples, size)))
    noise = example_noise(seed, index, (num_samples, size + 1))
    return torch.stack([prior_sample(prior, eps[:, 1:], eps[:, 0]) for eps in noise])


def prior_sample(prior: Distribution, noise: Tensor, choice: Tensor) -> Tensor:
    """A draw from the prior, [B, D], made from noise [B, D] and, for a mixture, standard normal numbers [B].

    Raises:
        TypeError: for a prior that is neither a diagonal Gaussian, nor a flow, nor a mixture of Gaussians.
    """
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
