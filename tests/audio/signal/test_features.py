import math

import pytest
import torch
import torchaudio

from common.configurable import from_config, to_config
from modalities.audio.signal.features import LogMel, levelled
from tests.audio.models import FEATURES


def test_features_are_those_of_torchaudio():
    features, wave = LogMel(), torch.randn(2, 65_536) * 0.1
    reference = torchaudio.transforms.MelSpectrogram(16_000, 1024, hop_length=512, f_min=40, f_max=8000, n_mels=64)
    expected = reference(wave)[..., :128].clamp_min(1e-2).log()
    assert torch.equal(features.log_mel(wave), expected)
    assert features(wave).shape == (2, *features.shape[1:])


def test_features_agree_with_a_spectrogram_written_out():
    features, wave = LogMel(), torch.randn(65_536) * 0.1
    padded = torch.nn.functional.pad(wave[None, None], (512, 512), mode="reflect")[0, 0]
    frame = padded[100 * 512 : 100 * 512 + 1024] * torch.hann_window(1024)
    power = torch.fft.rfft(frame).abs() ** 2

    def mel(hertz):
        return 2595 * math.log10(1 + hertz / 700)

    edges = torch.linspace(mel(40), mel(8000), 66, dtype=torch.float64)
    edges = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.linspace(0, 8000, 513, dtype=torch.float64)
    rise = (bins - edges[20]) / (edges[21] - edges[20])
    fall = (edges[22] - bins) / (edges[22] - edges[21])
    band = (torch.minimum(rise, fall).clamp_min(0) * power).sum()
    assert features.log_mel(wave)[20, 100].item() == pytest.approx(math.log(max(band.item(), 1e-2)), abs=1e-3)


@pytest.mark.parametrize("samples", [0, 1, 100, 255, 256, 257, 511, 512, 513, 1000])
def test_a_sound_of_any_length_has_a_frame_for_each_hop_and_ends_in_silence(samples):
    wave = torch.randn(2, samples) * 0.1
    found = FEATURES.log_mel(wave)  # windows of 512, hops of 256
    assert found.shape == (2, 16, samples // 256)
    padded = torch.nn.functional.pad(wave, (0, max(0, 512 - samples)))
    assert torch.equal(found, FEATURES.log_mel(padded)[..., : samples // 256])


def test_standardising_and_restoring_are_inverse_above_the_floor():
    log_mel = FEATURES.log_mel(torch.randn(3, 8192) * 0.1)
    assert torch.allclose(FEATURES.restore(FEATURES.standardise(log_mel)), log_mel, atol=1e-5)
    assert FEATURES.restore(torch.full((1, 4), -100.0)).unique().item() == pytest.approx(math.log(FEATURES.floor))


def test_silence_has_the_least_value():
    assert FEATURES(torch.zeros(8192)).unique().tolist() == pytest.approx([FEATURES.silence])


def test_parameters_come_back_from_plain_data():
    assert from_config(to_config(FEATURES)) == FEATURES


def test_impossible_parameters_are_refused():
    with pytest.raises(ValueError, match="multiple of hop"):
        LogMel(samples=1000)
    with pytest.raises(ValueError, match="half the sample rate"):
        LogMel(sample_rate=8000)


def test_levels_are_common_and_silence_stays_silent():
    waves = levelled(torch.stack([torch.randn(4000) * 0.001, torch.randn(4000) * 5, torch.zeros(4000)]))
    assert waves.square().mean(-1).sqrt().tolist() == pytest.approx([0.1, 0.1, 0.0], abs=1e-4)
