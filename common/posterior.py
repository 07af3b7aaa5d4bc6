"""The recognition posterior q(z | x, c): a diagonal Gaussian, and the noise that evaluation draws it with."""

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

# Two odd constants spread neighbouring (seed, index) pairs over the 32 bits that torch's CPU generator takes.
_SEED_FACTOR = 0x9E3779B1
_INDEX_FACTOR = 0x85EBCA6B


def example_noise(seed: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise [*shape[:1], B, *shape[1:]] that depends on the seed and on each example's index alone.

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


def diagonal_normal(parameters: Tensor) -> Independent:
    """N(mean, diag(scale^2)) in float32 from a network's output [..., 2 D]: means first, then log-scales."""
    mean, log_scale = parameters.float().chunk(2, dim=-1)
    return Independent(Normal(mean, log_scale.clamp(-7.0, 5.0).exp(), validate_args=False), 1)


def reparameterize(posterior: Independent, noise: Tensor) -> Tensor:
    """Z = mean + scale * noise for a diagonal Gaussian (Kingma and Welling 2014, section 2.4)."""
    base = getattr(posterior, "base_dist", None)
    if not isinstance(base, Normal):
        raise TypeError(f"encode must return a diagonal Gaussian, Independent(Normal(...), 1); got {posterior}")
    return base.loc + base.scale * noise
