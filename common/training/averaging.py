"""Averages of the weights over training, which are tested and saved instead of the last weights."""

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WeightEMA(WeightAveraging):
    """Exponential moving average of weights and buffers, over a window that grows with training.

    After t steps the decay is min(decay, (1 + t) / (10 + t)). Without this warm-up, the initial weights keep a share
    of decay^t in the average: a quarter after 300 steps at .995, three quarters at .999. With it the average covers
    about the last ninth of training, and at most the last 1 / (1 - decay) steps.

    Args:
        decay: largest share of the old average in the new one.
    """

    def __init__(self, decay: float = 0.999) -> None:
        """Checks the decay.

        Raises:
            ValueError: if it is not in [0, 1).
        """
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay = decay
        super().__init__(multi_avg_fn=self.step)

    def step(self, averages: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        """Moves averages of one type towards the current values, after `updates` updates."""
        if not averages[0].is_floating_point():  # a counter or a mask has no mean
            torch._foreach_copy_(averages, current)
            return
        decay = min(self.decay, (1 + float(updates)) / (10 + float(updates)))
        torch._foreach_lerp_(averages, current, 1 - decay)
