import os
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modalities.audio.data import tunes
from modalities.audio.data.rendering import HIGHEST, PROGRAMS, Performance, beat, clip_starts, render
from modalities.audio.data.tunes import (
    GENRES,
    Tune,
    clean,
    group_tunes,
    header,
    ngrams,
    parse_tune,
    split_tunes,
    tune_files,
)

REEL = """X:1
T:The Test -- Reel
R:reel
M:C|
L:1/8
K:D
"D"dAFA dA{g}FA|!trill!BcdB ~A2FA|dAFA dAFA|BdAF E2D2|
"""


@pytest.fixture(scope="module")
def few():
    """Every twentieth of the embedded tunes."""
    return tunes.read_tunes(tune_files()[::20])[0]


def test_the_parser_writes_its_files_where_no_other_process_does(monkeypatch):
    import symusic

    folders = []
    real = symusic.Score.from_abc

    def spy(text):
        folders.append(os.environ["TMPDIR"])
        return real(text)

    monkeypatch.setattr(symusic, "Score", type("Score", (), {"from_abc": staticmethod(spy)}))
    before = os.environ.get("TMPDIR")
    tunes.read_tunes(tune_files()[:8])
    assert len(set(folders)) == len(folders) > 4
    assert before not in folders
    assert os.environ.get("TMPDIR") == before
    assert not any(os.path.exists(folder) for folder in folders)


def test_there_are_1059_files_and_the_usable_ones_are_of_five_dances(few, capfd):
    assert len(tune_files()) == 1059
    assert {tune.genre for tune in few} <= set(GENRES)
    assert len(few) >= 45
    assert capfd.readouterr() == ("", "")  # the parser's messages stay away


def test_a_tune_is_read_with_its_dance_bar_and_notes():
    tune = parse_tune(REEL, "test.abc")
    assert (tune.genre, tune.title, tune.bar, tune.downbeat, tune.tempo) == ("reel", "the test", 4.0, 0.0, None)
    assert tune.start[:4].tolist() == [0.0, 0.5, 1.0, 1.5]
    assert tune.pitch[:4].tolist() == [74, 69, 66, 69]  # D5 A4 F sharp 4 A4
    assert tune.end == pytest.approx(16.0)


def test_an_upbeat_is_not_taken_for_a_bar():
    tune = parse_tune(REEL.replace('"D"dAFA', "FG|dAFA"), "test.abc")
    assert tune.downbeat == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("R:reel", "R:waltz", "test.abc: another kind of dance"),
        ("R:reel", "R:jig", "test.abc: a metre that is not that of its dance"),
        ("dA{g}FA|!trill!BcdB ~A2FA|dAFA dAFA|BdAF E2D2|", "", "test.abc: too few notes"),
    ],
)
def test_a_tune_that_does_not_fit_says_why(old, new, message):
    with pytest.raises(ValueError, match=message):
        parse_tune(REEL.replace(old, new), "test.abc")


def test_clean_abc_has_no_dance_for_the_parser_to_swing_and_nothing_but_notes():
    text = clean(REEL)
    assert "R:" not in text
    assert not re.search(r'["!{~]', text)
    assert "dAFA dAFA|BcdB A2FA" in text


@given(st.text(max_size=200))
def test_any_text_is_cleaned_and_read_or_refused_by_name(text):
    assert isinstance(header(text), dict)
    assert clean(clean(text)) == clean(text)
    assert not re.search(r"^\s*R:", clean(text), re.MULTILINE)
    with pytest.raises(ValueError, match=r"^x\.abc: "):
        parse_tune(text, "x.abc")


def tune_of(pitches, name="a", genre="reel", title=None):
    start = np.arange(len(pitches)) * 0.5
    length = np.full(len(pitches), 0.5)
    velocity = np.full(len(pitches), 80)
    return Tune(name, title or name, genre, start, length, np.array(pitches), velocity, 4.0, 0.0, None)


def test_a_transposed_tune_is_a_duplicate_and_another_tune_is_not():
    generator = np.random.default_rng(0)
    melody, other = (generator.integers(60, 80, 60).tolist() for _ in range(2))
    versions = [tune_of(melody, "a"), tune_of([pitch + 5 for pitch in melody], "b"), tune_of(other, "c")]
    assert ngrams(versions[0]) == ngrams(versions[1])
    first, second, third = group_tunes(versions)
    assert first == second != third


def test_tunes_of_one_title_are_one_group():
    generator = np.random.default_rng(1)
    pair = [tune_of(generator.integers(60, 80, 40).tolist(), name, title="same") for name in "ab"]
    assert len(set(group_tunes(pair))) == 1


def test_no_group_of_the_embedded_tunes_lies_on_two_sides_and_every_genre_on_all(few):
    groups = group_tunes(few)
    parts = split_tunes(few, groups, (0.1, 0.1))
    side = {row: name for name, rows in parts.items() for row in rows.tolist()}
    assert len(side) == len(few)
    for group in set(groups):
        assert len({side[row] for row, own in enumerate(groups) if own == group}) == 1
    common = [genre for genre, count in Counter(tune.genre for tune in few).items() if count >= 10]
    for rows in parts.values():
        assert {few[row].genre for row in rows.tolist()} >= set(common)
    again = split_tunes(few, groups, (0.1, 0.1))
    assert all(torch.equal(again[name], rows) for name, rows in parts.items())


def test_a_performance_has_the_tempo_of_its_dance_and_swings_hornpipes():
    even = np.arange(0, 4, 0.5)
    reel, hornpipe = (tune_of([60] * 30, "x", genre) for genre in ("reel", "hornpipe"))
    played = Performance(tempo_spread=0.0)
    assert beat(reel) == 2.0
    assert np.diff(played.seconds(reel, even)) == pytest.approx(60 / 112 / 4)
    steps = np.diff(played.seconds(hornpipe, even))
    assert steps[0] / (steps[0] + steps[1]) == pytest.approx(0.64)
    assert steps[0] + steps[1] == pytest.approx(60 / 84 / 2)


def test_as_notated_all_dances_are_even_and_equally_fast():
    even = np.arange(0, 4, 0.5)
    written = Performance("as_notated")
    for genre in ("reel", "hornpipe", "strathspey"):
        assert np.diff(written.seconds(tune_of([60] * 30, "x", genre), even)) == pytest.approx(0.25)
    assert written.customary_tempo == {}


def test_clips_begin_on_bars_and_none_is_played_twice(few):
    performance = Performance()
    for tune in few[:10]:
        starts = clip_starts(tune, performance, 4.096, 6)
        bar = performance.seconds(tune, np.array([tune.downbeat + tune.bar]))[0]
        assert len(set(starts)) == len(starts) > 0
        assert np.array(starts) / bar == pytest.approx(np.round(np.array(starts) / bar), abs=1e-6)


def test_rendering_is_the_same_twice_at_the_common_level_and_differs_by_instrument(few):
    first, again = (render(few[0], "fiddle", Performance(), 0.0, 16_000, 16_000) for _ in range(2))
    assert torch.equal(first, again)
    assert first.square().mean().sqrt().item() == pytest.approx(0.1, abs=1e-4)
    assert not torch.allclose(first, render(few[0], "piano", Performance(), 0.0, 16_000, 16_000), atol=0.01)


@pytest.mark.parametrize("instrument", PROGRAMS)
def test_notes_beyond_the_soundfont_do_not_hang_the_synthesiser(instrument):
    sound = render(tune_of([HIGHEST + step for step in range(1, 12)]), instrument, Performance(), 0.0, 16_000, 16_000)
    assert sound.isfinite().all()
