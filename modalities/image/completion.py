"""Completion of images: what is shown of each, and the DataModule that hides the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.configurable import Configurable
from common.data.table import Table
from common.distributions.noise import example_noise
from modalities.image.data import ImageData


@dataclass(frozen=True)
class Hiding(Configurable):
    """What is hidden of an image. `draws` says how many random numbers an image takes."""

    draws = 0

    def __call__(self, uniform: Tensor, height: int, width: int) -> Tensor:
        """True where a pixel is observed, [B, 1, height, width], from uniform numbers [B, draws]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Quadrants(Hiding):
    """Observed quadrants: 1 is the bottom left one, 2 the left half, 3 all but the bottom right one.

    Source: Sohn, Lee and Yan 2015, "Learning Structured Output Representation using Deep Conditional Generative
    Models", section 5.1.
    """

    observed: Literal[1, 2, 3] = 1

    def __call__(self, uniform: Tensor, height: int, width: int) -> Tensor:
        shown = torch.zeros(len(uniform), 1, height, width, dtype=torch.bool, device=uniform.device)
        shown[..., height // 2 :, : width // 2] = True
        if self.observed >= 2:
            shown[..., : width // 2] = True
        if self.observed == 3:
            shown[..., : height // 2, :] = True
        return shown


@dataclass(frozen=True)
class Hole(Hiding):
    """A rectangle anywhere is hidden; its sides are shares of the image's, drawn from a range.

    Attributes:
        sides: least and greatest share of each side.
    """

    sides: Sequence[float] = (0.3, 0.7)
    draws = 4

    def __call__(self, uniform: Tensor, height: int, width: int) -> Tensor:
        low, high = self.sides
        inside = torch.ones(len(uniform), 1, 1, 1, dtype=torch.bool, device=uniform.device)
        for number, (size, axis) in enumerate([(height, 2), (width, 3)]):
            length = (size * (low + (high - low) * uniform[:, 2 * number])).round().clamp(1, size)
            start = ((size - length + 1) * uniform[:, 2 * number + 1]).floor().clamp_max(size - length)
            place = torch.arange(size, device=uniform.device)
            within = (place >= start.unsqueeze(1)) & (place < (start + length).unsqueeze(1))
            inside = inside & within.view(-1, 1, size, 1) if axis == 2 else inside & within.view(-1, 1, 1, size)
        return ~inside


class Completion(ImageData):
    """Images of another DataModule with a part of each hidden: the rest is their condition.

    A batch keeps whole images as x, to be completed, and has the field `observed`: x with NaN where it is hidden.

    Args:
        data: where the images come from.
        hiding: what is hidden.
        coding: what the observed part shows of data that is binarised: the binary pixels, or the grey ones that they
            were drawn from.
    """

    def __init__(
        self, data: ImageData, hiding: Hiding = Quadrants(), coding: Literal["as_target", "grey"] = "as_target"
    ) -> None:
        super().__init__(data.batch_size, data.binarize, data.seed, data.condition)
        self.data, self.hiding, self.coding = data, hiding, coding

    def load(self) -> Table:
        """The other module's data."""
        return self.data.load()

    def judge(self) -> None:
        """None: whole images cannot be asked for."""
        return

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Images of the other module, and what is observed of them."""
        changed = self.data.transform(batch, training)
        shown = batch.x.float() / 255 if self.coding == "grey" else changed.x
        height, width = shown.shape[-2:]
        observed = self.hiding(self._draws(batch, training), height, width)
        field = torch.where(observed, shown, float("nan"))
        return changed.replace(condition={**changed.condition, OBSERVED: field})

    def _draws(self, batch: Batch, training: bool) -> Tensor:
        device, count = batch.x.device, self.hiding.draws
        if training or batch.index is None or not count:
            return torch.rand(len(batch), count, device=device)
        return torch.special.ndtr(example_noise(self.seed + 1, batch.index, (1, count))[0])
