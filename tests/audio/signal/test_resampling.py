import resource

import numpy as np
import pytest
import torch
from torchaudio.functional import resample as torchaudio_resample

from modalities.audio.signal.resampling import resample

COMMON = [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000]


def pitch(wave, rate):
    """Frequency of a tone, Hz, from the peak of its spectrum interpolated between bins."""
    spectrum = np.log(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) + 1e-12)
    top = int(spectrum.argmax())
    a, b, c = spectrum[top - 1 : top + 2]
    return (top + (a - c) / (2 * (a - 2 * b + c))) * rate / len(wave)


@pytest.mark.parametrize("rate", [8000, 11_025, 44_056, 44_101, 47_999, 96_000, 192_000, 999_983])
def test_a_tone_keeps_its_pitch_from_any_rate(rate):
    tone = torch.tensor(np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate), dtype=torch.float32)
    wave = resample(tone, rate, 16_000)
    assert len(wave) == pytest.approx(32_000, abs=2)
    assert pitch(wave.numpy(), 16_000) == pytest.approx(1000, rel=1e-6)


def test_memory_is_bounded_whatever_the_rate():
    wave = torch.randn(20 * 44_101)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resample(wave, 44_101, 16_000)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 200  # MB; the exact filter has 2,800


@pytest.mark.parametrize("other", [8000, 16_000, 22_050])
def test_common_rates_are_resampled_as_torchaudio_does(other):
    for rate in COMMON:
        wave = torch.randn(rate // 10, generator=torch.Generator().manual_seed(0))
        assert torch.equal(resample(wave, rate, other), torchaudio_resample(wave, rate, other))


@pytest.mark.parametrize(("rate", "other"), [(44_100, 16_000), (11_025, 16_000), (192_000, 8000)])
def test_weights_that_are_computed_are_those_of_torchaudio(monkeypatch, rate, other):
    monkeypatch.setattr("modalities.audio.signal.resampling.LARGEST", 0)
    wave = torch.randn(2, rate // 3, generator=torch.Generator().manual_seed(0))
    exact = torchaudio_resample(wave.double(), rate, other).float()
    assert torch.allclose(resample(wave, rate, other), exact, atol=5e-6)
