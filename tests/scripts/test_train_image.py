"""The training script as a person uses it: one short run, looked at from all sides."""

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from common.results import Results
from common.training.module import ConditionalELBO
from modalities.image import ImageCVAE

WHOLE = ["--data.limit", "null", "--model.evaluation.judge_steps", "null", "--model.evaluation.control_samples", "50"]
QUICK = [
    "--config",
    "configs/image/digits.yaml",
    "--config",
    "configs/trainer/debug.yaml",
    "--wandb.mode",
    "offline",
    *WHOLE,
]
MLP = ["--model.architecture", "modalities.image.networks.MLP", "--model.architecture.hidden", "[64]"]


@pytest.fixture(scope="module")
def run(train_image, run_script, tmp_path_factory):
    """A finished run's folder."""
    root = tmp_path_factory.mktemp("runs")
    options = [*QUICK, *MLP, "--run.root", root, "--run.name", "short", "--trainer.limit_train_batches", "20"]
    result = run_script("scripts/train_image.py", "fit", *options)
    folders = list((root / "image" / "short").iterdir())
    assert len(folders) == 1
    assert "test/nll" in result.stdout  # the results are printed,
    assert str(folders[0] / "samples") in result.stdout  # and where everything lies
    return folders[0]


def test_a_run_leaves_the_promised_folder(run):
    names = {str(path.relative_to(run)) for path in run.rglob("*") if "wandb" not in path.parts}
    expected = {"config.yaml", "metrics.csv", "results.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert expected <= names
    pictures = {"reconstructions", "samples-by-digit", "traversal", "latent-map-digit"}
    assert {f"test-{name}.png" for name in pictures} | {"curves.png"} <= {p.name for p in (run / "samples").iterdir()}
    assert len(list(run.glob("wandb/offline-run-*/*.wandb"))) == 1


def test_results_name_their_run_and_every_figure_its_estimator(run):
    results = Results.read(run / "results.json")
    assert results.run.id == run.name
    assert (results.run.modality, results.run.name, results.run.seed) == ("image", "short", 0)
    shared = {"elbo", "reconstruction", "kl", "nll", "active_units", "mutual_information", "condition_gain", "leakage"}
    control = {"control_accuracy", "judge_accuracy", "frechet_distance"}
    assert {f"test/{name}" for name in shared | control} <= results.metrics.keys()
    assert results.metrics["test/nll"].estimator == "importance sampling, 10 samples"
    elbo, nll = results.metrics["test/elbo"], results.metrics["test/nll"]
    assert elbo.n == nll.n == 126  # two batches of evaluation
    assert -elbo.value > nll.value - 3 * (nll.stderr or 0)  # the ELBO is a bound
    assert results.metrics["test/judge_accuracy"].value >= 0.97


def test_wandb_holds_the_scalars_of_metrics_csv_the_configuration_and_the_pictures(run):
    file = next(run.glob("wandb/offline-run-*/*.wandb"))
    wandb = Path(sys.executable).parent / "wandb"
    output = subprocess.run([wandb, "leet", "inspect", "--json", file], capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in output.stdout.splitlines() if line.startswith("{")]
    logged: dict[tuple[int, str], float] = {}
    for record in records:
        row = record["history"]["item"] if record["type"] == "history" else {}
        logged |= {(row.get("trainer/global_step", -1), name): value for name, value in row.items()}
    with (run / "metrics.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    compared = 0
    for row in rows:
        for name, value in row.items():
            if value and name not in ("step", "epoch"):
                assert logged[int(row["step"]), name] == pytest.approx(float(value), rel=1e-5)
                compared += 1
    assert compared > 20
    config = next(record["config"]["update"] for record in records if record["type"] == "config")
    assert config["model"]["latent_dim"] == 32  # the whole configuration, not the model's part alone
    assert config["trainer"]["limit_train_batches"] == 20
    assert config["git"] == Results.read(run / "results.json").run.git
    pictures = [file["path"] for record in records if record["type"] == "files" for file in record["files"]["files"]]
    assert any("reconstructions" in path for path in pictures)


def test_the_checkpoint_alone_rebuilds_the_model(run):
    model = ConditionalELBO.load_from_checkpoint(run / "checkpoints" / "best.ckpt")
    assert isinstance(model, ImageCVAE)
    assert model.condition.attributes["digit"].values == tuple("0123456789")
    assert model.sample({"digit": 3}, num_samples=2).shape == (2, 1, 1, 28, 28)


def test_testing_the_saved_configuration_gives_the_same_figures_in_the_same_folder(run, train_image):
    before = Results.read(run / "results.json")
    scalars = (run / "metrics.csv").read_text().count("\n")
    train_image("test", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt")
    after = Results.read(run / "results.json")
    assert after.run.started != before.run.started
    for name, figure in before.metrics.items():
        assert after.metrics[name].value == pytest.approx(figure.value, rel=1e-5, abs=1e-6), name
    assert (run / "metrics.csv").read_text().count("\n") > scalars  # added to, not begun anew
    assert after.run.seconds == pytest.approx(before.run.seconds, abs=1.0)


def test_a_stopped_run_goes_on_from_its_last_checkpoint_in_its_own_folder(run, train_image):
    train_image(
        "fit", "--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/last.ckpt",
        "--trainer.max_epochs", "2", "--run.test", "false",
    )  # fmt: skip
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert (state["epoch"], state["global_step"]) == (1, 40)
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    with (run / "metrics.csv").open(newline="") as handle:
        steps = [int(row["step"]) for row in csv.DictReader(handle) if row["train/loss"]]
    assert min(steps) < 20 <= max(steps)


def test_a_training_that_ends_before_a_validation_is_tested_all_the_same(train_image, tmp_path):
    train_image(
        "fit", *QUICK, *MLP, "--run.root", tmp_path, "--trainer.max_steps", "5", "--trainer.limit_train_batches", "9"
    )
    assert [path.name for path in tmp_path.rglob("*.ckpt")] == ["last.ckpt"]
    assert Results.read(next(tmp_path.rglob("results.json"))).metrics["test/nll"].value > 0


def test_the_last_weights_are_kept_where_a_training_ends_within_an_epoch(train_image, tmp_path):
    options = ["--run.keep", "last", "--trainer.max_epochs", "-1", "--trainer.limit_train_batches", "4"]
    train_image("fit", *QUICK, *MLP, *options, "--trainer.max_steps", "6", "--run.root", tmp_path)
    best, last = (torch.load(next(tmp_path.rglob(f"{name}.ckpt")), weights_only=True) for name in ("best", "last"))
    assert best["global_step"] == last["global_step"] == 6  # and not 4, after which was the last validation
    assert all(torch.equal(best["state_dict"][name], weight) for name, weight in last["state_dict"].items())


def test_predict_scores_every_example_with_its_condition_and_split(run, train_image):
    train_image(
        "predict", "--config", run / "config.yaml", "--ckpt_path",
        run / "checkpoints/best.ckpt", "--trainer.limit_predict_batches", "null",
    )  # fmt: skip
    with (run / "predictions.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["index"]) for row in rows] == list(range(5000))
    assert [row["digit"] for row in rows[::500]] == list("0123456789")
    assert Counter(row["split"] for row in rows) == {"train": 4000, "val": 500, "test": 500}
    first = rows[0]
    difference = float(first["reconstruction_nats"]) - float(first["kl_nats"])
    assert float(first["elbo_nats"]) == pytest.approx(difference, abs=1e-2)


def test_the_unconditional_model_is_one_option_away(train_image, tmp_path):
    options = [
        *QUICK,
        *MLP,
        "--run.root",
        tmp_path,
        "--model.condition.init_args.use",
        "[]",
        "--wandb.mode",
        "disabled",
    ]
    train_image("fit", *options)
    results = Results.read(next(tmp_path.rglob("results.json")))
    assert "test/condition_gain" not in results.metrics
    assert results.metrics["test/control_accuracy"].value < 0.5  # it cannot know which digit is asked for


def test_help_explains_and_print_config_prints(run_script, train_image, capsys):
    text = " ".join(run_script("scripts/train_image.py", "fit", "--help").stdout.split())
    for option in ("--model.latent_dim", "--run.name", "--wandb.mode", "--samples.every_n_epochs"):
        assert option in text
    assert "size of z" in text  # what docstrings say is what --help says
    assert "offline stores logs in the run folder" in text
    with pytest.raises(SystemExit):
        train_image("fit", *QUICK, "--print_config")
    assert yaml.safe_load(capsys.readouterr().out)["model"]["latent_dim"] == 32


def test_a_wrong_option_names_itself(run_script):
    result = run_script("scripts/train_image.py", "fit", *QUICK, "--model.latent_size", "3", check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "unknown option --model.latent_size: did you mean --model.latent_dim?" in line


def test_a_mistake_in_the_data_ends_in_one_line(run_script, tmp_path):
    words = ["--config", "configs/image/folder.yaml", "--data.root", tmp_path / "nowhere", "--run.root", tmp_path]
    result = run_script("scripts/train_image.py", "fit", *words, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        f"train_image.py: {tmp_path / 'nowhere'} is not a folder: set data.root, or $SUITE_DATA for the data root"
    )
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())  # nothing was written


def test_without_a_logger_and_with_few_examples_a_run_leaves_its_metrics(train_image, tmp_path):
    cli = train_image(
        "fit", *QUICK, *MLP, "--data.limit", "60", "--model.evaluation.judge_steps", "2", "--run.root", tmp_path,
        "--trainer.logger", "false",
    )  # fmt: skip
    assert {path.name for path in cli.folder.iterdir()} >= {"config.yaml", "metrics.csv", "results.json"}
    assert not (cli.folder / "wandb").exists()
    run = Results.read(cli.folder / "results.json").run
    assert run.checkpoint == "best.ckpt"
    assert (run.parent, run.processes, run.precision) == (None, 1, "32-true")
    assert set(run.versions) >= {"python", "torch", "lightning"}
