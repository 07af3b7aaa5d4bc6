"""Weights, gradients and moments that are divided among processes train like those of plain data parallelism."""

import pytest
import torch

from tests.scripts.own_data import slow_but
from tests.scripts.test_processes import TWO, figures_of_both

SHARDED = ["--config", "configs/trainer/fsdp.yaml", "--trainer.accelerator", "cpu", "--trainer.devices", "2"]


@pytest.mark.parametrize("own", slow_but("tabular"))
def test_processes_that_divide_the_weights_train_the_model_of_those_that_do_not(own, run_script, request, tmp_path):
    data = own.write(tmp_path / "data", {"low": "calm", "high": "wild"}, 30)
    options = [*own.options, "--data.root", data, "--run.root", tmp_path / "runs", "--averaging", "null"]
    options += ["--model.evaluation.num_samples", "5", "--trainer.gradient_clip_val", "0.5"]
    options += ["--data.batch_tokens", "100"] if own.modality == "text" else []
    script, train = f"scripts/train_{own.modality}.py", request.getfixturevalue(f"train_{own.modality}")

    def fit(name, *words):
        run_script(script, "fit", *options, "--trainer.max_epochs", "2", "--run.id", name, *words)
        (folder,) = (tmp_path / "runs" / own.modality).glob(f"*/{name}")
        return folder, torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)

    divided, ours = fit("divided", *SHARDED, "--run.test", "true")
    copied, theirs = fit("copied", *TWO)
    assert ours["global_step"] == theirs["global_step"] >= 2
    torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=1e-4, atol=1e-6)
    moments, others = (part["optimizer_states"][0]["state"] for part in (ours, theirs))
    torch.testing.assert_close(moments, others, rtol=1e-3, atol=1e-5)
    figures_of_both(divided, train, options)

    more = ["fit", *options, "--trainer.max_epochs", "3", "--ckpt_path"]
    train(*more, divided / "checkpoints" / "last.ckpt")
    run_script(script, *more, copied / "checkpoints" / "last.ckpt", *SHARDED)
    for folder in (divided, copied):
        assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2
