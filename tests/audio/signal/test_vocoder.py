import itertools
import statistics
import time

import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from modalities.audio.evaluation.metrics import log_spectral_distance
from modalities.audio.evaluation.report import AudioReport
from modalities.audio.signal.features import LogMel, levelled
from modalities.audio.signal.vocoder import OVERLAP, SEGMENT, GriffinLim, HifiGan, segments
from tests.audio.models import FEATURES


@pytest.fixture(scope="module")
def real(tunes):
    rows = tunes.examples.splits["test"][:24]
    return tunes.examples.x[rows].float()


def test_sound_from_features_keeps_spectrum_and_the_judges_verdict(tunes, real):
    sound = levelled(GriffinLim()(real[:, 0], tunes.features))
    again = tunes.features.log_mel(sound).unsqueeze(1)
    assert log_spectral_distance(again, real).mean() < 9  # dB; torchaudio's InverseMelScale has some 18
    judge = AudioReport().judge(tunes)
    before, after = (judge.read(tunes.features.standardise(x))["instrument"] for x in (real, again))
    assert (before == after).float().mean() >= 0.95


def test_inversion_of_a_mel_spectrogram_is_non_negative_and_close(tunes, real):
    power = GriffinLim().invert(real[:, 0].exp(), tunes.features)
    mel = tunes.features.spectrogram.mel_scale.fb.T @ power
    assert (power >= 0).all()
    assert (mel.log() - real[:, 0]).abs().mean() < 0.5


def test_more_steps_of_the_inversion_come_closer(tunes, real):
    wanted = real[:, 0].exp()
    filters = tunes.features.spectrogram.mel_scale.fb.T
    errors = [
        (filters @ GriffinLim(steps).invert(wanted, tunes.features) - wanted).square().sum() for steps in (0, 4, 16)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_sound_may_be_as_short_as_a_frame(tunes, real, frames):
    short = real[:2, 0, :, 20 : 20 + frames]
    sound = GriffinLim()(short, tunes.features)
    assert sound.shape == (2, frames * tunes.features.hop)
    again = tunes.features.log_mel(sound)
    assert (again - short).abs().mean() < 2.5
    assert again.shape == short.shape


def test_the_same_features_give_the_same_sound(real):
    assert torch.equal(GriffinLim()(real[:2, 0], LogMel()), GriffinLim()(real[:2, 0], LogMel()))


@pytest.mark.parametrize("total", [1, 100, SEGMENT, SEGMENT + OVERLAP, SEGMENT + OVERLAP + 1, 5 * SEGMENT + 7])
def test_segments_cover_a_spectrogram_and_share_their_overlap(total):
    parts = list(segments(total))
    assert parts[0][0] == 0
    assert parts[-1][1] == total
    for (_, end), (start, following) in itertools.pairwise(parts):
        assert end - start == OVERLAP
        assert following - start > OVERLAP


def test_a_long_spectrogram_becomes_sound_without_a_gap_or_a_jump():
    features = LogMel()
    time_ = torch.arange(2 * SEGMENT * features.hop + 512) / features.sample_rate
    wave = 0.14 * torch.sin(2 * torch.pi * 440 * time_)
    sound = GriffinLim()(features.log_mel(wave)[None], features)[0]
    assert len(sound) == (len(wave) // 512) * 512
    level = sound.unfold(0, 1024, 1024).square().mean(1).sqrt()[2:-2]
    assert level.min() > 0.05
    assert level.max() < 0.2


def test_one_clip_becomes_sound_in_time(real):
    vocoder, features = GriffinLim(), LogMel()
    times = []
    for clip in real[:7, 0]:
        start = time.process_time()
        vocoder(clip[None], features)
        times.append(time.process_time() - start)
    assert statistics.median(times) < 0.3  # twice the bar: other processes may be at work


@pytest.fixture
def hifigan(tmp_path):
    """A small vocoder with random weights, as a folder."""
    config = SpeechT5HifiGanConfig(
        model_in_dim=16, sampling_rate=8000, upsample_initial_channel=16, upsample_rates=[16, 16],
        upsample_kernel_sizes=[32, 32], resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1, 3]],
    )  # fmt: skip
    SpeechT5HifiGan(config).save_pretrained(tmp_path / "vocoder")
    return str(tmp_path / "vocoder")


def test_a_vocoder_of_transformers_speaks_the_same_interface(hifigan):
    log_mel = FEATURES.log_mel(torch.randn(3, 8192) * 0.1)
    sound = HifiGan(hifigan)(log_mel, FEATURES)
    assert sound.shape == (3, 8192)
    assert 0 < sound.abs().max() <= 1
    assert not torch.allclose(sound, HifiGan(hifigan, scale="log_power")(log_mel, FEATURES))


def test_a_vocoder_for_other_features_says_which(hifigan):
    with pytest.raises(ValueError, match=r"\(8000, 16, 256\), the model gives \(16000, 64, 512\)"):
        HifiGan(hifigan)(torch.zeros(1, 64, 128), LogMel())
    with pytest.raises(FileNotFoundError, match="no vocoder in /nowhere"):
        HifiGan("/nowhere")(torch.zeros(1, 64, 128), LogMel())
