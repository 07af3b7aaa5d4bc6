"""Activation checkpointing: parts of a network are computed again in the backward pass in place of being kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Checkpointed(nn.Module):
    """A network that can compute parts of itself again (Chen et al. 2016, "Training Deep Nets with Sublinear Memory").

    Attributes:
        checkpointing: whether it does. Losses and gradients are the same: dropout draws its numbers again.
    """

    checkpointing = False

    def recomputed(self, part: Callable[..., Any], *arguments: Any) -> Any:
        """What a part gives; with checkpointing, its arguments alone are kept for the backward pass."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(part, *arguments, use_reentrant=False)
        return part(*arguments)

    def checkpoint(self) -> None:
        """Turns it on."""
        self.checkpointing = True
