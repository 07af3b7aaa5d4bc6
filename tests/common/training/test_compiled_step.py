from functools import partial

import pytest
import torch

from common.training.compiled_step import PLAIN, TOLD, CompiledStep
from common.training.step import training_loss
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.networks import MLP
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs, rows_of


@pytest.fixture
def quick(monkeypatch):
    """torch.compile traces, and leaves the code of the kernels away."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **how: compiled(function, backend="eager", **how))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("own", OWN, ids=lambda own: own.modality)
def test_a_step_is_one_graph_and_trains_as_one_that_is_not_compiled(own, tmp_path, recwarn):
    words = ["--data.batch_tokens", "100"] if own.modality == "text" else []
    runs = Runs(own, tmp_path, "--trainer.max_epochs", "4", "--trainer.log_every_n_steps", "1", *words)
    plain, compiled = (rows_of(runs.fit(name, "--model.compile", name)) for name in ("false", "true"))
    losses = [[float(row["train/loss"]) for row in rows if row["train/loss"]] for rows in (plain, compiled)]
    assert not [warning for warning in recwarn if "cannot be compiled" in str(warning.message)]
    assert len(losses[0]) > PLAIN
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_what_cannot_be_compiled_goes_on_as_it_is_and_says_so(tmp_path, monkeypatch):
    def broken(function, **how):
        def fails(*arguments):
            raise RuntimeError("no compiler on this machine\nand much more")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    runs = Runs(OWN[3], tmp_path)
    with pytest.warns(UserWarning, match=r"cannot be compiled, and goes on as it is \(no compiler on this machine\)"):
        folder = runs.fit("true", "--model.compile", "true")
    assert rows_of(folder) == rows_of(runs.fit("false"))


def test_what_compiling_gains_is_told():
    step = CompiledStep.__new__(CompiledStep)
    step._starts = {
        "plain": [0.010 * number for number in range(PLAIN)],
        "compiled": [0.0, 20.0, *(20.0 + 0.006 * number for number in range(1, TOLD - 1))],
    }
    told = "model.compile: compiled in 20 s, a step takes 6.0 ms"
    assert step._gain() == f"{told} in place of 10.0: it pays from 4,999 steps on"
    step._starts["plain"] = [0.005 * number for number in range(PLAIN)]
    assert step._gain().endswith("which is no less than the 5.0 ms before: leave it out")
    step._starts["plain"] = []
    assert step._gain() == told


@pytest.mark.slow  # a minute of compiling
def test_kernels_compute_the_same_loss(digits):
    torch._inductor.config.fallback_random = True
    model = ImageCVAE(AttributeEncoder(digits.attributes), architecture=MLP([32]), latent_dim=4).train()
    step, found = CompiledStep(model, model.objective, model.auxiliary, varying=False), []
    batch = digits.batch("train", 16)
    for loss in (step, partial(training_loss, model, model.objective, model.auxiliary)):
        torch.manual_seed(0)
        found.append(loss(batch, PLAIN, None)[0].item())
    assert not step.failed
    assert found[0] == pytest.approx(found[1], rel=1e-5)
