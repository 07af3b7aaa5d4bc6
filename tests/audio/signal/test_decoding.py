"""What a header does not say, or says wrongly, about the sound behind it."""

import struct

import numpy as np
import pytest
import soundfile
import torch

from modalities.audio.signal.audio_files import clips, decoded_seconds, read_sound
from modalities.audio.signal.decoding import Sound, as_one_channel
from tests.audio.models import FEATURES

RATE, SECONDS = 22_050, 6


def sine(hertz=440.0, seconds=3.0, rate=8000):
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def peak(wave, rate):
    """The loudest frequency of the last second, Hz."""
    last = wave[-rate:]
    return np.abs(np.fft.rfft(last * np.hanning(len(last)))).argmax() * rate / len(last)


def info_tag(length):
    """An ID3 tag of 10 bytes more."""
    return b"ID3\x03\0\0" + bytes([0, 0, length >> 7, length & 127]) + bytes(length)


@pytest.fixture(scope="module")
def mp3(tmp_path_factory):
    """The bytes of an MP3 of variable bit rate, noise and then a tone; and the length of its first frame, a tag."""
    file = tmp_path_factory.mktemp("mp3") / "a.mp3"
    wave = sine(440, SECONDS, RATE)
    wave[:RATE] = np.random.default_rng(0).standard_normal(RATE) * 0.3
    soundfile.write(file, wave, RATE, bitrate_mode="VARIABLE", compression_level=0.0)
    raw = file.read_bytes()
    assert b"Xing" in raw[:200]
    return raw, raw.index(raw[:2], 4)


@pytest.mark.parametrize(
    ("build", "seconds"),
    [
        (lambda raw, tag: raw, SECONDS),
        (lambda raw, tag: info_tag(2000) + raw + b"TAG" + bytes(125), SECONDS),
        (lambda raw, tag: raw[tag:], SECONDS),
        (lambda raw, tag: info_tag(2000) + raw[tag:] + b"TAG" + bytes(125), SECONDS),
        (lambda raw, tag: raw + raw, 2 * SECONDS),
        (lambda raw, tag: info_tag(300) + raw + info_tag(3000) + raw, 2 * SECONDS),
        (lambda raw, tag: raw[tag:] + raw[tag:], 2 * SECONDS),
        (lambda raw, tag: (raw[:4] + bytes(32) + b"VBRI").ljust(tag, b"\0") + raw[tag:], SECONDS),
    ],
    ids=["tagged", "ID3", "untagged", "ID3 untagged", "two", "two with ID3", "two untagged", "VBRI"],
)
def test_an_mp3_is_read_to_its_end_whatever_is_in_front_of_it(mp3, tmp_path, build, seconds):
    (tmp_path / "a.mp3").write_bytes(build(*mp3))
    assert decoded_seconds(tmp_path / "a.mp3") == pytest.approx(seconds, abs=0.15)
    wave = read_sound(tmp_path / "a.mp3", 16_000).numpy()
    assert len(wave) / 16_000 == pytest.approx(seconds, abs=0.15)
    assert peak(wave[:-3200], 16_000) == pytest.approx(440, abs=1)
    assert len(list(clips(tmp_path / "a.mp3", FEATURES))) == round(seconds / FEATURES.seconds)


def test_the_header_alone_would_have_lost_most_of_the_mp3(mp3, tmp_path):
    (tmp_path / "a.mp3").write_bytes(mp3[0][mp3[1] :])
    assert soundfile.info(tmp_path / "a.mp3").duration < SECONDS / 2


def test_a_cut_mp3_that_says_how_long_it_was_is_truncated_and_one_of_two_rates_is_refused(mp3, tmp_path):
    (tmp_path / "cut.mp3").write_bytes(mp3[0][: len(mp3[0]) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp3 is truncated"):
        read_sound(tmp_path / "cut.mp3", 8000)
    soundfile.write(tmp_path / "b.mp3", sine(), 16_000)
    (tmp_path / "mix.mp3").write_bytes(mp3[0] + (tmp_path / "b.mp3").read_bytes())
    with pytest.raises(ValueError, match=r"mix\.mp3 changes its sample rate at byte"):
        read_sound(tmp_path / "mix.mp3", 8000)


LIST = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf58.29.100\0"


def wav(length, riff=None):
    """A WAV of 3 s at 8 kHz whose header declares another length."""

    def change(raw):
        head = raw[:4] + (raw[4:8] if riff is None else struct.pack("<I", riff)) + raw[8:40]
        return head + struct.pack("<I", length) + raw[44:]

    return change


@pytest.mark.parametrize(
    ("change", "frames"),
    [
        (wav(0), 24_000),
        (wav(0, riff=0), 24_000),
        (wav(0, riff=36), 24_000),
        (wav(0xFFFFFFFF, riff=0xFFFFFFFF), 24_000),
        (wav(0x7FFFFFFF), 24_000),
        (wav(47_999), 23_999),
        (lambda raw: raw + LIST, 24_000),
        (lambda raw: raw[:36] + LIST + raw[36:], 24_000),
        (lambda raw: raw + bytes(range(100)), 24_000),
    ],
    ids=[
        "0",
        "all 0",
        "stopped",
        "unknown",
        "unknown signed",
        "odd",
        "metadata after",
        "metadata before",
        "junk after",
    ],
)
def test_a_wav_is_read_to_its_end_and_not_beyond(tmp_path, change, frames):
    file = tmp_path / "a.wav"
    soundfile.write(file, sine(), 8000)
    file.write_bytes(change(file.read_bytes()))
    assert decoded_seconds(file) == frames / 8000
    wave = read_sound(file, 8000).numpy()
    assert len(wave) == frames
    assert peak(wave, 8000) == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wav(1000), r"declares 1,000 bytes of sound, and 47,000 others follow that are no chunk"),
        (lambda raw: raw[:-1000], "is truncated: 1000 bytes are missing"),
        (lambda raw: b"", "is empty"),
        (lambda raw: raw[:44], "is truncated"),
        (lambda raw: wav(0, riff=36)(raw)[:44], "holds no sound: it has no samples"),
    ],
    ids=["short", "cut", "empty", "header alone", "no samples"],
)
def test_a_wav_whose_header_contradicts_its_bytes_is_named(tmp_path, change, message):
    file = tmp_path / "a.wav"
    soundfile.write(file, sine(), 8000)
    file.write_bytes(change(file.read_bytes()))
    for read in (lambda: read_sound(file, 8000), lambda: list(clips(file, FEATURES))):
        with pytest.raises(ValueError, match=rf"a\.wav.* {message}|a\.wav {message}"):
            read()


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        *[("wav", {"subtype": kind}) for kind in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")],
        ("rf64", {"format": "RF64"}), ("w64", {"format": "W64"}), ("aiff", {}), ("aifc", {"format": "AIFF"}),
        ("au", {}), ("caf", {}), ("flac", {"subtype": "PCM_24"}),
        ("opus", {"format": "OGG", "subtype": "OPUS"}),
    ],
)  # fmt: skip
def test_kinds_of_samples_and_containers_give_the_same_clips(tmp_path, suffix, options):
    soundfile.write(tmp_path / "a.wav", sine(), 8000)
    soundfile.write(str(tmp_path / f"b.{suffix}"), sine(), 8000, **options)
    same, found = (list(clips(tmp_path / name, FEATURES)) for name in ("a.wav", f"b.{suffix}"))
    assert len(found) == len(same) == 3
    for clip, other in zip(found[:2], same[:2], strict=True):
        if suffix == "opus":
            assert peak(clip.numpy(), 8000) == pytest.approx(440, abs=1)
        else:
            assert (clip - other).abs().max() < 0.01


def test_a_flac_that_does_not_say_its_length_and_chained_ogg_are_read_to_their_end(tmp_path):
    soundfile.write(tmp_path / "a.flac", sine(), 8000)
    raw = bytearray((tmp_path / "a.flac").read_bytes())
    raw[21] &= 0xF0
    raw[22:26] = bytes(4)  # the number of samples
    (tmp_path / "a.flac").write_bytes(raw)
    assert len(read_sound(tmp_path / "a.flac", 8000)) == 24_000
    for name, seconds in (("a.ogg", 3.0), ("b.ogg", 2.0)):
        soundfile.write(tmp_path / name, sine(440, seconds), 8000)
    both = (tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes()
    (tmp_path / "chain.ogg").write_bytes(both)
    assert soundfile.info(tmp_path / "chain.ogg").duration == 3.0  # what libsndfile sees of it
    assert len(read_sound(tmp_path / "chain.ogg", 8000)) == 40_000
    (tmp_path / "cut.ogg").write_bytes(both[:-500])
    with pytest.raises(ValueError, match=r"cut\.ogg is truncated: its last page is not complete"):
        read_sound(tmp_path / "cut.ogg", 8000)


@pytest.mark.parametrize("suffix", ["aiff", "au", "w64", "rf64"])
def test_other_containers_that_were_cut_are_named(tmp_path, suffix):
    file = tmp_path / f"a.{suffix}"
    soundfile.write(str(file), sine(), 8000, format={"aiff": "AIFF"}.get(suffix, suffix.upper()))
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(ValueError, match=rf"a\.{suffix} is truncated: \d+ bytes are missing"):
        read_sound(file, 8000)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_named_with_their_place(tmp_path, wrong):
    wave = sine()
    wave[12_000] = wrong
    soundfile.write(tmp_path / "a.wav", wave, 8000, subtype="FLOAT")
    for read in (lambda: read_sound(tmp_path / "a.wav", 8000), lambda: list(clips(tmp_path / "a.wav", FEATURES))):
        with pytest.raises(ValueError, match=r"a\.wav holds samples that are no numbers .* at 1\.500 s"):
            read()


@pytest.mark.parametrize("rate", [0, 1, 10_000_000, 2**31 - 1])
def test_rates_that_no_sound_has_are_refused_by_name(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", sine(), 8000)
    raw = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(raw[:24] + struct.pack("<I", rate) + raw[28:])
    message = "cannot be read as sound" if rate == 0 else f"declares {rate:,} Hz; sound has 100 to 1,000,000"
    with pytest.raises(ValueError, match=rf"a\.wav {message}"):
        read_sound(tmp_path / "a.wav", 8000)


def test_an_offset_is_no_sound_and_no_level(tmp_path):
    soundfile.write(tmp_path / "offset.wav", np.full(16_000, 0.3), 8000)
    for read in (
        lambda: read_sound(tmp_path / "offset.wav", 8000),
        lambda: [*clips(tmp_path / "offset.wav", FEATURES)],
    ):
        with pytest.raises(ValueError, match=r"offset\.wav holds nothing but silence"):
            read()
    soundfile.write(tmp_path / "plain.wav", sine(), 8000, subtype="FLOAT")
    soundfile.write(tmp_path / "shifted.wav", sine() + 0.5, 8000, subtype="FLOAT")
    plain, shifted = (torch.stack(list(clips(tmp_path / f"{name}.wav", FEATURES))) for name in ("plain", "shifted"))
    assert (plain - shifted).abs().max() < 1e-5


def test_channels_that_cancel_are_the_louder_one_and_others_are_averaged(tmp_path):
    left = torch.tensor(sine()).float()
    wave, cancel = as_one_channel(torch.stack([left, -0.9999 * left], 1))
    assert cancel
    assert torch.allclose(wave, left - left.mean(), atol=1e-6)
    other = torch.tensor(sine(700)).float()
    for second in (other, torch.zeros_like(left), left):
        wave, cancel = as_one_channel(torch.stack([left, second], 1))
        assert not cancel
        assert torch.allclose(wave, (left + second) / 2 - (left + second).mean() / 2, atol=1e-6)
    soundfile.write(tmp_path / "a.wav", np.stack([sine(), -sine()], 1), 8000)
    with pytest.warns(UserWarning, match=r"a\.wav: its channels cancel each other"):
        assert peak(read_sound(tmp_path / "a.wav", 8000).numpy(), 8000) == pytest.approx(440, abs=1)


def test_a_file_of_one_sample_is_silence(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.5]), 8000)
    with pytest.raises(ValueError, match=r"a\.wav holds nothing but silence"):
        read_sound(tmp_path / "a.wav", 8000)
    with Sound(tmp_path / "a.wav") as sound:
        assert (len(sound.read(10)), len(sound.read(10))) == (1, 0)
