"""Several processes and several precisions give the figures of one process in float32."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.objectives.objectives import ELBO
from common.training.module import ConditionalELBO
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
    figures = figures_of_both(folder, train_image, options)
    assert figures["test/elbo"]["n"] == 500


@pytest.mark.parametrize("own", slow_but("text"))
def test_two_processes_train_like_one_that_accumulates_their_batches(own, run_script, request, tmp_path):
    data = own.write(tmp_path / "data", {"low": "calm", "high": "wild"}, 40)
    options = [*own.options, "--data.root", data, "--run.root", tmp_path / "runs", "--trainer.log_every_n_steps", "1"]
    options += ["--model.evaluation.num_samples", "5", "--trainer.max_epochs", "-1", "--trainer.max_steps", "20"]
    if own.modality == "text":  # z has no part in the first steps
        options += ["--model.language_model_steps", "2", "--data.batch_tokens", "100"]
        options += ["--model.evaluation.nll_examples", "null"]
    if own.modality == "audio":  # whose penalty follows a mean over batches
        options += ["--model.invariance", "null"]

    def fit(name, *words):
        run_script("tests/scripts/noise_by_batch.py", own.modality, name, "fit", *options, "--run.id", name, *words)
        (folder,) = (tmp_path / "runs" / own.modality).glob(f"*/{name}")
        return folder, pd.read_csv(folder / "metrics.csv")["train/loss"].dropna()

    two, losses = fit("two", *TWO, "--run.test", "true")
    _, accumulated = fit("one", "--trainer.accumulate_grad_batches", "2")
    assert len(losses) == len(accumulated) == 20
    assert losses.to_numpy() == pytest.approx(accumulated.to_numpy(), rel=1e-4)
    figures = figures_of_both(two, request.getfixturevalue(f"train_{own.modality}"), options)
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


def figures_of_both(folder, train, options):
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


# Largest difference of the mean ELBO as a share of it, and of the gradient as a share of its norm.
TOLERANCES = {"bf16-mixed": (torch.bfloat16, 0.01, 0.1), "16-mixed": (torch.float16, 0.002, 0.02)}


@pytest.mark.parametrize("own", OWN, ids=lambda own: own.modality)
def test_every_modality_trains_in_mixed_precision(own, tmp_path):
    runs = Runs(own, tmp_path, "--trainer.precision", "bf16-mixed", "--trainer.max_epochs", "1")
    trained = runs.main(["fit", *runs.options, "--run.root", str(tmp_path / "runs")])
    saved = torch.load(trained.last.path, weights_only=True)["state_dict"]
    assert {weight.dtype for weight in saved.values() if weight.is_floating_point()} == {torch.float32}
    model, batch = trained.model.eval(), trained.datamodule.batch("train", 24)
    full, gradient = _elbo_and_gradient(model, batch, torch.float32)
    for precision, (dtype, of_elbo, of_gradient) in TOLERANCES.items():
        elbo, other = _elbo_and_gradient(model, batch, dtype)
        assert elbo.item() == pytest.approx(full.item(), rel=of_elbo), precision
        assert (other - gradient).norm() < of_gradient * gradient.norm(), precision


def _elbo_and_gradient(model, batch, dtype):
    """The mean ELBO, whose terms are float32 whatever the autocast, and its gradient over all weights.

    The gradient is scaled as far as 16 bits hold it, as torch's GradScaler does.
    """
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        terms = model.draws(batch, seed=0).terms()
    assert {term.dtype for term in (terms.elbo, terms.reconstruction, terms.kl)} == {torch.float32}
    scale = 2.0**16
    while True:
        model.zero_grad()
        (scale * terms.elbo.mean()).backward(retain_graph=True)
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        if gradient.isfinite().all():
            return terms.elbo.mean(), gradient / scale
        scale /= 2


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
