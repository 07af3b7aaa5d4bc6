"""The judges of images: a small convolutional network that predicts conditions, and support-vector machines."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from common.conditions.attributes import Attribute, Categorical, Continuous, Fields
from common.conditions.classifier import RealFigures, load_or_train, train
from common.data.examples import Examples
from common.evaluation.second_judge import StatisticsJudge, second_judge, support_vectors

VERSION = 1  # part of the cache key: raise it when the network or its training changes
SIDE = 16  # most pixels of a side that the second judge sees


class ImageJudge(nn.Module):
    """Predicts every condition field of an image, with one head per field on shared features.

    It is trained on the real training split alone, with small random shifts, rotations and zooms.

    Args:
        attributes: the fields.
        channels: 1 or 3.
        width: channels of the first stage.
    """

    def __init__(self, attributes: dict[str, Attribute], channels: int, width: int = 16) -> None:
        super().__init__()
        self.attributes = attributes
        sizes = [channels, width, 2 * width, 4 * width]
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            stages += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        self.trunk = nn.Sequential(
            *stages, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(9 * sizes[-1], 128), nn.ReLU()
        )
        self.heads = nn.ModuleList(nn.Linear(128, _outputs(attribute)) for attribute in attributes.values())
        self.real: RealFigures

    @staticmethod
    @torch.inference_mode(False)  # may be called in a test, whose inference mode excludes training
    def of(table: Examples, fingerprint: str, steps: int | None = None) -> "ImageJudge":
        """The judge of a data set, from the cache or trained now and cached."""
        judge = ImageJudge(table.attributes, table.x.shape[1])
        options = {} if steps is None else {"steps": steps}
        name = "-".join(map(str, ["image", fingerprint, VERSION, *options.values()]))
        load_or_train(judge, name, lambda: judge.fit(table, **options))
        test = table.splits["test"]
        truth = {name: field[test] for name, field in table.fields.items()}
        judge.real = RealFigures.of(judge, (table.x[part].float() / 255 for part in test.split(500)), truth)
        return judge

    def fit(self, table: Examples, steps: int = 800, batch_size: int = 128, seed: int = 0) -> None:
        """Trains on the training split.

        Args:
            table: images and fields.
            steps: optimiser steps.
            batch_size: images per step.
            seed: seed of weights, order and augmentation.
        """
        rows = table.splits["train"]

        def loss() -> Tensor:
            chosen = rows[torch.randint(len(rows), (min(batch_size, len(rows)),))]
            x = distort(table.x[chosen].float() / 255)
            return self._loss(x, {name: field[chosen] for name, field in table.fields.items()})

        train(self, loss, steps, seed, weight_decay=0.01)

    def _loss(self, x: Tensor, truth: Fields) -> Tensor:
        h = self.trunk(x)
        loss = h.new_zeros(())
        for (name, attribute), head in zip(self.attributes.items(), self.heads, strict=True):
            known = ~attribute.missing(truth[name])
            if not known.any():
                continue
            output, target = head(h[known]), truth[name][known]
            if isinstance(attribute, Continuous):
                standard = (target - attribute.mean) / attribute.std
                loss = loss + nn.functional.smooth_l1_loss(output[:, 0], standard)
            else:
                loss = loss + nn.functional.cross_entropy(output, target, label_smoothing=0.05)
        return loss

    def features(self, x: Tensor) -> Tensor:
        """Features before the heads, [B, 128]."""
        with torch.no_grad():
            return self.trunk(x)

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted raw value of each field, [B], for images in [0, 1]."""
        h = self.features(x)
        values = {}
        for (name, attribute), head in zip(self.attributes.items(), self.heads, strict=True):
            if isinstance(attribute, Continuous):
                values[name] = head(h)[:, 0] * attribute.std + attribute.mean
            else:
                values[name] = head(h).argmax(-1)
        return values


def distort(x: Tensor, turn: float = 10.0, shift: float = 0.08, zoom: float = 0.1) -> Tensor:
    """Each image rotated (degrees), shifted (share of the side) and zoomed (share) at random."""
    size = len(x)
    angle = (torch.rand(size) * 2 - 1) * math.radians(turn)
    scale = 1 + (torch.rand(size) * 2 - 1) * zoom
    move = (torch.rand(size, 2) * 2 - 1) * 2 * shift
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cosine, -sine, move[:, 0]], 1), torch.stack([sine, cosine, move[:, 1]], 1)]
    grid = nn.functional.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _outputs(attribute: Attribute) -> int:
    return len(attribute.values) if isinstance(attribute, Categorical) else 1


def pixel_judge(table: Examples, steps: int | None = None) -> StatisticsJudge | None:
    """Support-vector machines on the pixels of images of at most 16 x 16; None where there is nothing to read.

    Args:
        table: images and fields.
        steps: as in `second_judge`.
    """
    judge = StatisticsJudge(dict(table.attributes), _small, partial(support_vectors, scaled=False))
    return second_judge(table, judge, lambda x: x.float() / 255, steps)


def _small(x: Tensor) -> Any:
    """Pixels [B, F] of images [B, C, H, W] in [0, 1], made smaller."""
    height, width = (min(SIDE, side) for side in x.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(x, (height, width)).flatten(1).numpy()
