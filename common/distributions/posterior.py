"""The recognition posterior q(z | x, c): a diagonal Gaussian."""

from torch import Tensor
from torch.distributions import Independent, Normal


def diagonal_normal(parameters: Tensor) -> Independent:
    """N(mean, diag(scale^2)) in float32 from a network's output [..., 2 D]: means first, then log-scales."""
    mean, log_scale = parameters.float().chunk(2, dim=-1)
    return Independent(Normal(mean, log_scale.clamp(-7.0, 5.0).exp(), validate_args=False), 1)
