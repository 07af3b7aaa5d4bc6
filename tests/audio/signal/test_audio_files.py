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
from modalities.audio.signal.features import LogMel, levelled
from modalities.audio.signal.resampling import resample
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


@pytest.mark.parametrize(("rate", "seconds"), [(22_050, 40.3), (44_101, 21.0)])
def test_a_file_that_is_read_in_blocks_is_resampled_as_a_whole(tmp_path, rate, seconds):
    wave = np.random.default_rng(0).standard_normal(round(rate * seconds)) * 0.1
    for start in range(0, len(wave), 20 * rate):
        wave[start : start + 20 * rate] -= wave[start : start + 20 * rate].mean()
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    whole = levelled(resample(torch.tensor(wave, dtype=torch.float32), rate, 16_000))
    found = read_sound(tmp_path / "a.wav", 16_000)
    assert found.shape == whole.shape
    assert (found - whole).abs().max() < 1e-5


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
    with pytest.raises(ValueError, match=r"stray\.wav lies in no class's folder"):
        genre_folders(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no sound file below"):
        genre_folders(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match=r"set data\.root"):
        genre_folders(tmp_path / "nowhere")


def test_folders_below_a_genre_are_what_the_group_or_a_condition_calls_them(tone, tmp_path):
    for name in ("rock/ann/1.wav", "rock/ann/live/2.wav", "rock/bob/1.wav", "jazz/ann/3.wav", "jazz/4.wav"):
        tone(tmp_path / name)
    found = genre_folders(tmp_path, "artist")
    assert list(found.conditions["genre"]) == ["jazz", "jazz", "rock", "rock", "rock"]
    assert list(found.conditions["artist"].fillna("-")) == ["-", "ann", "ann", "ann", "bob"]
    assert list(found.groups) == ["jazz/4.wav", "ann", "ann", "ann", "bob"]
    assert found.notes == ["recordings without a folder for their artist: 1"]
    other = genre_folders(tmp_path, level="album")
    assert list(other.conditions["album"].fillna("-")) == ["-", "ann", "ann", "ann", "bob"]
    assert len(set(other.groups)) == 5


def test_a_group_that_folders_do_not_have_is_refused(folder):
    with pytest.raises(ValueError, match=r"has no folders below those of its genres that could be each artist: put"):
        genre_folders(folder, "artist")
    with pytest.raises(ValueError, match=r"data\.group genre keeps whole genres out"):
        genre_folders(folder, "genre")


def test_folders_named_after_splits_are_the_splits(tone, tmp_path):
    for name in ("train/a/1.wav", "train/b/2.wav", "Validation/a/3.wav", "test/b/ann/4.wav", "test/a/bob/5.wav"):
        tone(tmp_path / name)
    found = genre_folders(tmp_path)
    assert dict(zip([file.stem for file in found.files], found.splits, strict=True)) == {
        "1": "train", "2": "train", "3": "val", "4": "test", "5": "test",
    }  # fmt: skip
    assert sorted(found.conditions["genre"]) == ["a", "a", "a", "b", "b"]
    assert list(genre_folders(tmp_path, "artist").groups)[1:3] == ["bob", "ann"]


def test_a_group_that_crosses_the_splits_of_the_data_is_refused(folder):
    rows = [f"{row},{split}" for row, split in zip(ROWS, ["train", "val", "test"] * 2, strict=True)]
    text = "\n".join(["file,pitch,artist,split", *rows])
    found = table_file(folder, labels(folder, text), "artist").checked()
    assert list(found.splits) == ["train", "val", "test"] * 2
    assert list(found.conditions.columns) == ["pitch", "artist"]
    crossing = labels(folder, text.replace("artist 1", "artist 0"))
    with pytest.raises(
        ValueError, match=r"artist 'artist 0' lies in several splits: train \(.*0\.wav\), val \(.*1\.wav"
    ):
        table_file(folder, crossing, "artist").checked()
    assert list(table_file(folder, crossing, None).checked().splits) == ["train", "val", "test"] * 2


def test_recordings_that_differ_in_their_suffix_alone_share_a_group(tone, tmp_path):
    for name in ("a/1.wav", "a/1.mp3", "a/2.wav", "b/1.wav"):
        tone(tmp_path / name)
    found = genre_folders(tmp_path).checked()
    assert list(found.groups) == ["a/1.mp3", "a/1.mp3", "a/2.wav", "b/1.wav"]
    assert found.notes[0].startswith("recordings that differ in their suffix alone: 2 (such as ")


def test_what_is_passed_over_is_counted_and_what_is_not_decoded_has_a_remedy(folder, tmp_path):
    for name in ("cover.jpg", "1.m4a", "2.m4a", ".hidden.wav"):
        (folder / "low" / name).write_bytes(b"....ftypM4A ")
    found = genre_folders(folder)
    assert len(found.files) == 6
    assert found.notes[0] == f"passed over below {folder}: 2 .m4a, 1 .jpg"
    assert found.notes[1].startswith(".m4a is not decoded: convert it to WAV or FLAC (ffmpeg")
    (tmp_path / "phone" / "memo").mkdir(parents=True)
    (tmp_path / "phone" / "memo" / "1.m4a").write_bytes(b"....ftypM4A ")
    with pytest.raises(FileNotFoundError, match=r"no sound file below .*phone .*1 \.m4a: convert it to WAV or FLAC"):
        genre_folders(tmp_path / "phone")
    with pytest.raises(ValueError, match=r"1\.m4a cannot be read as sound .*convert it to WAV or FLAC"):
        read_sound(folder / "low" / "1.m4a", 8000)


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
    columns = condition_columns(found.conditions, found.source, wanted=["genre"])
    values = columns.attributes["genre"].values
    assert sorted(values) == ["NA", "None", "low", "nan", "null"]
    named = [values[position] if position >= 0 else "" for position in columns.fields["genre"].tolist()]
    assert named == genres


def test_a_table_that_cannot_be_read_is_named(folder):
    with pytest.raises(ValueError, match=r"labels\.csv, line 3 has 3 cells, more than the 2"):
        table_file(folder, labels(folder, "file,genre\na,b\na,b,c\n"), None)


@pytest.mark.parametrize(
    ("rows", "group", "message"),
    [
        ([*ROWS, "low/9.wav,low,x"], None, r"line 8: .*9\.wav does not exist"),
        ([*ROWS, ROWS[0]], None, r"line 8: high/0\.wav is named a second time"),
        (ROWS[1:], None, r"says nothing about .*high/0\.wav"),
        (ROWS, "label", "has no column label to split by; it has: file, pitch, artist"),
    ],
)
def test_labels_that_do_not_fit_the_files_are_named(folder, rows, group, message):
    with pytest.raises(ValueError, match=message):
        table_file(folder, labels(folder, "\n".join(["file,pitch,artist", *rows])), group)


def test_rows_without_a_file_are_named_at_once_or_left_out(folder):
    rows = [*ROWS, *[f"low/{number}.wav,low,x" for number in range(7, 10)]]
    csv = labels(folder, "\n".join(["file,pitch,artist", *rows]))
    with pytest.raises(ValueError, match=r"3 of 9 rows are faulty: line 8: .*low/7\.wav .*line 9: .*line 10: "):
        table_file(folder, csv, None)
    with pytest.warns(UserWarning, match="left out: 3 of 9 rows are faulty"):
        found = table_file(folder, csv, None, "skip")
    assert len(found.files) == len(found.conditions) == 6


def test_names_agree_whatever_the_form_of_their_accents_and_the_separators(tone, tmp_path):
    root = tmp_path / "sounds"
    tone(root / "caf\u0065\u0301" / "ru\u0301a.wav")  # decomposed, as macOS writes names
    tone(root / "日本" / "一 二.wav")
    csv = labels(root, "file,mood\ncaf\u00e9\\r\u00faa.wav,calm\n 日本/一 二.wav , loud \n")
    found = table_file(root, csv, None)
    assert list(found.conditions["mood"]) == ["calm", "loud"]
    assert [file.stem for file in found.files] == ["ru\u0301a", "一 二"]


def test_names_that_do_not_fit_are_named_at_once_or_left_out(tone, tmp_path):
    for name in ("7_jackson_0", "3_lucas_12", "holiday", "memo"):
        tone(tmp_path / f"{name}.wav")
    with pytest.raises(
        ValueError, match=r"2 of 4 files are faulty: .*holiday\.wav is not named <d>_<s>_<i>; .*memo\.wav"
    ):
        named_files(tmp_path, "<d>_<s>_<i>", None)
    with pytest.warns(UserWarning, match="left out: 2 of 4 files are faulty"):
        assert list(named_files(tmp_path, "<d>_<s>_<i>", None, "skip").conditions["s"]) == ["lucas", "jackson"]


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


def test_a_name_that_fits_a_pattern_in_several_ways_is_named(tmp_path):
    for name in ("a_the_beatles_3", "b_queen_1"):
        write_sound(torch.randn(4000), tmp_path / f"{name}.wav", 8000)
    with pytest.raises(
        ValueError, match=r"beatles_3.wav is named .* in several ways \(digit a, speaker the, index beatles_3"
    ):
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
