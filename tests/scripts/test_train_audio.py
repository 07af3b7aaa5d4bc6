"""Audio from the command line: train, generate, transfer, score."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from common.model.files import FileFormat, condition_fields
from common.results import Results
from common.training.module import ConditionalELBO
from common.training.restore import restore
from modalities.audio import AudioGenreCVAE
from modalities.audio.evaluation.judge import AudioJudge
from scripts.generate import generate, parser, sound_format

SMALL = [
    "--config", "configs/audio/tunes.yaml", "--config", "configs/trainer/debug.yaml",
    "--data.limit", "120", "--data.clips", "1", "--data.instruments", "[piano,flute]", "--data.shares", "[0.15,0.2]",
    "--model.latent_dim", "64", "--model.prior.init_args.channels", "2", "--model.prior.init_args.width", "16",
    "--model.architecture.width", "16", "--model.architecture.channels", "4", "--model.transfers", "10",
    "--model.evaluation.judge_steps", "null", "--model.evaluation.control_samples", "50",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _audio_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(AudioJudge.fit, "__defaults__", (30, 32, 0))
        yield


@pytest.fixture(scope="module")
def run(train_audio, tmp_path_factory):
    """A finished run's folder."""
    root = tmp_path_factory.mktemp("runs")
    train_audio("fit", *SMALL, "--run.root", root, "--wandb.mode", "offline")
    (results,) = root.rglob("results.json")
    return results.parent


@pytest.fixture
def clip(tmp_path):
    """A stereo file of another sample rate, longer than a training clip."""
    time = np.arange(22_050 * 6) / 22_050
    wave = np.sin(2 * np.pi * 500 * time) * (time * 3 % 1 < 0.5)
    soundfile.write(tmp_path / "clip.wav", 0.3 * np.stack([wave, wave], 1), 22_050)
    return tmp_path / "clip.wav"


def verbs(*arguments):
    generate(parser().parse_args([str(argument) for argument in arguments]))


def test_a_run_measures_and_leaves_pictures_and_sounds(run):
    results = Results.read(run / "results.json")
    assert results.run.modality == "audio"
    names = {"nll", "sound/control_accuracy/genre", "second_judge/judge_accuracy/instrument", "spread"}
    assert {f"test/{name}" for name in names} <= results.metrics.keys()
    written = {path.name for path in (run / "samples").iterdir()}
    assert {"test-reconstructions.png", "test-samples-by-genre-instrument.png", "curves.png"} <= written
    media = {path.suffix for path in run.glob("wandb/offline-run-*/files/media/**/*.*")}
    assert {".png", ".wav"} <= media


def test_a_fresh_process_generates_sound_from_the_checkpoint_alone(run, tmp_path, run_script):
    checkpoint = tmp_path / "alone.ckpt"
    checkpoint.write_bytes((run / "checkpoints" / "best.ckpt").read_bytes())
    result = run_script(
        "scripts/generate.py", "--ckpt", checkpoint, "--condition", "genre=jig", "instrument=flute", "--num", 3,
        "--out", tmp_path / "clips",
    )  # fmt: skip
    assert "3 written to" in result.stdout
    for file in (tmp_path / "clips").iterdir():
        sound, rate = soundfile.read(file)
        assert (rate, len(sound)) == (16_000, 65_536)
        assert np.sqrt((sound**2).mean()) == pytest.approx(0.1, abs=0.01)
        assert np.abs(sound).max() < 0.99
    assert torch.load(checkpoint, weights_only=True)["latent_dim"] == 64


def test_a_seed_fixes_the_sound(run, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt", "--condition", "genre=reel", "--num", 1]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        verbs(*known, "--seed", seed, "--out", tmp_path / f"{name}.wav")
    a, b, c = ((tmp_path / f"{name}.wav").read_bytes() for name in "abc")
    assert a == b != c


def test_a_file_of_any_length_is_given_another_genre_without_saying_its_own(run, clip, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt"]
    verbs("transfer", *known, "--in", clip, "--condition", "genre=reel", "--out", tmp_path / "new.wav")
    assert soundfile.info(tmp_path / "new.wav").duration == pytest.approx(6.0, abs=0.05)
    source = ["--source", "genre=jig", "instrument=piano"]
    verbs("transfer", *known, "--in", clip, *source, "--condition", "instrument=flute", "--out", tmp_path / "other.wav")
    assert not np.array_equal(*(soundfile.read(tmp_path / name)[0] for name in ("new.wav", "other.wav")))


def test_clips_are_reconstructed_and_interpolated(run, clip, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt", "--source", "genre=jig", "instrument=piano"]
    verbs("reconstruct", *known, "--in", clip, "--out", tmp_path / "again.wav")
    assert soundfile.info(tmp_path / "again.wav").duration == pytest.approx(6.0, abs=0.05)
    soundfile.write(tmp_path / "b.wav", np.random.default_rng(0).standard_normal(8000) * 0.1, 16_000)
    verbs("interpolate", *known, "--in", clip, tmp_path / "b.wav", "--num", 3, "--out", tmp_path / "path")
    assert [file.name for file in sorted((tmp_path / "path").iterdir())] == ["000.wav", "001.wav", "002.wav"]


def test_mistakes_are_named(run, clip, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt"]
    with pytest.raises(ValueError, match=r"'polka' is not one of .*hornpipe, jig, reel, strathspey"):
        verbs(*known, "--condition", "genre=polka", "--out", tmp_path / "x")
    with pytest.raises(ValueError, match="4 clips need a folder"):
        verbs(*known, "--condition", "genre=jig", "--num", 4, "--out", tmp_path / "x.wav")
    with pytest.raises(ValueError, match="not to the standard output: name a file or a folder"):
        verbs(*known, "--condition", "genre=jig", "--num", 1, "--out", "-")
    with pytest.raises(ValueError, match="reconstruct does not read --seconds"):
        verbs("reconstruct", *known, "--in", clip, "--seconds", 3, "--out", tmp_path / "x.wav")
    for name in ("none", "neither"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(0), 16_000)
    faulty = ["--in", tmp_path / "none.wav", clip, tmp_path / "neither.wav"]
    with pytest.raises(ValueError, match=r"2 of 3 files are faulty: .*none\.wav holds no.*neither\.wav holds no sound"):
        verbs("reconstruct", *known, *faulty, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_options_of_sound_are_refused_for_other_models(tmp_path):
    known = ["--ckpt", "x", "--out", str(tmp_path / "x.png")]
    with pytest.raises(ValueError, match="Other makes no sound: leave out --seconds"):
        sound_format(FileFormat(), type("Other", (), {})(), parser().parse_args([*known, "--seconds", "3"]))
    with pytest.raises(ValueError, match="is a folder: name a file"):
        sound_format(FileFormat(), None, parser().parse_args(["reconstruct", *known, "--in", str(tmp_path)]))


def test_files_and_folders_of_any_length_are_transferred_and_named_after_the_inputs(run, clip, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt", "--condition", "genre=reel"]
    (tmp_path / "more" / "deep").mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(16_000) * 0.1
    soundfile.write(tmp_path / "more" / "one.wav", noise, 16_000)
    soundfile.write(tmp_path / "more" / "deep" / "half.flac", noise[:8000], 16_000)
    verbs("transfer", *known, "--in", clip, tmp_path / "more", "--out", tmp_path / "out")
    lengths = {str(file.relative_to(tmp_path / "out")): soundfile.info(file).duration
               for file in (tmp_path / "out").rglob("*.*")}  # fmt: skip
    assert lengths == {name: pytest.approx(seconds, abs=0.032)
                       for name, seconds in (("clip.wav", 6.0), ("one.wav", 1.0), ("deep/half.wav", 0.5))}  # fmt: skip
    verbs("transfer", *known, "--in", tmp_path / "more" / "one.wav", "--out", tmp_path / "alone.wav")
    alone, beside = (soundfile.read(tmp_path / name)[0] for name in ("alone.wav", "out/one.wav"))
    assert np.array_equal(alone, beside)  # whatever else is given


def test_samples_go_on_beyond_the_training_length_without_dying_out(run, tmp_path):
    known = ["--ckpt", run / "checkpoints" / "best.ckpt", "--num", 2, "--seconds", 14.0]
    for genre in ("jig", "reel"):
        verbs(*known, "--condition", f"genre={genre}", "instrument=flute", "--out", tmp_path / "clips")
    names = [f"genre={genre}_instrument=flute-00{number}.wav" for genre in ("jig", "reel") for number in range(2)]
    assert sorted(file.name for file in (tmp_path / "clips").iterdir()) == names
    for name in names:
        sound, rate = soundfile.read(tmp_path / "clips" / name)
        assert (rate, len(sound)) == (16_000, round(14 * 16_000 / 512) * 512)
        first, *_, last = (20 * np.log10(np.sqrt((part**2).mean())) for part in np.array_split(sound, 3))
        assert abs(last - first) < 3  # dB


def test_files_are_scored(run, clip, tmp_path, run_script):
    out = tmp_path / "scores.csv"
    short = tmp_path / "short.wav"
    soundfile.write(short, np.random.default_rng(0).standard_normal(8000) * 0.1, 16_000)
    arguments = ["--in", clip, short, "--condition", "genre=jig", "instrument=piano", "--num-samples", 3, "--out", out]
    run_script("scripts/evaluate.py", "score", "--ckpt", run / "checkpoints" / "best.ckpt", *arguments)
    table = pd.read_csv(out)
    restored = restore(run / "checkpoints" / "best.ckpt")
    condition = condition_fields(restored.model, ["genre=jig", "instrument=piano"])
    batch = restored.files.read_batch(restored.model, [clip], condition)
    assert table.nll_nats[0] == pytest.approx(-restored.model.log_likelihood(batch, 3).item(), rel=1e-4)
    assert table.seconds.tolist() == pytest.approx([6.0, 0.5])
    assert table.nats_per_second.tolist() == pytest.approx((table.nll_nats / table.seconds).tolist())
    assert table[["genre", "instrument"]].to_numpy().tolist() == [["jig", "piano"]] * 2


def test_recordings_train_through_the_same_script(train_audio, tmp_path):
    generator = np.random.default_rng(0)
    for digit in range(3):
        for speaker in ("ann", "bob"):
            for number in range(8):
                wave = np.sin(np.arange(4000) * (0.1 + 0.1 * digit)) * 0.3 + generator.standard_normal(4000) * 0.01
                path = tmp_path / "recordings" / f"{digit}_{speaker}_{number}.wav"
                path.parent.mkdir(exist_ok=True)
                soundfile.write(path, wave, 8000)
    train_audio(
        "fit", "--config", "configs/audio/folder.yaml", "--config", "configs/audio/spoken_digits.yaml",
        "--config", "configs/trainer/debug.yaml", "--data.root", tmp_path / "recordings", "--data.batch_size", "8",
        "--data.shares", "[0.2,0.2]", "--model.architecture.width", "16", "--run.root", tmp_path / "runs",
    )  # fmt: skip
    (results,) = (tmp_path / "runs").rglob("results.json")
    metrics = json.loads(results.read_text())["metrics"]
    assert {"test/sound/control_accuracy/digit", "test/second_judge/control_accuracy/speaker"} <= metrics.keys()
    (checkpoint,) = (tmp_path / "runs").rglob("best.ckpt")
    model = ConditionalELBO.load_from_checkpoint(checkpoint)
    assert isinstance(model, AudioGenreCVAE)
    assert model.features.sample_rate == 8000
