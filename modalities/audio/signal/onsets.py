"""Onsets: where a sound begins."""

import torch
from torch import Tensor


def onset_strength(log_mel: Tensor) -> Tensor:
    """Onset strength [B, T]: the rise of log-mel powers [B, 1, M, T] from frame to frame, averaged over bands."""
    rise = (log_mel[..., 1:] - log_mel[..., :-1]).clamp_min(0).mean(dim=(1, 2))
    return torch.nn.functional.pad(rise, (1, 0))
