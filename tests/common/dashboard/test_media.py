import json

from common.dashboard.media import media_of, moment_label, spread


def test_runs_of_before_the_list_are_read_by_the_names_of_their_files(tmp_path):
    names = [
        "test-rewritings.csv",
        "epoch-0010-conditions.png",
        "epoch-0005-conditions.png",
        "test-sample-0.wav",
        "notes.txt",
    ]
    for name in names:
        (tmp_path / name).touch()
    found = [(file.when, file.epoch, file.kind, file.name) for file in media_of(tmp_path)]
    assert found == [
        ("epoch-0005", 5, "picture", "conditions"),
        ("epoch-0010", 10, "picture", "conditions"),
        ("test", None, "table", "rewritings"),
        ("test", None, "sound", "sample-0"),
    ]


def test_a_list_cannot_name_files_of_other_folders(tmp_path):
    (tmp_path / "secret.png").touch()
    samples = tmp_path / "samples"
    samples.mkdir()
    (samples / "own.png").touch()
    entry = {"when": "test", "epoch": 1, "step": 1, "kind": "picture", "name": "a"}
    lines = [
        {**entry, "file": "../secret.png"},
        {**entry, "file": "own.png"},
        {**entry, "file": str(tmp_path / "secret.png")},
    ]
    lines.append({**entry, "file": "own.png", "kind": "sound", "picture": "../secret.png"})
    (samples / "media.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:3]))
    assert [file.file for file in media_of(samples)] == ["own.png"]
    (samples / "media.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert media_of(samples) == []


def test_frames_are_chosen_at_even_distances_with_the_first_and_the_last():
    assert spread(range(100), 4) == [0, 33, 66, 99]
    assert spread(range(3), 12) == [0, 1, 2]
    assert spread(range(9), 1) == [8]


def test_times_are_named_for_readers():
    assert [moment_label(when) for when in ("epoch-0005", "test")] == ["epoch 5", "test"]
