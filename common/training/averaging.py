"""Averages of the weights over training, which are tested and saved instead of the last weights."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim.swa_utils import AveragedModel


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
        self._pairs: list[tuple[dict[str, Any], dict[str, Any], str]] = []  # of a module's average and the module
        super().__init__(multi_avg_fn=self.step)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """As in the base; another training has averages of its own, from its first step on.

        Raises:
            ValueError: if the weights are divided among processes, each of which would need a whole average.
        """
        if stage != "fit":
            return
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise ValueError("averages of weights that are divided among processes are not kept: --averaging null")
        self._pairs, self._latest_update_step = [], 0
        # What the base's setup does, which warns of each model that could be divided.
        device = self._device or pl_module.device
        self._average_model = AveragedModel(pl_module, device=device, use_buffers=self._use_buffers, **self._kwargs)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the averages after each step of the optimiser. The first one copies."""
        average = self._average_model
        assert average is not None
        if trainer.global_step <= self._latest_update_step:
            return
        if not self._pairs:
            average.to(pl_module.device)  # Lightning makes it before the model is on its device
            moved: set[int] = set()  # a weight of several modules moves once
            for mean, module in zip(average.module.modules(), pl_module.modules(), strict=True):
                for averages, current in ((mean._parameters, module._parameters), (mean._buffers, module._buffers)):
                    for name, weight in averages.items():
                        if weight is not None and id(weight) not in moved:
                            moved.add(id(weight))
                            self._pairs.append((averages, current, name))
        if average.n_averaged == 0:
            average.update_parameters(pl_module)
        else:
            self._move(average.n_averaged)
            average.n_averaged += 1
        self._latest_update_step = trainer.global_step

    @torch.no_grad()
    def _move(self, updates: Tensor) -> None:
        """What `update_parameters` does, which walks through all modules and groups their weights in each step."""
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for averages, current, name in self._pairs:
            means, values = groups.setdefault(averages[name].dtype, ([], []))
            means.append(averages[name])
            values.append(current[name])
        for means, values in groups.values():
            self.step(means, values, updates)

    def step(self, averages: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        """Moves averages of one type towards the current values, after `updates` updates."""
        if not averages[0].is_floating_point():  # a counter or a mask has no mean
            torch._foreach_copy_(averages, current)
            return
        decay = min(self.decay, (1 + float(updates)) / (10 + float(updates)))
        torch._foreach_lerp_(averages, current, 1 - decay)
