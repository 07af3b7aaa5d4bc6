"""Log-mel features of sound, and the parameters that a vocoder needs to invert them."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torchaudio.transforms import MelSpectrogram

from common.configurable import Configurable

REFERENCE_RMS = 0.1  # root mean square of every clip before its features are taken


@dataclass(frozen=True)
class LogMel(Configurable):
    """Standardised natural logarithm of a mel power spectrogram (torchaudio, HTK scale, centred Hann windows).

    Attributes:
        sample_rate: Hz.
        samples: length of a clip; a multiple of `hop`.
        n_fft: length of the window, samples.
        hop: step from frame to frame, samples.
        mels: number of mel bands.
        low: lower edge of the first band, Hz.
        high: upper edge of the last band, Hz.
        floor: least power; anything below it counts as silence.
        mean: mean of the training clips, which is subtracted.
        std: standard deviation of the training clips, by which is divided.
    """

    sample_rate: int = 16_000
    samples: int = 65_536
    n_fft: int = 1024
    hop: int = 512
    mels: int = 64
    low: float = 40.0
    high: float = 8_000.0
    floor: float = 1e-2
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.samples % self.hop:
            raise ValueError(f"samples ({self.samples}) must be a multiple of hop ({self.hop})")
        if 2 * self.hop > self.n_fft:
            raise ValueError(f"hop ({self.hop}) must be at most half of n_fft ({self.n_fft}), so that windows overlap")
        if self.high > self.sample_rate / 2:
            raise ValueError(f"high ({self.high:g} Hz) is above half the sample rate ({self.sample_rate} Hz)")

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return self.samples // self.hop

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the features of a clip."""
        return 1, self.mels, self.frames

    @property
    def seconds(self) -> float:
        """Length of a clip in seconds."""
        return self.samples / self.sample_rate

    @property
    def silence(self) -> float:
        """Standardised value of silence, which is the smallest value."""
        return (math.log(self.floor) - self.mean) / self.std

    @cached_property
    def spectrogram(self) -> MelSpectrogram:
        """The mel spectrogram of torchaudio with these parameters."""
        return MelSpectrogram(
            self.sample_rate, self.n_fft, hop_length=self.hop, f_min=self.low, f_max=self.high, n_mels=self.mels
        )

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Natural log-mel power [..., mels, T // hop] of waveforms [..., T], not standardised.

        Waveforms shorter than a window end in silence, because the transform reflects half a window at each end.
        """
        transform = self.spectrogram.to(waveform.device)
        frames = waveform.shape[-1] // self.hop
        padded = torch.nn.functional.pad(waveform.float(), (0, max(0, self.n_fft - waveform.shape[-1])))
        return transform(padded)[..., :frames].clamp_min(self.floor).log()

    def standardise(self, log_mel: Tensor) -> Tensor:
        """Standardised features, the model's input, of natural log-mel power."""
        return (log_mel.float() - self.mean) / self.std

    def restore(self, x: Tensor) -> Tensor:
        """Natural log-mel power of standardised features, clamped at the floor."""
        return (x.float() * self.std + self.mean).clamp_min(math.log(self.floor))

    def __call__(self, waveform: Tensor) -> Tensor:
        """Standardised features [..., mels, T // hop] of waveforms [..., T]."""
        return self.standardise(self.log_mel(waveform))

    def hear(self, waveform: Tensor) -> Tensor:
        """Standardised features [B, 1, mels, T // hop] of waveforms [B, T], which are scaled to the common level."""
        return self(levelled(waveform)).unsqueeze(1)


def levelled(waveform: Tensor) -> Tensor:
    """Waveforms [..., T] scaled to the common level, `REFERENCE_RMS`; silence stays silence."""
    rms = waveform.float().square().mean(-1, keepdim=True).sqrt()
    return waveform * (REFERENCE_RMS / rms.clamp_min(1e-6))
