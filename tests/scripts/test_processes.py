"""Several processes and several precisions give the figures of one process in float32."""

import json

import pytest
import torch

from common.training.module import ConditionalELBO
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from tests.scripts.test_train_image import MLP as MLP_OPTIONS
from tests.scripts.test_train_image import QUICK

COMPLETE = ["--trainer.limit_test_batches", "null", "--wandb.mode", "disabled"]


def test_two_processes_test_like_one_and_make_one_run(run_script, train_image, tmp_path):
    options = [*QUICK, *MLP_OPTIONS, *COMPLETE, "--run.root", tmp_path, "--trainer.limit_train_batches", "60"]
    two = ["--config", "configs/trainer/ddp.yaml", "--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    run_script("scripts/train_image.py", "fit", *options, *two, "--wandb.mode", "offline")
    (folder,) = (tmp_path / "image" / "digits").iterdir()
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    parallel = json.loads((folder / "results.json").read_text())["metrics"]
    checkpoint = folder / "checkpoints" / "best.ckpt"
    train_image("test", *options, "--ckpt_path", checkpoint)
    single = json.loads((folder / "results.json").read_text())["metrics"]
    assert single.keys() == parallel.keys()
    for name, figure in single.items():
        assert parallel[name]["n"] == figure["n"]
        assert parallel[name]["value"] == pytest.approx(figure["value"], rel=1e-4, abs=1e-4), name
    assert single["test/elbo"]["n"] == 500


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


@pytest.mark.slow  # half a minute of compiling
def test_the_checkpoint_of_a_compiled_model_loads_uncompiled(train_image, tmp_path, digits):
    options = [*QUICK, *MLP_OPTIONS, *COMPLETE, "--run.root", tmp_path, "--model.compile", "true"]
    train_image("fit", *options, "--run.test", "false")
    (checkpoint,) = tmp_path.rglob("best.ckpt")
    model = ConditionalELBO.load_from_checkpoint(checkpoint)
    assert not model.compile_networks
    assert not any("_orig_mod" in name for name in model.state_dict())
    per_pixel = model.log_likelihood(digits.batch("test", 4), 5) / 784
    assert ((per_pixel > -1.0) & (per_pixel < -0.1)).all()  # a coin has -0.69; a few steps leave it not far away
