"""Blocks shared by the networks of several modalities."""

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from common.nn.film import FiLM


class ResidualBlock(nn.Module):
    """h + conv(silu(FiLM(conv(silu(h))))) over two axes.

    Args:
        channels: channels of h.
        condition_dim: C.
    """

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = FiLM(condition_dim, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= 0.1  # close to the identity at first: deep stacks need no normalisation

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """h [N, channels, height, width] and c [N, C] -> [N, channels, height, width]."""
        return h + self.second(silu(self.film(self.first(silu(h)), c)))
