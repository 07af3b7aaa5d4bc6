"""Averages of the weights over training, which are tested and saved in place of the last ones."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class WeightEMA(WeightAveraging):
    """Exponential moving average of weights and buffers, whose memory grows with training.

    After t steps the decay is min(decay, (1 + t) / (10 + t)). Without this warm-up, decay^t of the average are still
    the weights that training began with: a quarter after 300 steps at .995, three quarters at .999. With it the average
    reaches back over about the last ninth of training, until it reaches back over 1 / (1 - decay) steps.

    Args:
        decay: share of the average that a step keeps, at the most.
    """

    def __init__(self, decay: float = 0.999) -> None:
        """Checks the decay.

        Raises:
            ValueError: if it is not in [0, 1).
        """
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay = decay
        super().__init__(avg_fn=self.step)

    def step(self, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        """The next average from the present one and the current value, after `updates` of them."""
        decay = min(self.decay, (1 + float(updates)) / (10 + float(updates)))
        return average + (1 - decay) * (current - average)
