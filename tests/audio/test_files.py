from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from common.batch import Batch
from modalities.audio.files import SoundFormat
from modalities.audio.signal.audio_files import WRITTEN
from tests.audio.models import small_model


def test_samples_by_name_are_written_as_they_are(tmp_path):
    model = small_model().eval()
    samples = model.sample({"genre": ["jig", "reel"], "instrument": "flute"}, num_samples=2)
    assert samples.shape == (2, 2, 1, 16, 32)
    SoundFormat().write(model, samples, tmp_path / "clips")
    files = sorted((tmp_path / "clips").iterdir())
    assert [file.name for file in files] == ["000.wav", "001.wav", "002.wav", "003.wav"]
    again = SoundFormat().read(model, files[1])
    errors = [(again - x).abs().mean().item() for x in samples.flatten(0, 1)]
    assert errors[1] < errors[0]  # the order is kept
    SoundFormat().write(model, samples[0, 0], tmp_path / "one.wav")
    assert soundfile.info(tmp_path / "one.wav").frames == 8192


def test_conditions_of_clips_of_any_length_are_given_by_name():
    model = small_model().eval()
    for frames in (32, 75):
        own = model.raw_fields({"genre": ["reel", "clog"], "instrument": "piano"})
        batch = Batch(torch.randn(2, 1, 16, frames), own)
        assert torch.equal(model.transfer(batch, {"genre": "jig"}), model.transfer(batch, {"genre": 1}))
        with pytest.raises(ValueError, match="condition genre: 'polka' is not one of reel, jig, clog"):
            model.transfer(batch, {"genre": "polka"})
        with pytest.raises(ValueError, match="unknown condition 'style'; this model knows: genre, instrument"):
            model.transfer(batch, {"style": "jig"})


def test_a_scored_tune_has_its_length_and_nats_of_a_second(tunes, tmp_path):
    model = small_model(tunes.features, tunes.attributes).eval()
    clip = tunes.examples.x[:1]
    SoundFormat().write(model, tunes.features.standardise(clip), tmp_path / "tune.wav")
    condition = {"genre": "jig", "instrument": "flute"}
    batch = SoundFormat().read_batch(model, [tmp_path / "tune.wav"], model.condition.parse(condition))
    nll = torch.tensor([6000.0])
    table = SoundFormat().score_table(model, tmp_path / "tune.wav", batch, nll, condition)
    assert table == {
        "file": [str(tmp_path / "tune.wav")],
        "start_seconds": [0.0],
        "seconds": [tunes.features.seconds],
        "genre": ["jig"],
        "instrument": ["flute"],
        "nll_nats": [6000.0],
        "nats_per_second": [6000.0 / tunes.features.seconds],
    }


def test_a_file_is_at_least_a_frame_long(tone, tmp_path):
    model = small_model().eval()  # a frame is 32 ms
    with pytest.raises(ValueError, match=r"blip\.wav is shorter than a frame of the model, 0\.032 s"):
        SoundFormat().read(model, tone(tmp_path / "blip.wav", seconds=0.02))
    x = SoundFormat().read(model, tone(tmp_path / "short.wav", seconds=0.04))
    assert x.shape == (1, 1, 16, 1)
    batch = Batch(x, {"genre": torch.tensor([0]), "instrument": torch.tensor([0])})
    SoundFormat().write(model, model.transfer(batch, {"genre": "jig"}), tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").frames == 256
    assert model.log_likelihood(batch, 4).isfinite().all()


def test_seconds_are_those_that_were_decoded(tmp_path):
    model = small_model().eval()
    wave = 0.3 * np.sin(np.arange(48_000) * 0.3)
    wave[:8000] = np.random.default_rng(0).standard_normal(8000) * 0.3
    file = tmp_path / "a.mp3"
    soundfile.write(file, wave, 16_000, bitrate_mode="VARIABLE", compression_level=0.0)
    raw = file.read_bytes()
    file.write_bytes(raw[raw.index(raw[:2], 4) :])  # without the tag that says how long it is
    x = SoundFormat().read(model, file)
    assert x.shape[-1] == pytest.approx(3.0 * 8000 / 256, abs=4)
    assert soundfile.info(file).duration < 2.0
    (row,) = SoundFormat().rows(model, file, x)["seconds"]
    assert row == pytest.approx(3.0, abs=0.15)
    scores = SoundFormat().score_table(model, file, Batch(x, {}), torch.tensor([600.0]), {})
    assert scores["nats_per_second"] == pytest.approx([600.0 / row])


def test_files_of_a_folder_are_named_after_their_condition_and_what_is_written_anew_is_said(tmp_path):
    model = small_model().eval()
    for genre in ("jig", "reel"):
        samples = model.sample({"genre": genre, "instrument": "flute"}, num_samples=2)
        files = SoundFormat().named([f"genre={genre}", "instrument=a/b: flute"])
        files.write(model, samples, tmp_path / "clips")
    names = [f"genre={genre}_instrument=a_b_flute-00{number}.wav" for genre in ("jig", "reel") for number in range(2)]
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == names
    with pytest.warns(UserWarning, match=r"clips: 2 clips are written anew, genre=reel_instrument=a_b_flute-000\.wav"):
        files.write(model, samples, tmp_path / "clips")
    SoundFormat().named([]).write(model, samples, tmp_path / "free")
    assert sorted(path.name for path in (tmp_path / "free").iterdir()) == ["sample-000.wav", "sample-001.wav"]


def test_results_are_named_after_the_inputs(tone, tmp_path):
    for name in ("a.wav", "dir/x/b.flac", "dir/c.wav", "dir/c.mp3", "other/a.wav"):
        tone(tmp_path / name)
    (tmp_path / "dir" / "cover.jpg").write_bytes(b"")
    out = tmp_path / "out"
    pairs = SoundFormat().targets([tmp_path / "a.wav", tmp_path / "dir"], out)
    assert [(str(a.relative_to(tmp_path)), str(b.relative_to(out))) for a, b in pairs] == [
        ("a.wav", "a.wav"), ("dir/c.mp3", "c-mp3.wav"), ("dir/c.wav", "c-wav.wav"), ("dir/x/b.flac", "x/b.wav"),
    ]  # fmt: skip
    assert SoundFormat().targets([tmp_path / "a.wav"], tmp_path / "b.flac") == [
        (tmp_path / "a.wav", tmp_path / "b.flac")
    ]
    with pytest.raises(ValueError, match=r"b\.wav: 3 sound files need a folder"):
        SoundFormat().targets([tmp_path / "dir"], tmp_path / "b.wav")
    with pytest.raises(ValueError, match=r"a\.wav is an input, which would be lost"):
        SoundFormat().targets([tmp_path / "a.wav"], tmp_path)
    with pytest.raises(ValueError, match=r"a\.wav and .*other/a\.wav would both become"):
        SoundFormat().targets([tmp_path / "a.wav", tmp_path / "other" / "a.wav"], out)


@pytest.mark.parametrize(
    ("out", "message"), [("-", "not to the standard output"), ("a.m4a", r"a\.m4a: sound is written")]
)
def test_sound_is_not_written_where_nobody_can_read_it(out, message):
    with pytest.raises(ValueError, match=message):
        SoundFormat().targets([], Path(out))


@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_is_written_is_read_again(tmp_path, suffix):
    model = small_model().eval()
    time = torch.arange(8192) / 8000
    x = model.hear(torch.sin(2 * torch.pi * 700 * time)[None])
    SoundFormat().write(model, x, tmp_path / f"a{suffix}")
    again = SoundFormat().read(model, tmp_path / f"a{suffix}")
    assert again.shape == x.shape
    assert again.mean((0, 1, 3)).argmax() == x.mean((0, 1, 3)).argmax()
