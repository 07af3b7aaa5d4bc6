import io

import pytest
from PIL import Image

from common.dashboard.films import ROWS, films
from common.dashboard.runs import Problems, read_runs
from common.evaluation.media_files import MediaFile, append_media
from tests.common.dashboard.conftest import data_of


@pytest.fixture
def made(tmp_path, write_run):
    """Two runs with other epochs, read."""
    folders = [write_run(tmp_path, "a"), write_run(tmp_path, "b", epochs=(2, 4), seed=1)]
    return read_runs(folders, Problems())


def test_runs_share_a_film_whose_times_are_those_of_all(made):
    shown, left_out = films(made, Problems())
    assert [(film.name, film.kind, len(film.panels)) for film in shown] == [
        ("conditions", "picture", 2),
        ("sounds", "sound", 2),
        ("rewritings", "table", 2),
    ]
    film = shown[0]
    assert film.moments == ["epoch 1", "epoch 2", "epoch 3", "epoch 4", "test"]
    assert [[frame.place for frame in panel.frames] for panel in film.panels] == [[0, 1, 2, 4], [1, 3, 4]]
    picture = Image.open(io.BytesIO(data_of(film.panels[1].frames[1].picture.uri)))
    assert picture.convert("RGB").getpixel((9, 9)) == (0, 0, 160)
    assert film.panels[0].frames[0].alternative == "digits 0 to 9 at epoch-0001, epoch 1, digits · seed 0"
    assert left_out == []


def test_a_sound_has_its_spectrogram_which_is_no_film_of_its_own(made):
    sounds = next(film for film in films(made, Problems())[0] if film.kind == "sound")
    frame = sounds.panels[0].frames[-1]
    assert (frame.when, frame.caption, frame.picture.width) == ("test", "genre=reel", 120)
    assert frame.sound.uri.startswith("data:audio/mpeg")


def test_figures_of_rewriting_stand_above_the_rewritings(made):
    tables = next(film for film in films(made, Problems())[0] if film.kind == "table")
    assert tables.panels[0].figures == [("rewrite/accuracy", "0.75")]
    assert [cell.text for cell in tables.panels[0].frames[-1].table.rows[0].cells] == ["kjv", "thou art test"]


def test_long_tables_are_cut_and_say_so(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    (folder / "samples/test-rewritings.csv").write_text("text\n" + "word\n" * 100)
    table = films(read_runs([folder], Problems()), Problems())[0][-1].panels[0].frames[-1].table
    assert (len(table.rows), table.notes) == (ROWS, [f"the first {ROWS} rows"])


def test_all_media_stay_within_their_bound_and_what_is_left_out_is_said(tmp_path, write_run):
    folders = []
    for number in range(2):
        folder = write_run(tmp_path, str(number), seed=number)
        for epoch in range(1, 21):
            file = f"epoch-{epoch:04d}-noise.png"
            Image.effect_noise((300, 300), 80).save(folder / "samples" / file)
            when = f"epoch-{epoch:04d}"
            append_media(folder / "samples", [MediaFile(file, when, epoch, epoch, "picture", "noise")])
        folders.append(folder)
    runs = read_runs(folders, Problems())
    sizes = {}
    for bound in (20_000_000, 1_000_000, 150_000):
        shown, left_out = films(runs, Problems(), bound)
        frames = [frame for film in shown for panel in film.panels for frame in panel.frames]
        sizes[bound] = sum(len(part.uri) for frame in frames for part in (frame.picture, frame.sound) if part)
        assert sizes[bound] <= bound
        times = {film.name: len(film.panels[0].frames) for film in shown}
        assert times.get("noise", 0) <= 12
        assert f"digits · seed 0: {20 - times.get('noise', 0)} of 20 times of noise" in left_out
    assert sizes[20_000_000] > sizes[1_000_000] > sizes[150_000] > 0


def test_one_damaged_picture_sound_or_table_costs_no_other(tmp_path, write_run):
    folder = write_run(tmp_path, "a")
    (folder / "samples/epoch-0002-conditions.png").write_bytes(
        (folder / "samples/test-conditions.png").read_bytes()[:60]
    )
    (folder / "samples/test-sample-0.wav").write_bytes(b"RIFF")
    (folder / "samples/epoch-0001-rewritings.csv").write_bytes(b"")
    problems = Problems()
    shown, _ = films(read_runs([folder], problems), problems)
    assert {film.name: [frame.when for frame in film.panels[0].frames] for film in shown} == {
        "conditions": ["epoch-0001", "epoch-0003", "test"],
        "sounds": ["epoch-0001", "epoch-0002", "epoch-0003"],
        "rewritings": ["epoch-0002", "epoch-0003", "test"],
    }
    named = sorted(line.partition(": ")[0].rpartition("/")[2] for line in problems.lines)
    assert named == ["epoch-0001-rewritings.csv", "epoch-0002-conditions.png", "test-sample-0.wav"]
