"""Several processes and several precisions give the figures of one process in float32."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.objectives.objectives import ELBO
from common.training.module import ConditionalELBO
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.model import OF_LATENT
from modalities.text.networks.architectures import Compact
from tests.conftest import ROOT
from tests.scripts.own_data import OWN, slow_but
from tests.scripts.resume import Runs, wait_for
from tests.scripts.test_train_image import MLP as MLP_OPTIONS
from tests.scripts.test_train_image import QUICK
from tests.text.models import word_tokenizer

COMPLETE = ["--trainer.limit_test_batches", "null", "--wandb.mode", "disabled"]
TWO = ["--config", "configs/trainer/ddp.yaml", "--trainer.accelerator", "cpu", "--trainer.devices", "2"]


def test_two_processes_test_like_one_and_make_one_run(run_script, train_image, tmp_path):
    options = [*QUICK, *MLP_OPTIONS, *COMPLETE, "--run.root", tmp_path, "--trainer.limit_train_batches", "60"]
    run_script("scripts/train_image.py", "fit", *options, *TWO, "--wandb.mode", "offline")
    (folder,) = (tmp_path / "image" / "digits").iterdir()
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    figures = _figures_of_both(folder, train_image, options)
    assert figures["test/elbo"]["n"] == 500


@pytest.mark.parametrize("own", slow_but("text", "tabular")[1:])  # text begins without z; images are above
def test_every_parameter_takes_part_in_the_steps_of_two_processes(own, run_script, request, tmp_path):
    data = own.write(tmp_path / "data", {"low": "calm", "high": "wild"}, 30)
    options = [*own.options, "--data.root", data, "--run.root", tmp_path / "runs", "--run.test", "true"]
    options += ["--model.evaluation.num_samples", "5", "--trainer.max_epochs", "2"]
    if own.modality == "text":  # z has no part in the first steps
        options += ["--model.language_model_steps", "2", "--data.batch_tokens", "100"]
        options += ["--model.evaluation.nll_examples", "null"]
    run_script(f"scripts/train_{own.modality}.py", "fit", *options, *TWO)
    (folder,) = (tmp_path / "runs" / own.modality).glob("*/*")
    figures = _figures_of_both(folder, request.getfixturevalue(f"train_{own.modality}"), options)
    assert figures["test/elbo"]["n"] > 1


@pytest.mark.parametrize(
    "architecture",
    [
        Compact(16, 2, 1, 1),
        Compact(16, 2, 1, 1, inject="both"),
        Compact(16, 2, 1, 1, latent_layers=1, copy_latent=True),
    ],
    ids=["prefix", "addition", "copying"],
)
def test_a_step_without_z_moves_all_but_what_z_passes_through(architecture):
    tokenizer = word_tokenizer("calm", "wild")
    style = {"mood": Categorical(("calm", "wild"))}
    model = TextStyleCVAE(StyleEncoder(style, tokenizer, dim=8), tokenizer, 6, 8, 2, 3, architecture=architecture)
    model.language_model_phase = True
    batch = Batch(torch.tensor([[4, 5, tokenizer.eos], [5, 4, tokenizer.eos]]), {"mood": torch.tensor([0, 1])})
    ELBO()(model.draws(batch), 0).backward()
    still = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert still == {name for name, _ in model.named_parameters() if name.startswith(OF_LATENT)}


@pytest.mark.slow  # a minute of starting processes
@pytest.mark.parametrize(
    ("told", "number", "status"),
    [("main", signal.SIGTERM, 143), ("main", signal.SIGKILL, -9), ("other", signal.SIGKILL, None)],
)
def test_two_processes_end_together(told, number, status, tmp_path):
    own = OWN[3]
    data = own.write(tmp_path / "data", {"low": "calm", "high": "wild"}, 30)
    options = [*own.options, "--data.root", data, "--run.root", tmp_path / "runs", "--trainer.max_epochs", "100000"]
    command = [sys.executable, ROOT / "scripts" / "train_tabular.py", "fit", *options, *TWO]
    with (tmp_path / "said").open("w") as said:
        main = subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=said, stderr=said)
    wait_for(lambda: list(tmp_path.rglob("last.ckpt")))
    children = subprocess.run(["pgrep", "-P", str(main.pid), "-f", "train_tabular"], capture_output=True, text=True)
    other = int(children.stdout)
    os.kill(main.pid if told == "main" else other, number)
    begun = time.monotonic()
    ended = main.wait(60)
    wait_for(lambda: not _runs(other), 60)
    text = (tmp_path / "said").read_text()
    assert time.monotonic() - begun < 20, text[-3000:]
    if status is None:
        assert ended != 0
    else:
        assert ended == status
    assert text.count("stopped by SIGTERM at step") == (number == signal.SIGTERM)
    (path,) = tmp_path.rglob("last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    if number == signal.SIGTERM:
        assert f"at step {checkpoint['global_step']:,}, saved in {path}" in text


def _runs(process):
    path = Path(f"/proc/{process}/cmdline")
    return path.exists() and path.read_bytes() != b""  # that of a zombie is empty


def _figures_of_both(folder, train, options):
    """The figures of a test on one process, which are those of the run in two."""
    parallel = json.loads((folder / "results.json").read_text())["metrics"]
    other = train("test", *options, "--ckpt_path", folder / "checkpoints" / "best.ckpt").folder
    assert other != folder
    single = json.loads((other / "results.json").read_text())["metrics"]
    assert single.keys() == parallel.keys()
    for name, figure in single.items():
        if figure["unit"] != "s":
            assert parallel[name]["n"] == figure["n"]
            assert parallel[name]["value"] == pytest.approx(figure["value"], rel=1e-4, abs=1e-4), name
    return single


@pytest.fixture
def model(digits):
    return ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([64])).eval()


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_elbo_terms_are_float32_under_autocast_and_close_to_full_precision(model, digits, precision):
    batch = digits.batch("test", 100)
    full = model.draws(batch, seed=0).terms()
    with torch.autocast("cpu", dtype=precision):
        half = model.draws(batch, seed=0).terms()
    assert half.elbo.dtype == half.kl.dtype == torch.float32
    assert half.elbo.mean().item() == pytest.approx(full.elbo.mean().item(), rel=2e-3)
    assert half.kl.mean().item() == pytest.approx(full.kl.mean().item(), rel=2e-2)


def test_a_mixed_precision_run_trains(train_image, tmp_path):
    options = [*QUICK, *MLP_OPTIONS, *COMPLETE, "--run.root", tmp_path, "--trainer.precision", "bf16-mixed"]
    train_image("fit", *options, "--run.test", "false")
    (checkpoint,) = tmp_path.rglob("best.ckpt")
    weights = torch.load(checkpoint, weights_only=True)["state_dict"].values()
    assert {weight.dtype for weight in weights} == {torch.float32}


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.modality)
def test_every_modality_trains_in_mixed_precision(own, tmp_path):
    runs = Runs(own, tmp_path, "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1")
    saved = torch.load(runs.fit("run") / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {weight.dtype for weight in saved.values() if weight.is_floating_point()} == {torch.float32}


@pytest.mark.slow  # half a minute of compiling
def test_the_checkpoint_of_a_compiled_model_loads_uncompiled(train_image, tmp_path, digits):
    options = [*QUICK, *MLP_OPTIONS, *COMPLETE, "--run.root", tmp_path, "--model.compile", "true"]
    train_image("fit", *options, "--run.test", "false")
    (checkpoint,) = tmp_path.rglob("best.ckpt")
    model = ConditionalELBO.load_from_checkpoint(checkpoint)
    assert not model.compiles
    assert not any("_orig_mod" in name for name in model.state_dict())
    per_pixel = model.log_likelihood(digits.batch("test", 4), 5) / 784
    assert ((per_pixel > -1.0) & (per_pixel < -0.1)).all()  # a coin has -0.69; a few steps leave it not far away
