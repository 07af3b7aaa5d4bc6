"""Resampling between any two rates in bounded memory."""

import math

import torch
from torch import Tensor
from torchaudio.functional import resample as tabulated

RATES = 100, 1_000_000  # Hz: other sample rates are no sound's
LARGEST = 2**21  # product of the rates in lowest terms, to which torchaudio's table grows, up to which it is made
ZEROS = 6  # zeros of the sinc on each side, as in torchaudio
ROLL_OFF = 0.99  # where it cuts off, as a share of half the lower rate, as in torchaudio
WEIGHTS = 2**22  # that are computed at once


def resample(waveform: Tensor, rate: int, other: int) -> Tensor:
    """Waveforms [..., T] at another rate, [..., ceil(T * other / rate)], by windowed sinc interpolation.

    torchaudio tabulates the weights for every phase between the two rates: for 44,101 Hz, which has no divisor in
    common with usual rates, in gigabytes. For such rates they are computed as they are needed, by the same formula.

    Args:
        waveform: at `rate`.
        rate: Hz, within `RATES`.
        other: Hz of the result.
    """
    divisor = math.gcd(rate, other)
    if (rate // divisor) * (other // divisor) <= LARGEST:
        resampled: Tensor = tabulated(waveform, rate, other)
        return resampled
    count = -(-waveform.shape[-1] * other // rate)
    cutoff = ROLL_OFF * min(rate, other)
    reach = math.ceil(ZEROS * rate / cutoff)  # samples on each side that a result depends on
    padded = torch.nn.functional.pad(waveform, (reach, reach + 1))
    taps = torch.arange(-reach, reach + 1)
    parts = []
    for rows in torch.arange(count).split(max(1, WEIGHTS // len(taps))):
        nearest = rows * rate // other
        phase = (rows * rate % other).double() / other  # where between two samples
        # Half a period of the sinc is 1 in t; the window is a Hann window.
        t = ((taps - phase.unsqueeze(1)) * (cutoff / rate)).clamp(-ZEROS, ZEROS).float()
        weights = torch.sinc(t) * torch.cos(t * (math.pi / ZEROS / 2)).square() * (cutoff / rate)
        parts.append((padded[..., (nearest.unsqueeze(1) + reach + taps)] * weights).sum(-1))
    return torch.cat(parts, dim=-1) if parts else waveform
