"""Every configuration file parses; those of data build their model through the real command line."""

import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch

from common.conditions.attributes import OBSERVED, Categorical, Continuous
from common.data.examples import Examples
from common.data.splits import random_split
from common.distributions.likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from modalities.audio import AudioGenreCVAE
from modalities.audio.data import AudioData, RecordedAudio, Tunes
from modalities.audio.data.tunes import GENRES
from modalities.audio.evaluation.report import AudioReport
from modalities.image import ImageCVAE, data
from modalities.image.report import ImageReport
from modalities.tabular import TabularCVAE
from modalities.tabular.data import OpenML, TableFile, TabularData
from modalities.tabular.data.tables import synthetic
from modalities.tabular.evaluation.report import TabularReport
from modalities.text import TextStyleCVAE
from modalities.text.data import TextData
from modalities.text.data.corpus import Corpus, bible
from modalities.text.evaluation.report import TextReport
from scripts import train_audio, train_tabular, train_text
from scripts.train_image import LINKS
from tests.scripts.unrun import BuildOnly, ParseOnly

CONFIGS = Path(__file__).parent.parent.parent / "configs"
# Log-likelihood of a random pixel under an untrained network, nats: at best minus the entropy of what is random.
PIXELS = {Bernoulli: (-0.8, -0.68), Gaussian: (-6.0, 0.0), DiscretizedLogistic: (-10.0, -math.log(256))}
SHAPES = {
    "sprites": (3, 64, 64),
    "cifar10": (3, 32, 32),
    "celeba": (3, 64, 64),
    "utkface": (3, 64, 64),
    "folder": (3, 64, 64),
}


def command_line(cli, *files):
    arguments = ["fit", "--wandb.mode", "disabled"] + [part for file in files for part in ("--config", str(file))]
    return cli(ImageCVAE, data.ImageData, ImageReport, "image", LINKS, args=arguments)


def text_command_line(cli, *files):
    arguments = ["fit", "--wandb.mode", "disabled"] + [part for file in files for part in ("--config", str(file))]
    return cli(TextStyleCVAE, TextData, TextReport, "text", train_text.LINKS, args=arguments)


def terms_of(model, batch):
    """Reconstruction and KL of each example, [B], whose difference is the ELBO."""
    terms = model.eval().elbo(batch)
    assert torch.allclose(terms.elbo, terms.reconstruction - terms.kl)
    return terms.reconstruction.detach(), terms.kl.detach()


def within(values, low, high):
    return bool(((values > low) & (values < high)).all())


def stand_in(shape, names):
    """Loads a small table in place of data that would have to be downloaded."""
    fields = {name: torch.arange(40) % 2 for name in names}
    attributes = {name: Categorical(("a", "b")) for name in names}
    if "age" in names:
        fields["age"], attributes["age"] = torch.arange(40).float(), Continuous(20.0, 10.0, 0.0, 39.0)
    x = torch.randint(256, (40, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return lambda self: Examples(x, fields, attributes, random_split(40, (0.2, 0.2), 0))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("image/*.yaml")), ids=lambda path: path.stem)
def test_every_image_configuration_builds_a_model_that_scores_and_samples(path, monkeypatch):
    shape = SHAPES.get(path.stem, (1, 28, 28))
    parsed = command_line(ParseOnly, path).config.fit.data
    images = parsed.init_args.get("data") or parsed  # completion hides a part of another module's images
    names = images.init_args.condition or ["class"]
    module, _, name = images.class_path.rpartition(".")
    monkeypatch.setattr(getattr(import_module(module), name), "load", stand_in(shape, names))
    cli = command_line(BuildOnly, path)
    assert cli.model.image_shape == shape
    assert list(cli.datamodule.attributes) == names
    assert list(cli.model.condition.attributes) == ([] if cli.model.condition.reads_observed else names)
    batch = cli.datamodule.batch("test", 2)
    reconstruction, kl = terms_of(cli.model, batch)
    hidden = batch.condition.get(OBSERVED, torch.full_like(batch.x, float("nan"))).isnan().flatten(1).sum(1)
    assert within(reconstruction / hidden, *PIXELS[type(cli.model.likelihood)])
    assert within(kl, -3.0, 3.0)  # posterior and prior begin alike; a flow's KL is of one draw
    samples = cli.model.sample(batch.condition)
    assert samples.shape == (1, 2, *shape)
    assert (OBSERVED in batch.condition) == cli.model.condition.reads_observed
    if OBSERVED in batch.condition:
        known = ~batch.condition[OBSERVED].isnan()
        assert 0 < known.sum() < known.numel()
        assert torch.equal(samples[0][known], batch.x[known])
        other = torch.where(known, 1 - batch.x, batch.x)
        likelihood = cli.model.decode(torch.zeros(2, cli.model.latent_prior.size), cli.model.embed(batch))
        assert torch.equal(likelihood.log_prob(batch.x), likelihood.log_prob(other))  # observed pixels cost nothing


TEXT_BASES = {path.stem: [path] for path in CONFIGS.glob("text/*.yaml")}
TEXT_BASES |= {name: [CONFIGS / "text" / "bible.yaml", *files] for name, files in TEXT_BASES.items() if "_" in name}
PRETRAINED = "bible_pretrained"  # needs models of the hub


def test_the_configuration_of_pretrained_networks_parses():
    parsed = text_command_line(ParseOnly, *TEXT_BASES[PRETRAINED]).config.fit
    assert parsed.model.architecture.class_path == "modalities.text.networks.pretrained.Pretrained"
    assert parsed.data.init_args.tokenizer == parsed.model.architecture.init_args.decoder_model


@pytest.mark.parametrize("name", sorted(set(TEXT_BASES) - {PRETRAINED}))
def test_every_text_configuration_builds_a_model_that_scores_and_writes(name, monkeypatch, tmp_path):
    whole = bible()
    few = Corpus(whole.texts[:1500], whole.conditions[:1500], whole.groups[:1500], whole.file, aligned=True)
    kind = text_command_line(ParseOnly, *TEXT_BASES[name]).config.fit.data.class_path.rpartition(".")[2]
    monkeypatch.setattr(f"modalities.text.data.datamodules.{kind}.corpus", lambda self: few)
    cli = text_command_line(BuildOnly, *TEXT_BASES[name])
    batch = cli.datamodule.batch("test", 3)
    reconstruction, kl = terms_of(cli.model, batch)
    per_token, uniform = reconstruction / cli.model.lengths(batch.x), -math.log(len(cli.model.tokenizer))
    if cli.model.condition.reads_source:
        assert within(per_token, uniform + 2.0, -2.0)  # tokens are copied from the source before anything is learnt
    else:
        assert within(per_token, uniform - 0.35, uniform + 0.35)
    assert within(kl / cli.model.latent_prior.size, 0.0, 0.2)
    tokens = cli.model.sample(batch.condition)[0]
    assert within(tokens, -1, len(cli.model.tokenizer))
    assert within(cli.model.lengths(tokens), 0, cli.model.length + 1)
    assert len(cli.model.texts(tokens)) == 3


TABULAR_BASES = {path.stem: [path] for path in CONFIGS.glob("tabular/*.yaml")}
TABULAR_BASES["miwae"] = [CONFIGS / "tabular" / "wine.yaml", CONFIGS / "tabular" / "miwae.yaml"]


@pytest.mark.parametrize("name", sorted(TABULAR_BASES))
def test_every_tabular_configuration_builds_a_model_that_scores_and_imputes(name, monkeypatch):
    for own in (TableFile, OpenML):
        monkeypatch.setattr(own, "read", lambda self: synthetic(60, 0.1))
    arguments = ["fit", "--wandb.mode", "disabled"]
    arguments += [part for file in TABULAR_BASES[name] for part in ("--config", str(file))]
    cli = BuildOnly(TabularCVAE, TabularData, TabularReport, "tabular", train_tabular.LINKS, args=arguments)
    batch = cli.datamodule.batch("test", 3)
    reconstruction, kl = terms_of(cli.model, batch)
    shown = ~batch.condition[OBSERVED].isnan()
    scored = batch.mask & ~shown if cli.model.condition.reads_observed else batch.mask
    assert within(reconstruction.sum() / scored.sum(), -3.5, -1.0)  # a standard normal cell costs 1.4 nats at best
    assert kl.abs().max() < 1e-3  # without factor analysis the posterior begins as the prior
    filled = cli.model.impute(batch.replace(mask=shown), 2)
    assert torch.equal(filled[:, shown], batch.x[shown].expand(2, -1))
    for number, column in enumerate(cli.model.columns):
        cells = filled[:, ~shown[:, number], number]
        if column.discrete:
            assert torch.isin(cells, torch.arange(len(column.values))).all()
        else:  # deviations from the mean, multiples of the geometric mean, or counts
            assert within(cells, -3.0 if column.kind == "continuous" else 0.0, 10.0)


AUDIO_BASES = {path.stem: [path] for path in CONFIGS.glob("audio/*.yaml")}
AUDIO_BASES["spoken_digits"] = [CONFIGS / "audio" / "folder.yaml", CONFIGS / "audio" / "spoken_digits.yaml"]
AUDIO_LABELS = {"tunes": ["genre", "instrument"], "spoken_digits": ["digit", "speaker"]}


@pytest.mark.parametrize("name", sorted(AUDIO_BASES))
def test_every_audio_configuration_builds_a_model_that_scores_and_sounds(name, monkeypatch):
    labels = AUDIO_LABELS.get(name, ["genre"])

    def load(self):
        x = torch.randn(40, *self.settings.shape).half()
        fields = {label: torch.arange(40) % 5 for label in labels}
        values = GENRES if name == "tunes" else tuple("abcde")
        return Examples(x, fields, {label: Categorical(values) for label in labels}, random_split(40, (0.2, 0.2), 0))

    for kind in (Tunes, RecordedAudio):
        monkeypatch.setattr(kind, "load", load)
    arguments = ["fit", "--wandb.mode", "disabled"]
    arguments += [part for file in AUDIO_BASES[name] for part in ("--config", str(file))]
    cli = BuildOnly(AudioGenreCVAE, AudioData, AudioReport, "audio", train_audio.LINKS, args=arguments)
    batch = cli.datamodule.batch("test", 3)
    assert list(cli.model.condition.attributes) == labels
    reconstruction, kl = terms_of(cli.model, batch)
    entropy = math.log(2 * math.pi * math.e) / 2
    assert within(reconstruction / batch.x[0].numel(), -entropy - 0.5, -entropy)  # of noise, which nothing predicts
    assert within(kl, -6.0, 6.0)  # of one draw
    sound = cli.model.sound(cli.model.sample(batch.condition)[0])
    assert sound.shape == (3, cli.model.features.samples)
    assert within(sound.square().mean(-1).sqrt(), 0.005, 0.1)


def importance_weighted(reconstruction, kl, samples):
    return -samples.log_weights().double().logsumexp(0).mean() + math.log(5)


# The loss at step 100 from mean reconstruction, mean KL and the samples.
LOSSES = {
    "annealed": lambda reconstruction, kl, _: 100 / 2000 * kl - reconstruction,
    "beta": lambda reconstruction, kl, _: 4 * kl - reconstruction,
    # Untrained posteriors are all alike: of their total correlation, 0, weights of 4,000 examples make this.
    "beta_tc": lambda reconstruction, kl, _: kl - reconstruction + (6 - 1) * (32 - 1) * math.log(4000),
    "capacity": lambda reconstruction, kl, _: 100 * (kl - 25 * 100 / 5000).abs() - reconstruction,
    "cyclical": lambda reconstruction, kl, _: 100 / 500 * kl - reconstruction,
    "dreg": importance_weighted,
    "free_bits": lambda reconstruction, kl, _: 32 * 0.1 - reconstruction,  # no unit has reached its floor
    "iwae": importance_weighted,
}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("objective/*.yaml")), ids=lambda path: path.stem)
def test_every_objective_stacks_on_a_configuration(path):
    cli = command_line(BuildOnly, CONFIGS / "image" / "digits.yaml", path)
    samples = cli.model.draws(cli.datamodule.batch("train", 16), cli.model.objective.num_samples)
    samples = replace(samples, dataset_size=4000)
    terms = samples.terms()
    expected = LOSSES[path.stem](terms.reconstruction.mean(), terms.kl.mean(), samples)
    assert within(terms.reconstruction / 784, -0.9, -0.6)  # near -log 2
    tolerance = 1.0 if path.stem == "beta_tc" else 1e-2
    assert cli.model.objective(samples, step=100).item() == pytest.approx(expected.item(), abs=tolerance)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("trainer/*.yaml")), ids=lambda path: path.stem)
def test_every_trainer_stacks_on_a_configuration(path):
    config = command_line(ParseOnly, CONFIGS / "image" / "digits.yaml", path).config.fit
    assert config.data.class_path == "modalities.image.data.Digits"
    assert config.trainer.max_epochs >= 1


def test_a_later_list_of_callbacks_keeps_the_average_and_says_what_it_replaces(tmp_path):
    path = "lightning.pytorch.callbacks.EarlyStopping"
    stop = f"trainer: {{callbacks: [{{class_path: {path}, init_args: {{monitor: val/elbo}}}}]}}"
    more = "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.DeviceStatsMonitor}]}"
    (tmp_path / "stop.yaml").write_text(stop)
    (tmp_path / "more.yaml").write_text(more)
    with pytest.warns(
        UserWarning, match=r"stop\.yaml has the callback .*EarlyStopping, which a later list .* replaces"
    ):
        built = command_line(BuildOnly, CONFIGS / "image/digits.yaml", tmp_path / "stop.yaml", tmp_path / "more.yaml")
    names = {type(callback).__name__ for callback in built.trainer.callbacks}
    assert {"WeightEMA", "DeviceStatsMonitor"} <= names
    assert "EarlyStopping" not in names
