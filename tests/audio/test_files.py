import pytest
import soundfile
import torch

from common.batch import Batch
from modalities.audio.files import SoundFormat
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
