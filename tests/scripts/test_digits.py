"""The embedded digits reach what the suite promises of them. Minutes of training: `make soak`."""

import pytest

from common.results import Results

DIGITS = ["fit", "--config", "configs/image/digits.yaml", "--wandb.mode", "disabled"]


@pytest.mark.slow
def test_digits_are_controlled_and_the_condition_is_worth_more_than_a_nat(train_image, tmp_path):
    train_image(*DIGITS, "--run.root", tmp_path, "--run.name", "cvae")
    train_image(*DIGITS, "--run.root", tmp_path, "--run.name", "vae", "--model.condition.init_args.use", "[]")
    found = {name: Results.read(next((tmp_path / "image" / name).rglob("results.json"))) for name in ("cvae", "vae")}
    conditional, plain = found["cvae"].metrics, found["vae"].metrics
    assert conditional["test/judge_accuracy"].value >= 0.97
    assert conditional["test/control_accuracy"].value >= 0.95
    assert conditional["test/nll"].value <= plain["test/nll"].value - 1.0
    assert found["cvae"].run.parameters == pytest.approx(found["vae"].run.parameters, rel=0.01)
