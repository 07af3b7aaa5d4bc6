import math
from dataclasses import replace

import pytest
import torch
from lightning.pytorch import Trainer
from scipy import stats

from common.data.subset import Subset
from common.evaluation.evaluation import Evaluation
from common.training.evaluator import Evaluator
from modalities.audio import AudioGenreCVAE, GenreEncoder
from modalities.audio.data import Tunes
from modalities.audio.evaluation.baseline_runs import baseline_results
from modalities.audio.evaluation.baselines import PPCA, ClassGaussians, nearest
from modalities.audio.evaluation.clip_evaluation import ClipEvaluation
from modalities.audio.evaluation.judge import AudioJudge
from modalities.audio.evaluation.metrics import (
    chroma,
    content_correlation,
    log_spectral_distance,
    self_similarity,
    spread,
    tempo,
    tempo_error,
)
from modalities.audio.evaluation.report import AudioReport, transfer_figures
from modalities.audio.evaluation.summary_judge import summary_judge
from modalities.audio.networks.convolutions import SpectrogramConv
from modalities.audio.signal.features import LogMel
from modalities.audio.signal.onsets import onset_strength
from modalities.audio.signal.vocoder import GriffinLim
from tests.audio.models import FEATURES, small_model

pytestmark = pytest.mark.filterwarnings("ignore")


def clicks(beats_a_minute, level=0.5):
    """Log-mel power of a click on every beat."""
    features = LogMel()
    wave = torch.zeros(features.samples)
    period = 60 * features.sample_rate / beats_a_minute
    for beat in range(int(features.samples / period)):
        start = round(beat * period)
        wave[start : start + 400] = level * torch.randn(min(400, features.samples - start))
    return features.log_mel(wave)[None, None]


@pytest.mark.parametrize("beats", [72, 84, 112, 132])
def test_the_tempo_of_clicks_is_found(beats):
    measured = tempo(clicks(beats), LogMel())
    assert tempo_error(measured, torch.tensor([float(beats)])).item() < 0.03


def test_a_multiple_of_a_tempo_is_forgiven_and_another_tempo_is_not():
    measured = torch.tensor([100.0, 50.0, 200.0, 300.0, 120.0])
    errors = tempo_error(measured, torch.full((5,), 100.0))
    assert errors[:4].tolist() == pytest.approx([0.0] * 4, abs=1e-6)
    assert errors[4].item() == pytest.approx(0.2, abs=1e-6)


def test_onsets_are_where_sound_begins():
    strength = onset_strength(clicks(60))[0]
    assert strength.argmax() % round(16_000 / 512) <= 1 or strength.max() > 3 * strength.mean()
    assert onset_strength(torch.zeros(1, 1, 8, 20)).sum() == 0


@pytest.mark.parametrize(("hertz", "pitch_class"), [(440.0, 0), (880.0, 0), (523.25, 3), (659.26, 7)])
def test_a_tone_has_the_chroma_of_its_pitch(hertz, pitch_class):
    time = torch.arange(65_536) / 16_000
    log_mel = LogMel().log_mel(0.14 * torch.sin(2 * torch.pi * hertz * time))[None, None]
    assert chroma(log_mel, LogMel())[0, :, 50].argmax().item() == pitch_class


def test_what_is_kept_is_one_for_the_same_and_little_for_another_tune(tunes):
    rows = tunes.examples.splits["train"][:40]
    curves = chroma(tunes.examples.x[rows].float(), tunes.features)
    assert torch.allclose(content_correlation(curves, curves), torch.ones(40), atol=1e-4)
    strangers = content_correlation(curves, curves.roll(7, 0))
    assert strangers.mean() < 0.4


def test_self_similarity_knows_a_tune_on_another_instrument(tunes):
    rows = tunes.examples.splits["test"][:40]
    own, other = (tunes.examples.x[chosen].float() for chosen in (rows, rows + 1 - 2 * (rows % 2)))
    same = content_correlation(self_similarity(own), self_similarity(other))
    strangers = content_correlation(self_similarity(own.roll(7, 0)), self_similarity(other))
    assert same.mean() > 0.5
    assert strangers.mean() < 0.35
    assert torch.allclose(content_correlation(self_similarity(own), self_similarity(own)), torch.ones(40), atol=1e-4)


def test_a_stretch_of_time_is_found_where_it_is_looked_for():
    curve = torch.nn.functional.avg_pool1d(torch.randn(6, 3, 260), 5, 1)[..., :128]
    slower = torch.nn.functional.interpolate(curve, scale_factor=1.4, mode="linear", align_corners=False)[..., :128]
    assert content_correlation(curve, slower, stretch=True).mean() > 0.9
    assert content_correlation(curve, slower).mean() < 0.7


def test_log_spectral_distance_and_spread_are_what_they_say():
    x = torch.randn(5, 1, 8, 10)
    assert log_spectral_distance(x, x + 1.0).tolist() == pytest.approx([10 / math.log(10)] * 5, rel=1e-5)
    assert spread(3 * x) == pytest.approx(3 * spread(x), rel=1e-5)


# Baselines.


def test_ppca_is_the_gaussian_of_scipy_and_finds_its_maximum_likelihood():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 2, generator=generator) * 2
    x = 1.0 + torch.randn(800, 2, generator=generator) @ weights.T + 0.5 * torch.randn(800, 6, generator=generator)
    model = PPCA.fit(x, components=2)
    covariance = model.weights @ model.weights.T + model.variance * torch.eye(6)
    expected = stats.multivariate_normal(model.mean.numpy(), covariance.numpy()).logpdf(x[:20].numpy())
    assert model.log_prob(x[:20]).numpy() == pytest.approx(expected, rel=1e-3)
    assert model.variance == pytest.approx(0.25, abs=0.04)
    assert torch.allclose(covariance, weights @ weights.T + 0.25 * torch.eye(6), atol=1.2)


def test_class_gaussians_know_their_class_and_say_what_they_never_saw():
    x = torch.cat([torch.randn(50, 4) - 5, torch.randn(50, 4) + 5])
    gaussians = ClassGaussians(x, {"k": torch.arange(2).repeat_interleave(50)})
    own = gaussians.log_prob(x[:10], {"k": torch.zeros(10, dtype=torch.long)})
    other = gaussians.log_prob(x[:10], {"k": torch.ones(10, dtype=torch.long)})
    assert (own > other + 20).all()
    assert gaussians.log_prob(x[:1], {"k": torch.tensor([7])}).isnan().all()
    assert gaussians.sample({"k": torch.tensor([1])}, (2, 2)).mean() > 2


def test_a_gaussian_reconstructs_what_its_components_explain():
    x = torch.randn(60, 2) @ torch.randn(2, 6) * 3 + 0.1 * torch.randn(60, 6)
    model, coarse = PPCA.fit(x, components=2), PPCA.fit(x, components=1)
    errors = [(gaussian.reconstruct(x) - x).square().mean() for gaussian in (model, coarse)]
    assert errors[0] < 0.02
    assert errors[1] > 10 * errors[0]
    gaussians = ClassGaussians(x, {"k": torch.zeros(60, dtype=torch.long)})
    clips = x.unflatten(1, (2, 3))
    assert gaussians.reconstruct(clips, {"k": torch.zeros(60, dtype=torch.long)}).shape == clips.shape


def test_the_nearest_clip_is_found():
    others = torch.randn(2500, 3, 4)
    rows = torch.arange(0, 2500, 7)
    distance, row = nearest(others[[7, 2100]] + 1e-4, others, rows, chunk=100)
    assert row.tolist() == [7, 2100]
    assert distance.max() < 1e-2
    distance, row = nearest(others[[8]], others, rows)  # which is none of the rows
    assert row.item() in rows.tolist()
    assert distance.item() > 1


# Judges.


def test_both_judges_read_real_clips(tunes):
    judge, second = AudioReport().judge(tunes), summary_judge(tunes.examples, tunes.features)
    assert judge.real.scores["instrument"].mean() >= 0.95
    assert second.real.scores["instrument"].mean() >= 0.95
    majority = tunes.conditions("test")["genre"].bincount().max() / len(tunes.examples.splits["test"])
    assert second.real.scores["genre"].mean() > majority


# The test of a model.


@pytest.fixture(scope="module")
def tested(tunes):
    """The figures of a model after its test, hardly trained."""
    model = AudioGenreCVAE(
        GenreEncoder(tunes.attributes, dim=8, field_dropout=0.1), tunes.features, latent_dim=64,
        architecture=SpectrogramConv(channels=4, width=16, depth=1), transfers=20,
        evaluation=Evaluation(num_samples=4, nll_examples=8, gain_samples=2, gain_examples=2, control_samples=40),
    )  # fmt: skip
    trainer = Trainer(
        accelerator="cpu", max_steps=3, limit_val_batches=1, limit_test_batches=3, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[Evaluator(model.evaluation, AudioReport())],
    )  # fmt: skip
    trainer.fit(model, tunes)
    trainer.test(model, tunes, verbose=False)
    return Evaluator.of(trainer).results


def test_a_test_measures_what_the_issue_asks_for(tested):
    names = {name.removeprefix("test/") for name in tested}
    assert {"nll", "nll_per_bin", "kl", "active_units", "leakage/genre", "leakage/instrument"} <= names
    for prefix in ("sound/", "second_judge/", "second_judge/sound/"):
        for field in ("genre", "instrument"):
            assert {f"{prefix}control_accuracy/{field}", f"{prefix}judge_accuracy/{field}"} <= names
    assert {"sound/control_accuracy/instrument/piano", "sound/judge_accuracy/genre/reel"} <= names
    assert "folds of whole groups" in tested["test/leakage/instrument"].estimator
    assert {"spread", "sound/spread", "log_spectral_distance", "sound/frechet_distance", "tempo_accuracy"} <= names
    assert "nearest_training_clip" in names
    for field in ("genre", "instrument"):
        kinds = {"accuracy/genre", "accuracy/instrument", "chroma", "chroma_random", "onset", "onset_random"}
        assert {f"transfer/{field}/{kind}" for kind in kinds} <= names


def test_figures_say_how_many_clips_are_behind_them(tested, tunes):
    assert tested["test/sound/control_accuracy/genre"].n == 40
    assert tested["test/transfer/genre/chroma"].n == 20
    assert tested["test/nll_per_bin"].n == 8
    bins = tunes.features.mels * tunes.features.frames
    assert tested["test/nll_per_bin"].value == pytest.approx(tested["test/nll"].value / bins, rel=1e-4)


def test_an_untrained_model_does_not_pass(tested):
    assert tested["test/sound/judge_accuracy/instrument"].value >= 0.9
    assert tested["test/sound/control_accuracy/instrument"].value <= 0.75
    assert tested["test/spread"].value < 0.85


@pytest.fixture
def model(tunes):
    return small_model(tunes.features, tunes.attributes, latent_dim=64, transfers=20, vocoder=GriffinLim(2, 2)).eval()


class Reads:
    """A judge that knows what the clips of a batch are said to be, in the order in which they are given."""

    def __init__(self, attributes, answers):
        self.attributes, self.answers = attributes, answers

    def read(self, x):
        return {name: answer[: len(x)] for name, answer in self.answers.items()}


def evaluation_of(model, data, count, change=lambda batch: batch):
    batch = change(data.batch("test", count))
    clips = ClipEvaluation(data, None, None, batch, batch.x, batch.x, "the clips themselves", model.vocoder)
    clips.fields = dict(data.attributes)
    return clips


def test_unlabelled_clips_are_no_errors_of_a_transfer(tunes, model, monkeypatch):
    genre = tunes.batch("test", 30).condition["genre"]
    labelled = torch.arange(30) % 3 > 0

    def unlabel(batch):
        return batch.replace(condition={**batch.condition, "genre": genre.where(labelled, -1)})

    clips = evaluation_of(model, tunes, 30, unlabel)
    clips.judges = {"": Reads(clips.fields, {"genre": genre, "instrument": torch.zeros(30).long()})}
    changed = transfer_figures(model, clips, "instrument")
    figure = changed["test/transfer/instrument/accuracy/genre"]
    assert figure.n == labelled[:20].sum()
    assert figure.value == 1
    clips.judges = {"": Reads(clips.fields, {"genre": genre[labelled], "instrument": torch.zeros(30).long()})}
    changed = transfer_figures(model, clips, "genre")
    assert changed["test/transfer/genre/accuracy/genre"].n == labelled.sum() == 20
    assert changed["test/transfer/genre/accuracy/genre"].value == 0  # each is asked for another genre than its own
    clips.batch.condition["genre"].fill_(-1)
    assert transfer_figures(model, clips, "genre") == {}


def test_a_condition_may_be_called_target(tunes):
    fields = {"target": tunes.whole.fields["instrument"]}
    attributes = {"target": tunes.attributes["instrument"]}
    data = Tunes()
    data.whole = replace(tunes.whole, fields=fields, attributes=attributes)
    model = small_model(tunes.features, attributes, latent_dim=64, transfers=20, vocoder=GriffinLim(2, 2)).eval()
    seen = []
    data.__dict__["features"] = tunes.features
    clips = evaluation_of(model, data, 20)
    own = clips.batch.condition["target"].clone()
    model.transfer = lambda batch, wanted: seen.append((batch.condition["target"], wanted["target"])) or batch.x
    clips.judges = {}
    transfer_figures(model, clips, "target")
    ((given, wanted),) = seen
    assert torch.equal(given, own)
    assert torch.equal(wanted, 1 - own)


def test_a_test_may_transfer_nothing(tunes, model):
    model.transfers = 0
    assert transfer_figures(model, evaluation_of(model, tunes, 5), "genre") == {}


def test_real_clips_are_what_they_are_where_a_model_is_trained_on_permuted_conditions(tunes):
    settings = {"limit": 240, "clips": 2, "instruments": ["piano", "flute"], "shares": (0.15, 0.2), "batch_size": 16}
    data = Tunes(**settings)
    Subset(shuffle=["instrument", "genre"]).take_from(data)
    found = {}
    for name, part in (("permuted", data), ("own", tunes)):
        batch = part.batch("test", 60)
        report = AudioReport()
        judges = report.judge(part), report.second_judge(part)
        clips = ClipEvaluation(part, *judges, batch, batch.x, batch.x, "copies", GriffinLim(2, 2))
        found[name] = clips.figures()
    permuted, own = found["permuted"], found["own"]
    assert own["test/second_judge/sound/control_accuracy/instrument"].value >= 0.9
    assert permuted["test/second_judge/sound/control_accuracy/instrument"].value <= 0.8  # asked for at random
    real = [name for name in own if "judge_accuracy" in name or "tempo_accuracy_real" in name or "tempo_real" in name]
    assert len(real) > 20
    assert {name: permuted[name] for name in real} == {name: own[name] for name in real}


def test_a_judge_of_the_same_clips_standardised_otherwise_is_another_one(tunes, monkeypatch):
    keys = []
    monkeypatch.setattr("modalities.audio.evaluation.judge.load_or_train", lambda judge, key, fit: keys.append(key))
    for features in (tunes.features, tunes.features, replace(tunes.features, mean=tunes.features.mean + 1)):
        AudioJudge.of(tunes.whole, features, "clips", steps=1)
    assert keys[0] == keys[1] != keys[2]


def test_a_test_may_control_no_samples(tunes, model):
    table = {"nll": torch.tensor([1.0, 2.0])}
    found = AudioReport().figures(model, tunes, Evaluation(control_samples=0), table)
    assert list(found) == ["test/nll_per_bin"]


@pytest.mark.slow
def test_copied_clips_keep_the_condition_and_gaussians_less_of_it(tunes):
    judge = AudioReport().judge(tunes)
    copied, gaussian = (baseline_results(system, tunes, judge, 60) for system in ("nearest", "gaussian"))
    name = "test/sound/control_accuracy/instrument"
    assert copied.metrics[name].value >= 0.9
    assert copied.metrics["test/spread"].value == pytest.approx(1.0, abs=0.1)
    assert gaussian.metrics[name].value <= copied.metrics[name].value
    assert "test/nll" in gaussian.metrics
    assert "test/nll" not in copied.metrics
    assert gaussian.run.modality == "audio"
    assert baseline_results("gaussian", tunes, judge, 60).metrics == gaussian.metrics
    with pytest.raises(ValueError, match="gaussian, nearest"):
        baseline_results("copy", tunes, judge, 60)
    with pytest.raises(ValueError, match="Tunes has no category"):
        baseline_results("gaussian", tunes, None, 60)


def test_a_model_of_clips_of_a_second_says_its_shape():
    assert FEATURES.seconds == pytest.approx(1.024)
