import errno
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from common.conditions.attributes import Categorical, Continuous
from common.data import faults
from common.data.subset import Subset
from modalities.audio.data import GTZAN, SPEECHCOMMANDS, AudioFiles, Tunes, datamodules
from modalities.audio.data import clip_cache as store
from modalities.audio.evaluation.report import AudioReport
from tests.audio.models import FEATURES


def test_tunes_have_two_conditions_and_every_clip_on_every_instrument(tunes):
    table = tunes.examples
    assert list(table.attributes) == ["genre", "instrument"]
    assert table.x.shape[1:] == (1, 64, 128)
    assert table.fields["instrument"].bincount().tolist() == [len(table.x) // 2] * 2
    pairs = table.fields["genre"].unflatten(0, (-1, 2))
    assert torch.equal(pairs[:, 0], pairs[:, 1])


def test_no_tune_lies_on_two_sides(tunes):
    sides = [set(tunes.tune[rows].tolist()) for rows in tunes.examples.splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_a_tune_and_its_near_duplicates_are_one_group_on_one_side(tunes):
    tune, groups = tunes.tune, tunes.examples.groups
    for number in tune.unique():
        assert len(groups[tune == number].unique()) == 1
    sides = [set(groups[rows].tolist()) for rows in tunes.examples.splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))


def test_preparing_twice_gives_the_same_bytes(tmp_path, monkeypatch):
    contents = []
    for name in "ab":
        monkeypatch.setenv("SUITE_CACHE", str(tmp_path / name))
        data = Tunes(limit=12, clips=1, instruments=["fiddle"], shares=(0.2, 0.2))
        contents.append((data.fingerprint, next((tmp_path / name).rglob(store.FEATURES)).read_bytes()))
    assert contents[0] == contents[1]


def test_every_setting_has_its_own_rendering(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    options = {"limit": 12, "clips": 1, "shares": (0.2, 0.2)}
    first = Tunes(instruments=["fiddle"], **options).fingerprint
    assert Tunes(instruments=["flute"], **options).fingerprint != first
    assert Tunes("as_notated", instruments=["fiddle"], **options).fingerprint != first
    assert len(list(tmp_path.glob("audio/*.lock"))) == 3


def test_a_new_version_makes_clips_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    made = []

    def make(writer):
        made.append(store.VERSION)
        writer.append(torch.full((1, 1, 4, 4), float(store.VERSION)))
        return {}

    for version in (2, 2, 3, 2):
        monkeypatch.setattr(store, "VERSION", version)
        assert store.cached_clips(["s"], make).x.unique().tolist() == [version]
    assert made == [2, 3]


def test_what_is_interrupted_leaves_nothing_half_done(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))

    def fails(writer):
        writer.append(torch.zeros(2, 1, 4, 4))
        raise RuntimeError("stopped")

    def works(writer):
        writer.append(torch.ones(3, 1, 4, 4))
        return {"k": torch.arange(3)}

    with pytest.raises(RuntimeError, match="stopped"):
        store.cached_clips(["s"], fails)
    kept = store.cached_clips(["s"], works)
    assert kept.x.shape == (3, 1, 4, 4)
    assert kept.columns["k"].tolist() == [0, 1, 2]
    assert torch.equal(store.cached_clips(["s"], fails).x, kept.x)  # read, not made


def test_two_processes_that_prepare_at_once_make_one_rendering(run_script, tmp_path):
    import threading

    code = (
        "from modalities.audio.data.datamodules import Tunes; "
        "print(Tunes(limit=12, clips=1, instruments=['fiddle'], shares=(0.2, 0.2)).fingerprint)"
    )
    environment = {"SUITE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    outputs: list[str] = []

    def prepare():
        outputs.append(run_script("-c", code, environment=environment).stdout.split()[-1])

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(outputs)) == 1
    assert len(list(tmp_path.glob("audio/*/features.f16"))) == 1


def test_features_are_standardised_by_the_training_clips(tunes):
    batch = tunes.batch("train", 200)
    assert batch.x.dtype == torch.float32
    assert batch.x.mean().item() == pytest.approx(0.0, abs=0.1)
    assert batch.x.std().item() == pytest.approx(1.0, abs=0.1)


def test_views_show_another_version_in_training_alone(tunes):
    data = Tunes(limit=240, clips=2, instruments=["piano", "flute"], shares=(0.15, 0.2), batch_size=64,
                 views=True)  # fmt: skip
    batch = next(iter(data.loader("train", shuffle=True)))
    shown = data.transform(batch, training=True)
    assert shown.view.x.shape == shown.x.shape
    assert shown.view.condition.keys() == shown.condition.keys() == {"genre", "instrument"}
    assert torch.equal(shown.view.condition["genre"], batch.condition["genre"])
    same = shown.view.condition["instrument"] == batch.condition["instrument"]
    assert 0 < same.sum() < len(same)
    assert torch.allclose(shown.view.x[same], shown.x[same], atol=1e-2)
    assert (shown.view.x[~same] - shown.x[~same]).abs().amax((1, 2, 3)).min() > 0.5  # another instrument sounds so
    assert data.transform(batch, training=False).view is None


def test_views_and_judge_keep_to_a_subset_and_to_the_whole():
    settings = {"limit": 240, "clips": 2, "instruments": ["piano", "flute"], "shares": (0.15, 0.2), "batch_size": 64}
    data, whole = Tunes(**settings, views=True), Tunes(**settings)
    held_out = {"genre": "reel", "instrument": "flute"}
    Subset(hold_out=[held_out], shuffle=["genre"]).take_from(data)
    reel, flute = whole.attributes["genre"].parse("reel"), 1
    for batch in data.loader("train", shuffle=True):
        rows = data.examples.splits["train"][batch.positions]
        view = data.transform(batch, training=True).view.condition
        true_genre = whole.examples.fields["genre"][rows]  # what is heard, whatever was dealt out
        assert not ((true_genre == reel) & (view["instrument"] == flute)).any()
    assert data.features == whole.features
    judge, other = AudioReport().judge(data), AudioReport().judge(whole)
    for mine, theirs in zip(judge.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(judge.real.scores["genre"], other.real.scores["genre"])


def test_unknown_instruments_are_refused():
    with pytest.raises(ValueError, match="instruments banjo: there are piano"):
        Tunes(instruments=["banjo"])


@pytest.fixture
def collection(tone, tmp_path):
    """Two genres, ten recordings each, of two clips."""
    for genre, hertz in (("high", 900), ("low", 300)):
        for number in range(10):
            tone(tmp_path / "sounds" / genre / f"{number}.wav", hertz + 10 * number, 2.1)
    return tmp_path / "sounds"


def options(**more):
    return {"features": FEATURES, "shares": (0.2, 0.2), "batch_size": 8} | more


def test_a_folder_is_cut_into_clips_and_split_by_recording(collection):
    data = AudioFiles(collection, **options())
    assert data.attributes == {"genre": Categorical(("high", "low"))}
    assert data.examples.x.shape == (40, 1, 16, 32)
    owners = data.examples.fields["genre"].new_tensor(range(40)) // 2  # clips of a recording lie side by side
    sides = [set(owners[rows].tolist()) for rows in data.examples.splits.values()]
    assert sum(map(len, sides)) == 20
    assert torch.equal(data.examples.groups, owners)
    assert data.shape == data.features.shape
    assert data.features.mean != 0.0


def test_artists_lie_on_one_side(collection, tmp_path):
    files = sorted(collection.rglob("*.wav"))
    rows = [f"{f.relative_to(collection)},{f.parent.name},a{int(f.stem) // 2},{int(f.stem) + 0.5}" for f in files]
    (tmp_path / "labels.csv").write_text("\n".join(["file,genre,artist,age", *rows]))
    data = AudioFiles(collection, tmp_path / "labels.csv", group="artist", **options(shares=(0.3, 0.3)))
    artist = data.examples.fields["artist"]
    sides = [set(artist[rows].tolist()) for rows in data.examples.splits.values()]
    assert sum(map(len, sides)) == 5
    assert len(torch.stack([data.examples.groups, artist], dim=1).unique(dim=0)) == 5
    assert isinstance(data.attributes["age"], Continuous)
    chosen = AudioFiles(collection, tmp_path / "labels.csv", condition=["genre"], **options())
    assert list(chosen.attributes) == ["genre"]


def test_a_genre_may_be_called_none(collection, tmp_path):
    files = sorted(collection.rglob("*.wav"))
    genres = {"high": "None", "low": "NA"}
    rows = [f"{file.relative_to(collection)},{genres[file.parent.name]}" for file in files]
    (tmp_path / "labels.csv").write_text("\n".join(["file,genre", *rows]))
    data = AudioFiles(collection, tmp_path / "labels.csv", **options())
    assert data.attributes == {"genre": Categorical(("NA", "None"))}
    assert data.examples.fields["genre"].bincount().tolist() == [20, 20]


def test_faulty_files_stop_or_are_left_out_by_name(collection):
    soundfile.write(collection / "low" / "silent.wav", np.zeros(8000), 8000)
    (collection / "low" / "text.wav").write_text("no sound")
    cut = collection / "high" / "0.wav"
    cut.write_bytes(cut.read_bytes()[:5000])
    with pytest.raises(ValueError, match="3 of 22 files are faulty") as raised:
        _ = AudioFiles(collection, **options()).examples
    for name in ("silent.wav holds nothing", "text.wav cannot be read", "0.wav is truncated"):
        assert name in str(raised.value)
    with pytest.warns(UserWarning, match="3 of 22 files are faulty"):
        table = AudioFiles(collection, faulty="skip", **options()).examples
    assert len(table.x) == 38


@pytest.mark.parametrize("failing", ["sound", "disk"])  # libsndfile calls a disk's error a format that it does not know
def test_what_is_no_fault_of_a_file_is_not_one_for_ever(collection, monkeypatch, failing):
    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    file = collection / "low" / "0.wav"
    content = file.read_bytes()
    with monkeypatch.context() as patch:
        if failing == "disk":
            file.write_bytes(b"no sound")
            patch.setattr(faults, "_read", fail)
        else:
            patch.setattr(datamodules, "Sound", fail)
        with pytest.raises(OSError, match=r"Input/output error, which says nothing of its content: .*\.wav"):
            _ = AudioFiles(collection, faulty="skip", **options()).examples
    file.write_bytes(content)
    assert len(AudioFiles(collection, faulty="skip", **options()).examples.x) == 40


def test_only_one_source_of_labels():
    with pytest.raises(ValueError, match="choose one"):
        AudioFiles("x", "labels.csv", "<digit>_<speaker>")


def test_a_file_that_is_faulty_at_its_end_leaves_no_clip(collection):
    wave = np.sin(np.arange(8 * 8000) * 0.3) * 0.3
    wave[-100] = np.nan
    soundfile.write(collection / "low" / "late.wav", wave, 8000, subtype="FLOAT")
    soundfile.write(collection / "low" / "none.wav", np.zeros(0), 8000)
    with pytest.raises(
        ValueError, match=r"2 of 22 files are faulty: .*late\.wav holds samples.*none\.wav holds no sound"
    ):
        _ = AudioFiles(collection, **options()).examples
    data = AudioFiles(collection, faulty="skip", **options())
    with pytest.warns(UserWarning, match="left out: 2 of 22 files are faulty"):
        assert len(data.examples.x) == 40
    assert not any("late" in file for file in data.examples.origin["file"])
    again = AudioFiles(collection, faulty="skip", **options())  # from the cache
    assert any(
        note.startswith("files left out as faulty: 2 of 22 (") and "late.wav" in note for note in again.details()
    )


def test_the_same_recording_under_two_names_lies_on_one_side(collection):
    for number in range(10):
        wave, rate = soundfile.read(collection / "low" / f"{number}.wav", dtype="int16")
        soundfile.write(collection / "high" / f"copy {number}.flac", wave, rate)
    data = AudioFiles(collection, **options())
    examples = data.examples
    sides = {}
    for split, rows in examples.splits.items():
        for row in rows.tolist():
            sides.setdefault(Path(examples.origin["file"][row]).stem.removeprefix("copy "), {}).setdefault(
                examples.origin["file"][row], split
            )
    for number in range(10):
        copies = {file: split for file, split in sides[str(number)].items() if "copy" in file or "/low/" in file}
        assert len(copies) == 2
        assert len(set(copies.values())) == 1
    assert any(note.startswith("recordings that are the same as others: 10 (") for note in data.details())
    assert data.repeated("test") == 0


def test_artists_in_folders_lie_on_one_side(tone, tmp_path):
    for genre, hertz in (("high", 900), ("low", 300)):
        for number in range(16):
            tone(tmp_path / genre / f"artist {number // 2}" / f"{number}.wav", hertz + 7 * number, 1.1)
    data = AudioFiles(tmp_path, group="artist", **options(shares=(0.25, 0.25)))
    artist = data.examples.fields["artist"]
    sides = [set(artist[rows].tolist()) for rows in data.examples.splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 8
    assert list(AudioFiles(tmp_path, condition=["genre", "artist"], **options()).attributes) == ["genre", "artist"]
    assert list(AudioFiles(tmp_path, condition=["genre"], group="artist", **options()).attributes) == ["genre"]


def test_channels_that_cancel_are_counted(collection):
    wave = np.sin(np.arange(8 * 8000) * 0.3) * 0.3
    soundfile.write(collection / "low" / "inverted.wav", np.stack([wave, -wave], 1), 8000)
    data = AudioFiles(collection, **options())
    assert len(data.examples.x) == 48
    (note,) = [note for note in data.details() if "cancel" in note]
    assert note.endswith(f"so that the louder one was taken: 1 ({collection / 'low' / 'inverted.wav'})")


def test_spellings_of_a_genre_are_one(collection, tmp_path):
    files = sorted(collection.rglob("*.wav"))
    genres = {"high": ["Rock", "rock", " Rock "], "low": ["None", "None", "none"]}
    rows = [
        f"{file.relative_to(collection)},{genres[file.parent.name][number % 3]}" for number, file in enumerate(files)
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,genre", *rows]))
    data = AudioFiles(collection, tmp_path / "labels.csv", **options())
    assert data.attributes == {"genre": Categorical(("None", "Rock"))}
    assert data.examples.fields["genre"].bincount().tolist() == [20, 20]
    assert "genre: 'rock' is taken for 'Rock'" in data.details()


@pytest.mark.parametrize("folder", ["genres", "genres_original", "Data/genres_original", "."])
def test_gtzan_is_read_as_torchaudio_and_as_kaggle_lay_it_out(tone, tmp_path, folder):
    for genre in ("blues", "jazz"):
        for number in (0, 1, 2, 12, 29, 30, 40, 41, 42, 73, 89, 90, 95):
            tone(tmp_path / folder / genre / f"{genre}.{number:05d}.wav", 200 + 20 * number)
    damaged = tmp_path / folder / "jazz" / "jazz.00054.wav"
    damaged.write_bytes(b"not a sound")
    data = GTZAN(tmp_path, features=FEATURES)
    with pytest.warns(UserWarning, match=r"left out: 1 of \d+ files are faulty: .*jazz\.00054\.wav cannot be read"):
        assert data.attributes["genre"] == Categorical(("blues", "jazz"))
    assert all(len(rows) for rows in data.examples.splits.values())
    files = {Path(file).name: row for row, file in enumerate(data.examples.origin["file"])}
    split = {name: split for name, row in files.items() for split, rows in data.examples.splits.items() if row in rows}
    assert split["blues.00012.wav"] == "test"  # in torchaudio's list
    assert "jazz.00054.wav" not in files


def test_gtzan_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"holds no GTZAN: set data\.root to the folder that has genres or genres_o"
    ):
        _ = GTZAN(tmp_path, features=FEATURES).examples


def test_speech_commands_are_read_where_torchaudio_expects_them(tone, tmp_path):
    root = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    names = [f"{word}/{speaker}_nohash_0.wav" for word in ("yes", "no") for speaker in ("a", "b", "c", "d")]
    for number, name in enumerate(names):
        tone(root / name, 300 + 50 * number)
    (root / "validation_list.txt").write_text("yes/a_nohash_0.wav\nno/a_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("yes/b_nohash_0.wav\nno/b_nohash_0.wav\n")
    data = SPEECHCOMMANDS(tmp_path, features=FEATURES)
    assert data.attributes == {"word": Categorical(("no", "yes"))}
    assert {name: len(rows) for name, rows in data.examples.splits.items()} == {"train": 4, "val": 2, "test": 2}
