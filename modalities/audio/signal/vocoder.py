"""Vocoders, which turn log-mel features into sound: Griffin-Lim, or a neural vocoder of `transformers`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torchaudio.functional import griffinlim

from common.configurable import Configurable
from modalities.audio.signal.features import LogMel
from modalities.audio.signal.windows import cross_fade

ROWS = 50  # clips that are decoded or turned into sound at once
SEGMENT = 512  # frames that are turned into sound at once
OVERLAP = 16  # frames that two segments share


@dataclass(frozen=True)
class Vocoder(Configurable):
    """Base of the vocoders."""

    def check(self, features: LogMel) -> None:
        """Raises ValueError if the vocoder cannot read these features."""

    def segment(self, log_mel: Tensor, features: LogMel) -> Tensor:
        """Waveforms [B, frames * hop] from natural log-mel power [B, mels, frames]."""
        raise NotImplementedError

    def __call__(self, log_mel: Tensor, features: LogMel) -> Tensor:
        """Waveforms [B, frames * hop] from natural log-mel power [B, mels, frames] of any length.

        Long spectrograms are processed in cross-faded segments, so that memory is bounded.
        """
        self.check(features)
        total, hop = log_mel.shape[-1], features.hop
        parts = (
            (start * hop, self.segment(log_mel[..., start:end], features)[..., : (end - start) * hop])
            for start, end in segments(total)
        )
        return cross_fade(parts, total * hop, OVERLAP * hop)

    @torch.no_grad()
    def sound(self, x: Tensor, features: LogMel) -> Tensor:
        """Waveforms [B, T * hop] of standardised features [B, 1, mels, T]."""
        return torch.cat([self(features.restore(part[:, 0]), features) for part in x.split(ROWS)])

    def round_trip(self, x: Tensor, features: LogMel) -> Tensor:
        """Standardised features [B, 1, mels, T] turned into sound and analysed again."""
        return torch.cat([features.hear(self.sound(part, features)) for part in x.split(ROWS)])


def segments(total: int) -> Iterator[tuple[int, int]]:
    """Start and end of each segment of a spectrogram of `total` frames; none is shorter than the overlap."""
    start = 0
    while True:
        end = start + SEGMENT
        if end + OVERLAP >= total:
            yield start, total
            return
        yield start, end
        start = end - OVERLAP


@dataclass(frozen=True)
class GriffinLim(Vocoder):
    """Mel inversion by non-negative least squares, then the phase by Griffin-Lim from zero, which is deterministic.

    The inversion starts at the clamped pseudo-inverse of the mel matrix F and takes multiplicative steps
    Q <- Q * F'M / (F'F Q), which keep Q >= 0 (Lee and Seung 2001, theorem 1). Source of the phase: Griffin and Lim
    1984; the fast variant with momentum: Perraudin, Balazs and Sondergaard 2013.

    Attributes:
        steps: multiplicative steps.
        iterations: iterations of Griffin-Lim.
        momentum: momentum of the fast variant; 0 is the original algorithm.
    """

    steps: int = 8
    iterations: int = 16
    momentum: float = 0.9

    def segment(self, log_mel: Tensor, features: LogMel) -> Tensor:
        """Waveforms [B, frames * hop]."""
        power = self.invert(log_mel.float().exp(), features)
        # The last frame is repeated: centred windows need frames + 1 of them, and a sound of over half a window.
        frames = max(log_mel.shape[-1], features.n_fft // (2 * features.hop) + 1)
        power = torch.cat([power, power[..., -1:].expand(-1, -1, frames + 1 - power.shape[-1])], dim=-1)
        window = features.spectrogram.spectrogram.window.to(power.device)
        sound: Tensor = griffinlim(
            power, window, features.n_fft, features.hop, features.n_fft, 2.0, self.iterations, self.momentum,
            frames * features.hop, rand_init=False,
        )  # fmt: skip
        return sound[:, : log_mel.shape[-1] * features.hop]

    def invert(self, mel: Tensor, features: LogMel) -> Tensor:
        """Power spectrogram [B, bins, frames] whose mel spectrogram approximates `mel` [B, mels, frames]."""
        filters = features.spectrogram.mel_scale.fb.to(mel.device).T  # [mels, bins]
        power = (torch.linalg.pinv(filters) @ mel).clamp_min(1e-8)
        target, gram = filters.T @ mel, filters.T @ filters
        for _ in range(self.steps):
            power = power * target / (gram @ power + 1e-8)
        return power


@dataclass(frozen=True)
class HifiGan(Vocoder):
    """A HiFi-GAN of `transformers` (SpeechT5HifiGan) from a folder or the hub.

    The model has to use its features: sample rate, number of mel bands and hop are checked against its configuration.

    Attributes:
        path: folder, or name on the Hugging Face hub.
        scale: scale of its spectrograms: "log_power" is the natural logarithm of mel power, "log10_amplitude" the
            base-10 logarithm of mel amplitude, as in SpeechT5.
    """

    path: str
    scale: Literal["log_power", "log10_amplitude"] = "log10_amplitude"

    @cached_property
    def network(self) -> Any:
        """The pretrained network, in evaluation mode."""
        from transformers import SpeechT5HifiGan

        if not Path(self.path).exists() and Path(self.path).is_absolute():
            raise FileNotFoundError(f"no vocoder in {self.path}")
        return SpeechT5HifiGan.from_pretrained(self.path).eval()

    def check(self, features: LogMel) -> None:
        """Raises ValueError if the features differ from the network's configuration."""
        config = self.network.config
        theirs = (config.sampling_rate, config.model_in_dim, math.prod(config.upsample_rates))
        ours = (features.sample_rate, features.mels, features.hop)
        if theirs != ours:
            raise ValueError(
                f"the vocoder {self.path} reads (sample rate, mel bands, hop) {theirs}, the model gives {ours}: train "
                "on the vocoder's features (data.features)"
            )

    def segment(self, log_mel: Tensor, features: LogMel) -> Tensor:
        """Waveforms [B, frames * hop]."""
        spectrogram = log_mel.transpose(1, 2)
        if self.scale == "log10_amplitude":
            spectrogram = spectrogram / (2 * math.log(10))
        with torch.no_grad():
            sound: Tensor = self.network.to(log_mel.device)(spectrogram)
        return sound.view(len(log_mel), -1)[:, : log_mel.shape[-1] * features.hop]
