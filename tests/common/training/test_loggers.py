"""Loggers by name: which ones a run has, and what each of them stores."""

import csv
import warnings

import numpy as np
import pandas as pd
import pytest
import soundfile
from lightning.pytorch import Trainer
from PIL import Image

from common.evaluation.media_files import MediaFile
from common.results import Measurement, Results, RunInfo
from common.training.run_folder import RunConfig
from common.training.tracking import loggers as module
from common.training.tracking.loggers import Recorded, WandbConfig, loggers
from common.training.tracking.metrics_csv import MetricsCSV
from common.training.tracking.recipients import TakesArtifacts, TakesMedia, TakesResults
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP

VARIABLES = ("MODE", "PROJECT", "ENTITY", "NAME", "RUN_GROUP", "JOB_TYPE", "TAGS", "RUN_ID")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def recorded(tmp_path):
    return Recorded(tmp_path / "image/a/1", RunConfig(name="a", root=tmp_path, title="a title"), "image", 3)


def kinds(made):
    return [type(logger).__name__ for logger in made]


def test_wandb_is_the_logger_of_a_run_that_names_none_and_metrics_are_always_a_file(recorded, monkeypatch):
    assert kinds(loggers([], recorded, WandbConfig())) == ["MetricsCSV", "WandbLog"]
    assert kinds(loggers(["csv"], recorded, WandbConfig())) == ["MetricsCSV"]
    assert kinds(loggers(["none"], recorded, WandbConfig())) == ["MetricsCSV"]
    assert kinds(loggers(["wandb", "wandb"], recorded, WandbConfig())) == ["MetricsCSV", "WandbLog"]
    assert kinds(loggers([], recorded, WandbConfig(mode="disabled"))) == ["MetricsCSV"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert kinds(loggers(["wandb"], recorded, WandbConfig())) == ["MetricsCSV"]
    assert kinds(loggers(["wandb"], recorded, WandbConfig(mode="offline"))) == ["MetricsCSV", "WandbLog"]
    monkeypatch.setenv("WANDB_MODE", "of line")
    with pytest.raises(ValueError, match=r"\$WANDB_MODE is 'of line': it can be offline, online or disabled"):
        loggers([], recorded, WandbConfig())


def test_wandbs_variables_are_obeyed_where_no_option_says_otherwise(recorded, monkeypatch):
    def settings(config):
        return loggers([], recorded, config)[1]._wandb_init

    usual = settings(WandbConfig())
    assert [usual[key] for key in ("name", "project", "group", "job_type", "tags", "id")] == [
        "a title, seed 3", "cvae-suite", "image/a", "image", None, "1"
    ]  # fmt: skip
    for name in VARIABLES:
        monkeypatch.setenv(f"WANDB_{name}", "online" if name == "MODE" else name.lower())
    obeyed = settings(WandbConfig(tags=["own"]))
    assert [obeyed[key] for key in ("name", "project", "group", "job_type", "tags", "id")] == [
        "name", "project", "run_group", "job_type", ["own", "tags"], "run_id"
    ]  # fmt: skip
    assert obeyed["resume"] == "allow"
    own = settings(WandbConfig("offline", "mine", "me", "ours"))
    assert [own[key] for key in ("project", "entity", "group", "mode")] == ["mine", "me", "ours", "offline"]


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_extra_is_named_in_one_line(recorded, monkeypatch, name):
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    with pytest.raises(ModuleNotFoundError, match=rf"needs {name}: pip install --editable '\.\[{name}\]'"):
        loggers([name], recorded, WandbConfig())


def test_a_training_shorter_than_the_interval_of_its_logs_logs_its_last_step(digits, tmp_path):
    model = ImageCVAE(AttributeEncoder(digits.attributes, dim=4), latent_dim=2, architecture=MLP([8]))
    trainer = Trainer(
        logger=MetricsCSV(tmp_path), max_steps=3, limit_val_batches=0, log_every_n_steps=20, accelerator="cpu",
        devices=1, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, digits)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["train/elbo"]]
    assert row["step"] == "2"
    assert float(row["train/learning_rate"]) == pytest.approx(0.001)


@pytest.fixture
def media(tmp_path):
    """A picture, a table and a sound, listed."""
    folder = tmp_path / "samples"
    folder.mkdir()
    Image.fromarray(np.full((5, 7, 3), 90, np.uint8)).save(folder / "test-samples-by-digit.png")
    pd.DataFrame({"style": ["old|new"], "text": ["a verse"]}).to_csv(folder / "test-samples.csv", index=False)
    soundfile.write(folder / "test-sample-0.wav", np.sin(np.arange(800)), 8000)
    files = [
        MediaFile("test-samples-by-digit.png", "test", None, 9, "picture", "samples", "samples by digit"),
        MediaFile("test-samples.csv", "test", None, 9, "table", "samples", "samples by style"),
        MediaFile("test-sample-0.wav", "test", None, 9, "sound", "sample-0", "sample 0: reel"),
    ]
    return folder, files


RESULTS = Results(
    RunInfo("1", "a", "image", 3, "abc", "hash", "data", "2026", 1.5, "cpu", 10.0, 3),
    {"test/nll": Measurement(88.5, 1.25, 500, "nats", "importance sampling, 10 samples")},
)


def log_all(logger, media):
    """What a training and its test log."""
    assert isinstance(logger, TakesMedia)
    assert isinstance(logger, TakesResults)
    logger.log_hyperparams({"model": {"latent_dim": 3}})
    logger.log_metrics({"train/loss": 2.5}, step=4)
    logger.log_media(*media)
    logger.log_metrics({"test/nll": 88.5}, step=9)
    logger.log_results(RESULTS)
    logger.save()


@pytest.mark.extras
def test_tensorboard_has_scalars_pictures_texts_and_sounds(recorded, media):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    (_, logger) = loggers(["tensorboard"], recorded, WandbConfig())
    log_all(logger, media)
    logger.finalize("success")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(recorded.folder / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("train/loss")] == [(4, 2.5)]
    (picture,) = found.Images("media/samples")
    assert (picture.step, picture.width, picture.height) == (9, 7, 5)
    (sound,) = found.Audio("sounds/sample-0")
    assert (sound.sample_rate, sound.length_frames) == (8000, 800)
    (text,) = found.Tensors("tables/samples/text_summary")
    assert rb"old\|new | a verse" in text.tensor_proto.string_val[0]
    (figures,) = found.Tensors("results/text_summary")
    assert b"| test/nll | 88.5 | 1.2 | nats | 500 |" in figures.tensor_proto.string_val[0]


@pytest.mark.extras
def test_mlflow_has_scalars_files_and_one_run_for_later_commands(recorded, media, tmp_path):
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    from mlflow.tracking import MlflowClient

    (_, logger) = loggers(["mlflow"], recorded, WandbConfig(artifacts=True))
    assert isinstance(logger, TakesArtifacts)
    log_all(logger, media)
    logger.log_artifacts(media[0] / "test-samples.csv", {"fingerprint": "data"})
    logger.finalize("success")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "image/a"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "a title, seed 3"
    assert run.data.metrics == {"train/loss": 2.5, "test/nll": 88.5, "test/nll/stderr": 1.25}
    assert run.data.params["model/latent_dim"] == "3"
    assert (run.data.tags["config_hash"], run.data.tags["seed"]) == ("hash", "3")
    kept = {str(path.relative_to(tmp_path / "mlflow")).split("artifacts/")[1] for path in
            (tmp_path / "mlflow").rglob("*.*") if path.is_file()}  # fmt: skip
    assert {"media/test-samples-by-digit.png", "tables/test-samples.csv", "sounds/test-sample-0.wav"} <= kept
    assert {"checkpoints/test-samples.csv", "data.json"} <= kept
    (_, again) = loggers(["mlflow"], recorded, WandbConfig())
    again.log_metrics({"test/kl": 1.0}, step=9)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["test/kl"] == 1.0


@pytest.mark.extras
def test_where_mlflow_fails_it_says_so_once_and_the_run_goes_on(recorded, media, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    (_, logger) = loggers(["mlflow"], recorded, WandbConfig())
    logger.log_metrics({"train/loss": 2.5}, step=4)
    calls = []

    def full(*arguments, **options):
        calls.append(arguments)
        raise OSError("No space\nleft on device")

    monkeypatch.setattr(type(logger.experiment), "log_batch", full)
    with pytest.warns(UserWarning, match=r"MLflow has failed \(OSError: No space left on device\): the run goes on"):
        logger.log_metrics({"train/loss": 2.0}, step=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_all(logger, media)
        logger.finalize("success")
    assert len(calls) == 1
