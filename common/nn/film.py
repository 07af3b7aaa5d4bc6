"""How a condition embedding c [B, C] enters a network."""

import torch
from torch import Tensor, nn


def expand(c: Tensor, z: Tensor) -> Tensor:
    """c [B, C] repeated along the leading dimensions of z [..., B, D]: [..., B, C]."""
    return c.expand(*z.shape[:-1], c.shape[-1])


def concatenate(h: Tensor, c: Tensor) -> Tensor:
    """[h, c] along the last dimension, c repeated as needed."""
    return torch.cat([h, expand(c, h).to(h.dtype)], dim=-1)


class FiLM(nn.Module):
    """h * (1 + scale(c)) + shift(c) for each channel; the identity before training.

    Source: Perez et al. 2018, "FiLM: Visual Reasoning with a General Conditioning Layer", equation 2.

    Args:
        condition_dim: C.
        channels: channels of h.
    """

    def __init__(self, condition_dim: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition_dim, 2 * channels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """h [N, channels, ...] and c [N, C] -> [N, channels, ...]."""
        scale, shift = self.linear(c).reshape(len(c), -1, *[1] * (h.dim() - 2)).chunk(2, dim=1)
        return h * (1 + scale) + shift
