"""Completion of images: choices of the hidden part, and the DataModule that hides it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.configurable import Configurable
from common.data.examples import Examples
from common.distributions.noise import example_uniform
from modalities.image.data import ImageData


@dataclass(frozen=True)
class Hiding(Configurable):
    """Base of the choices of the hidden part of an image, each from `draws` random numbers."""

    draws = 0

    def __call__(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """True where a pixel is observed, [B, 1, height, width], from uniform numbers [B, draws]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Quadrants(Hiding):
    """Observes one, two or three quadrants of an image.

    Source: Sohn, Lee and Yan 2015, "Learning Structured Output Representation using Deep Conditional Generative
    Models", section 5.1.

    Attributes:
        observed: 1 is the bottom left quadrant, 2 the left half, 3 all but the bottom right quadrant.
    """

    observed: Literal[1, 2, 3] = 1

    def __call__(self, uniform: Tensor, height: int, width: int) -> Tensor:
        visible = torch.zeros(len(uniform), 1, height, width, dtype=torch.bool, device=uniform.device)
        visible[..., height // 2 :, : width // 2] = True
        if self.observed >= 2:
            visible[..., : width // 2] = True
        if self.observed == 3:
            visible[..., : height // 2, :] = True
        return visible


@dataclass(frozen=True)
class Hole(Hiding):
    """Hides a rectangle at a random place; its sides are random shares of the image's.

    Attributes:
        sides: smallest and largest share of each side.
    """

    sides: Sequence[float] = (0.3, 0.7)
    draws = 4

    def __call__(self, uniform: Tensor, height: int, width: int) -> Tensor:
        low, high = self.sides
        inside = torch.ones(len(uniform), 1, 1, 1, dtype=torch.bool, device=uniform.device)
        for number, (size, axis) in enumerate([(height, 2), (width, 3)]):
            length = (size * (low + (high - low) * uniform[:, 2 * number])).round().clamp(1, size)
            start = ((size - length + 1) * uniform[:, 2 * number + 1]).floor().clamp_max(size - length)
            position = torch.arange(size, device=uniform.device)
            within = (position >= start.unsqueeze(1)) & (position < (start + length).unsqueeze(1))
            inside = inside & within.view(-1, 1, size, 1) if axis == 2 else inside & within.view(-1, 1, 1, size)
        return ~inside


class Completion(ImageData):
    """Images of another DataModule with a part hidden; the observed part is the condition.

    A batch holds the whole images as x and has the field `observed`: x with NaN where it is hidden.

    Args:
        data: the DataModule of the images.
        hiding: chooses the hidden part.
        coding: observed values of binarised data: the binary pixels ("as_target"), or the grey values that they were
            drawn from ("grey").
    """

    batch_option = "data.init_args.batch_size"

    def __init__(
        self, data: ImageData, hiding: Hiding = Quadrants(), coding: Literal["as_target", "grey"] = "as_target"
    ) -> None:
        super().__init__(data.batch_size, data.binarize, seed=data.seed, condition=data.condition)
        self.data, self.hiding, self.coding = data, hiding, coding

    def load(self) -> Examples:
        """The data of the other DataModule, as limited and named as it says."""
        return self.data.whole

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Images of the other DataModule, with their observed part."""
        changed = self.data.transform(batch, training)
        values = batch.x.float() / 255 if self.coding == "grey" else changed.x
        height, width = values.shape[-2:]
        observed = self.hiding(self._draws(batch, training), height, width)
        field = torch.where(observed, values, float("nan"))
        return changed.replace(condition={**changed.condition, OBSERVED: field})

    def _draws(self, batch: Batch, training: bool) -> Tensor:
        device, count = batch.x.device, self.hiding.draws
        if training or batch.index is None or not count:
            return torch.rand(len(batch), count, device=device)
        return example_uniform(self.seed + 1, batch.index, (1, count))[0]
