"""Every configuration file parses; those of data build their model through the real command line."""

from pathlib import Path

import pytest
import torch

from common.conditions.attributes import OBSERVED, Categorical, Continuous
from common.data.splits import random_split
from common.data.table import Table
from common.training.cli import SuiteCLI
from modalities.audio import AudioGenreCVAE
from modalities.audio.data.datamodules import AudioData, RecordedAudio, Tunes
from modalities.audio.data.tunes import GENRES
from modalities.image import ImageCVAE, data
from modalities.tabular import TabularCVAE
from modalities.tabular.data.datamodules import TableFile, TabularData
from modalities.tabular.data.tables import synthetic
from modalities.text import TextStyleCVAE
from modalities.text.data.corpus import Corpus, bible
from modalities.text.data.datamodules import TextData
from scripts import train_audio, train_tabular, train_text
from scripts.train_image import LINKS

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SHAPES = {"cifar10": (3, 32, 32), "celeba": (3, 64, 64), "utkface": (3, 64, 64), "folder": (3, 64, 64)}


class BuildOnly(SuiteCLI):
    """Builds everything and runs nothing."""

    def _run_subcommand(self, subcommand):
        pass


class ParseOnly(BuildOnly):
    """Builds nothing either: a configuration may ask for a device that is not there."""

    def instantiate_classes(self):
        pass


def command_line(cli, *files):
    arguments = ["fit", "--wandb.mode", "disabled"] + [part for file in files for part in ("--config", str(file))]
    return cli(ImageCVAE, data.ImageData, "image", LINKS, args=arguments)


def text_command_line(cli, *files):
    arguments = ["fit", "--wandb.mode", "disabled"] + [part for file in files for part in ("--config", str(file))]
    return cli(TextStyleCVAE, TextData, "text", train_text.LINKS, args=arguments)


def stand_in(shape, names):
    """Loads a small table in place of data that would have to be downloaded."""
    fields = {name: torch.arange(40) % 2 for name in names}
    attributes = {name: Categorical(("a", "b")) for name in names}
    if "age" in names:
        fields["age"], attributes["age"] = torch.arange(40).float(), Continuous(20.0, 10.0, 0.0, 39.0)
    x = torch.randint(256, (40, *shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return lambda self: Table(x, fields, attributes, random_split(40, (0.2, 0.2), 0))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("image/*.yaml")), ids=lambda path: path.stem)
def test_every_image_configuration_builds_a_model_that_scores_and_samples(path, monkeypatch):
    shape = SHAPES.get(path.stem, (1, 28, 28))
    parsed = command_line(ParseOnly, path).config.fit.data
    images = parsed.init_args.get("data") or parsed  # completion hides a part of another module's images
    names = images.init_args.condition or ["class"]
    monkeypatch.setattr(getattr(data, images.class_path.rpartition(".")[2]), "load", stand_in(shape, names))
    cli = command_line(BuildOnly, path)
    assert cli.model.image_shape == shape
    assert list(cli.datamodule.attributes) == names
    assert list(cli.model.condition.attributes) == ([] if cli.model.condition.reads_observed else names)
    batch = cli.datamodule.batch("test", 2)
    assert cli.model.eval().elbo(batch).elbo.isfinite().all()
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
    few = Corpus(whole.texts[:1500], whole.conditions[:1500], whole.groups[:1500], whole.file)
    kind = text_command_line(ParseOnly, *TEXT_BASES[name]).config.fit.data.class_path.rpartition(".")[2]
    monkeypatch.setattr(f"modalities.text.data.datamodules.{kind}.corpus", lambda self: few)
    cli = text_command_line(BuildOnly, *TEXT_BASES[name])
    batch = cli.datamodule.batch("test", 3)
    assert cli.model.eval().elbo(batch).elbo.isfinite().all()
    written = cli.model.texts(cli.model.sample(batch.condition)[0])
    assert len(written) == 3


TABULAR_BASES = {path.stem: [path] for path in CONFIGS.glob("tabular/*.yaml")}
TABULAR_BASES["miwae"] = [CONFIGS / "tabular" / "wine.yaml", CONFIGS / "tabular" / "miwae.yaml"]


@pytest.mark.parametrize("name", sorted(TABULAR_BASES))
def test_every_tabular_configuration_builds_a_model_that_scores_and_imputes(name, monkeypatch):
    monkeypatch.setattr(TableFile, "frame", lambda self: synthetic(60, 0.1))
    arguments = ["fit", "--wandb.mode", "disabled"]
    arguments += [part for file in TABULAR_BASES[name] for part in ("--config", str(file))]
    cli = BuildOnly(TabularCVAE, TabularData, "tabular", train_tabular.LINKS, args=arguments)
    batch = cli.datamodule.batch("test", 3)
    assert cli.model.eval().elbo(batch).elbo.isfinite().all()
    observed = batch.replace(mask=~batch.condition[OBSERVED].isnan())
    assert cli.model.impute(observed, 2).isfinite().all()


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
        return Table(x, fields, {label: Categorical(values) for label in labels}, random_split(40, (0.2, 0.2), 0))

    for kind in (Tunes, RecordedAudio):
        monkeypatch.setattr(kind, "load", load)
    arguments = ["fit", "--wandb.mode", "disabled"]
    arguments += [part for file in AUDIO_BASES[name] for part in ("--config", str(file))]
    cli = BuildOnly(AudioGenreCVAE, AudioData, "audio", train_audio.LINKS, args=arguments)
    batch = cli.datamodule.batch("test", 3)
    assert list(cli.model.condition.attributes) == labels
    assert cli.model.eval().elbo(batch).elbo.isfinite().all()
    samples = cli.model.sample(batch.condition)[0]
    assert cli.model.sound(samples).shape == (3, cli.model.features.samples)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("objective/*.yaml")), ids=lambda path: path.stem)
def test_every_objective_stacks_on_a_configuration(path):
    cli = command_line(BuildOnly, CONFIGS / "image" / "digits.yaml", path)
    draws = cli.model.draws(cli.datamodule.batch("train", 16), cli.model.objective.num_samples)
    object.__setattr__(draws, "dataset_size", 4000)
    assert cli.model.objective(draws, step=100).isfinite()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("trainer/*.yaml")), ids=lambda path: path.stem)
def test_every_trainer_stacks_on_a_configuration(path):
    config = command_line(ParseOnly, CONFIGS / "image" / "digits.yaml", path).config.fit
    assert config.data.class_path == "modalities.image.data.Digits"
    assert config.trainer.max_epochs >= 1
