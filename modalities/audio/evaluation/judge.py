"""The judge of audio: a small convolutional network on log-mel features, trained on the real training split alone.

`summary_judge` has a second judge of another kind: a result that only one of them supports may be an artefact of it.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import RealFigures, load_or_train, train
from common.data.examples import Examples
from modalities.audio.signal.features import LogMel

VERSION = 2  # part of the cache key: raise it when the network or its training changes
FEATURES = 64


def judged(attributes: dict[str, Attribute]) -> dict[str, Categorical]:
    """The fields that a judge can classify: categorical ones with at least two values."""
    return {
        name: attribute
        for name, attribute in attributes.items()
        if isinstance(attribute, Categorical) and len(attribute.values) > 1
    }


class AudioJudge(nn.Module):
    """Classifies every categorical condition of a clip, with one head for each field on shared features.

    Convolutions over time and frequency, then over time alone, then the mean and the maximum over time of each channel.
    It is trained with small random gains, shifts in time, and masked bands and frames.

    Args:
        attributes: the fields.
        mels: number of mel bands.
        width: channels of the first stage.
    """

    def __init__(self, attributes: dict[str, Attribute], mels: int, width: int = 16) -> None:
        super().__init__()
        self.attributes: dict[str, Attribute] = dict(judged(attributes))
        sizes = [1, width, 2 * width, 3 * width, 4 * width]
        strides = [(2, 1), (2, 2), (2, 2), (2, 2)]
        stages: list[nn.Module] = []
        for (inputs, outputs), stride in zip(pairwise(sizes), strides, strict=True):
            stages += [nn.Conv2d(inputs, outputs, (3, 5), stride, (1, 2)), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.trunk = nn.Sequential(*stages)
        bands = -(-mels // 16)
        self.time = nn.Sequential(
            nn.Conv1d(bands * sizes[-1], 96, 5, padding=2), nn.BatchNorm1d(96), nn.ReLU(),
            nn.Conv1d(96, 96, 5, padding=4, dilation=2), nn.BatchNorm1d(96), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Sequential(nn.Linear(2 * 96, FEATURES), nn.ReLU())
        counts = [len(attribute.values) for attribute in judged(attributes).values()]
        self.heads = nn.ModuleList(nn.Linear(FEATURES, count) for count in counts)
        self.real: RealFigures

    @staticmethod
    @torch.inference_mode(False)  # a test calls it in inference mode, whose tensors cannot be trained
    def of(table: Examples, features: LogMel, fingerprint: str, steps: int | None = None) -> "AudioJudge | None":
        """The judge of a table, from the cache or trained and cached now; None if no field is categorical."""
        if not judged(table.attributes):
            return None
        judge = AudioJudge(table.attributes, table.x.shape[2])
        options = {} if steps is None else {"steps": steps}
        # Of the same clips, a test of a checkpoint standardises in the checkpoint's way: such a judge is another one.
        scale = f"{features.mean:.4f}_{features.std:.4f}"
        name = "-".join(map(str, ["audio", fingerprint, scale, VERSION, *options.values()]))
        load_or_train(judge, name, lambda: judge.fit(table, features, **options))
        test = table.splits["test"]
        truth = {name: field[test] for name, field in table.fields.items()}
        judge.real = RealFigures.of(judge, [features.standardise(table.x[test])], truth)
        return judge

    def fit(self, table: Examples, features: LogMel, steps: int = 600, batch_size: int = 64, seed: int = 0) -> None:
        """Trains on the training split.

        Args:
            table: clips and fields.
            features: how the clips are standardised.
            steps: optimiser steps.
            batch_size: clips per step.
            seed: seed of weights, order and augmentation.
        """
        rows = table.splits["train"]

        def loss() -> Tensor:
            chosen = rows[torch.randint(len(rows), (min(batch_size, len(rows)),))]
            x = distort(features.standardise(table.x[chosen]), features.silence)
            return self._loss(x, {name: table.fields[name][chosen] for name in self.attributes})

        train(self, loss, steps, seed, weight_decay=0.02)

    def _loss(self, x: Tensor, truth: Fields) -> Tensor:
        h = self._hidden(x)
        loss = h.new_zeros(())
        for name, head in zip(self.attributes, self.heads, strict=True):
            known = truth[name] >= 0
            if known.any():
                loss = loss + nn.functional.cross_entropy(head(h[known]), truth[name][known], label_smoothing=0.05)
        return loss

    def _hidden(self, x: Tensor) -> Tensor:
        h = self.trunk(x.contiguous(memory_format=torch.channels_last))
        h = self.time(h.flatten(1, 2))
        return self.last(torch.cat([h.mean(-1), h.amax(-1)], dim=1))

    def features(self, x: Tensor) -> Tensor:
        """Features before the heads, [B, 64]."""
        with torch.no_grad():
            return torch.cat([self._hidden(part) for part in x.split(200)])

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted category of each field, [B], for standardised features."""
        h = self.features(x)
        return {name: head(h).argmax(-1) for name, head in zip(self.attributes, self.heads, strict=True)}


def distort(x: Tensor, silence: float, gain: float = 0.2, bands: int = 6, frames: int = 8, shift: int = 4) -> Tensor:
    """Augments clips by a random gain, a shift in time, and a silent stripe of bands and one of frames.

    Args:
        x: standardised features [B, 1, mels, frames].
        silence: standardised value of silence.
        gain: largest gain, in standardised units.
        bands: widest masked stripe of bands.
        frames: widest masked stripe of frames.
        shift: largest shift in frames.
    """
    size, _, mels, length = x.shape
    x = x + (torch.rand(size, 1, 1, 1) * 2 - 1) * gain
    move = torch.randint(-shift, shift + 1, (size, 1))
    place = torch.arange(length) + move
    x = x.gather(-1, place.clamp(0, length - 1).view(size, 1, 1, length).expand_as(x))
    hidden = _stripe(size, mels, bands).view(size, 1, mels, 1) | _stripe(size, length, frames).view(size, 1, 1, length)
    return x.masked_fill(hidden, silence).clamp_min(silence)


def _stripe(size: int, length: int, widest: int) -> Tensor:
    """True in a random stripe of each row, [size, length]."""
    width = torch.randint(0, widest + 1, (size, 1))
    start = (torch.rand(size, 1) * (length - width)).long()
    place = torch.arange(length)
    return (place >= start) & (place < start + width)
