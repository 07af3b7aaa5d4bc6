import resource

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from common.conditions.columns import condition_columns
from modalities.audio.data.recordings import genre_folders, name_expression, named_files, table_file
from modalities.audio.signal.audio_files import clips, read_sound, write_sound
from modalities.audio.signal.features import LogMel
from tests.audio.models import FEATURES


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (22050, 2)])
def test_any_format_rate_and_channels_give_the_same_tone(tone, tmp_path, suffix, rate, channels):
    file = tone(tmp_path / f"a{suffix}", 1000.0, 2.048, rate, channels)
    found = list(clips(file, FEATURES))
    assert [clip.shape for clip in found][:2] == [(8192,)] * 2
    for clip in found[:2]:
        assert clip.square().mean().sqrt().item() == pytest.approx(0.1, abs=1e-3)
        assert torch.fft.rfft(clip).abs().argmax().item() * 8000 / 8192 == pytest.approx(1000, abs=3)


def test_a_short_file_ends_in_silence_and_a_short_rest_is_left_out(tone, tmp_path):
    (clip,) = clips(tone(tmp_path / "short.wav", seconds=0.3), FEATURES)
    assert clip[2400:].abs().max() == 0
    assert len(list(clips(tone(tmp_path / "long.wav", seconds=2.2), FEATURES))) == 2
    assert len(list(clips(tone(tmp_path / "longer.wav", seconds=2.9), FEATURES))) == 3


def test_clips_can_begin_at_onsets(tmp_path):
    wave = np.zeros(5 * 8000)
    for start in (0.7, 2.9):
        place = slice(int(start * 8000), int(start * 8000) + 4000)
        wave[place] = np.sin(np.arange(4000) * 0.5) * np.linspace(1, 0, 4000)
    soundfile.write(tmp_path / "a.wav", wave * 0.5, 8000)
    found = list(clips(tmp_path / "a.wav", FEATURES, "onset"))
    assert len(found) == 2
    for clip in found:
        first = (clip.abs() > 0.02).nonzero()[0, 0].item()
        assert first <= 2 * FEATURES.hop


@pytest.mark.parametrize("cut", ["time", "onset"])
@pytest.mark.parametrize("seconds", [20.01, 20.04, 0.02, 0.001])  # blocks of 20 s, windows of 64 ms, hops of 32 ms
def test_a_file_or_its_last_block_may_be_shorter_than_a_window(tone, tmp_path, cut, seconds):
    found = list(clips(tone(tmp_path / "a.wav", seconds=seconds), FEATURES, cut))
    assert len(found) == 1 if seconds < 1 else 17 <= len(found) <= 20
    assert {clip.shape for clip in found} == {(8192,)}


def test_a_silent_file_is_named(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(16000), 8000)
    with pytest.raises(ValueError, match=r"silent\.wav holds nothing but silence"):
        list(clips(tmp_path / "silent.wav", FEATURES))
    with pytest.raises(ValueError, match=r"silent\.wav holds nothing but silence"):
        read_sound(tmp_path / "silent.wav", 8000)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_truncated_file_is_named(tone, tmp_path, suffix):
    file = tone(tmp_path / f"cut{suffix}", seconds=3.0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"cut\{suffix} is (truncated|damaged)"):
        list(clips(file, FEATURES))


def test_a_file_that_is_no_sound_is_named(tmp_path):
    (tmp_path / "text.wav").write_text("not a sound")
    with pytest.raises(ValueError, match=r"text\.wav cannot be read as sound"):
        list(clips(tmp_path / "text.wav", FEATURES))
    with pytest.raises(FileNotFoundError, match=r"none\.wav does not exist"):
        read_sound(tmp_path / "none.wav", 8000)


def test_an_hour_streams_in_bounded_memory(tmp_path):
    block = (np.random.default_rng(0).standard_normal(8000 * 60) * 3000).astype(np.int16)
    with soundfile.SoundFile(tmp_path / "hour.wav", "w", 8000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(block)
    features = LogMel(sample_rate=8000, samples=65_536, high=4000.0)
    count = sum(1 for _ in clips(tmp_path / "hour.wav", features))  # warms up what is loaded once
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in clips(tmp_path / "hour.wav", features)) == count == 439
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 20  # MB; the hour itself has 115 as float32


def test_written_sound_has_the_common_level_and_is_never_clipped(tmp_path):
    write_sound(torch.randn(8000) * 4, tmp_path / "new" / "noise.wav", 8000)
    spike = torch.zeros(8000)
    spike[100] = 1.0
    write_sound(spike, tmp_path / "spike.wav", 8000)
    noise, rate = soundfile.read(tmp_path / "new" / "noise.wav")
    assert rate == 8000
    assert np.sqrt((noise**2).mean()) == pytest.approx(0.1, abs=1e-3)
    assert np.abs(soundfile.read(tmp_path / "spike.wav")[0]).max() == pytest.approx(0.98, abs=1e-3)
    with pytest.raises(ValueError, match=r"a\.xyz: sound is written as"):
        write_sound(spike, tmp_path / "a.xyz", 8000)


@pytest.fixture
def folder(tone, tmp_path):
    for genre, hertz in (("high", 900), ("low", 300)):
        for number in range(3):
            tone(tmp_path / "sounds" / genre / f"{number}.wav", hertz)
    return tmp_path / "sounds"


def test_folders_are_genres(folder):
    found = genre_folders(folder)
    assert list(found.conditions["genre"]) == ["high"] * 3 + ["low"] * 3
    assert len(set(found.groups)) == 6


def test_a_file_outside_of_a_folder_and_an_empty_folder_are_named(folder, tone, tmp_path):
    tone(folder / "stray.wav")
    with pytest.raises(ValueError, match=r"stray\.wav lies in no genre's folder"):
        genre_folders(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no sound file below"):
        genre_folders(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"set data\.root"):
        genre_folders(tmp_path / "nowhere")


def labels(folder, text):
    path = folder.parent / "labels.csv"
    path.write_text(text)
    return path


ROWS = [f"{genre}/{number}.wav,{genre},artist {number}" for genre in ("high", "low") for number in range(3)]


def test_a_table_gives_conditions_and_groups(folder):
    found = table_file(folder, labels(folder, "\n".join(["file,pitch,artist", *ROWS])), "artist")
    assert list(found.conditions.columns) == ["pitch", "artist"]
    assert list(found.groups) == ["artist 0", "artist 1", "artist 2"] * 2


def test_only_an_empty_cell_is_missing_and_a_recording_without_a_group_is_its_own(folder):
    genres = ["None", "NA", "null", "", "nan", "low"]
    files = [row.split(",")[0] for row in ROWS]
    rows = [f"{file},{genre},{'' if file < 'high/2' else 7}" for file, genre in zip(files, genres, strict=True)]
    found = table_file(folder, labels(folder, "\n".join(["file,genre,artist", *rows])), "artist")
    assert list(found.conditions["genre"].fillna("-")) == ["None", "NA", "null", "-", "nan", "low"]
    assert list(found.groups[:2]) == ["high/0.wav", "high/1.wav"]
    assert len(set(found.groups[2:])) == 1
    fields, attributes = condition_columns(found.conditions, ["genre"], found.source, [])
    assert attributes["genre"].values == ("NA", "None", "low", "nan", "null")
    assert fields["genre"].tolist() == [1, 0, 4, -1, 3, 2]


def test_a_table_that_cannot_be_read_is_named(folder):
    with pytest.raises(ValueError, match=r"labels\.csv cannot be read as CSV"):
        table_file(folder, labels(folder, "file,genre\na,b\na,b,c\n"), None)


@pytest.mark.parametrize(
    ("rows", "group", "message"),
    [
        ([*ROWS, "low/9.wav,low,x"], None, r"row 8: .*9\.wav does not exist"),
        ([*ROWS, ROWS[0]], None, r"row 8: high/0\.wav is named a second time"),
        (ROWS[1:], None, r"says nothing about .*high/0\.wav"),
        (ROWS, "label", "has no column label to split by; it has: file, pitch, artist"),
    ],
)
def test_labels_that_do_not_fit_the_files_are_named(folder, rows, group, message):
    with pytest.raises(ValueError, match=message):
        table_file(folder, labels(folder, "\n".join(["file,pitch,artist", *rows])), group)


def test_names_are_taken_apart(tone, tmp_path):
    for name in ("7_jackson_0", "3_lucas_12", "0_nicolas_5"):
        tone(tmp_path / f"{name}.wav")
    found = named_files(tmp_path, "<digit>_<speaker>_<index>", "speaker")
    assert found.conditions.to_dict("list") == {
        "digit": ["0", "3", "7"], "speaker": ["nicolas", "lucas", "jackson"], "index": ["5", "12", "0"],
    }  # fmt: skip
    assert list(found.groups) == ["nicolas", "lucas", "jackson"]
    tone(tmp_path / "holiday.wav")
    with pytest.raises(ValueError, match=r"holiday\.wav is not named <digit>_<speaker>_<index>"):
        named_files(tmp_path, "<digit>_<speaker>_<index>", None)


@pytest.mark.parametrize("pattern", ["plain", "<a><b>", "<a>_<a>", "<1>_x"])
def test_patterns_that_say_nothing_definite_are_refused(pattern):
    with pytest.raises(ValueError, match="write parts as <name>"):
        name_expression(pattern)


PART = st.text("abcxyz0189", min_size=1, max_size=8)


@given(PART, PART, PART, st.sampled_from(["_", "-", ".", " - "]))
def test_what_a_pattern_writes_it_reads_back(digit, speaker, index, separator):
    import re

    pattern = separator.join(["<digit>", "<speaker>", "<index>"])
    match = re.fullmatch(name_expression(pattern), separator.join([digit, speaker, index]))
    assert match is not None
    assert match.groupdict() == {"digit": digit, "speaker": speaker, "index": index}
