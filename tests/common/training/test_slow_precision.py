"""Precisions that this processor only emulates are told of."""

import platform

import pytest
import torch
from lightning.pytorch import Trainer

from common.training.slow_precision import slow_precision


@pytest.fixture
def without(monkeypatch):
    """A processor of x86 without instructions for bfloat16."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


def trainer(precision):
    return Trainer(accelerator="cpu", devices=1, precision=precision, logger=False, enable_checkpointing=False)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16_without_instructions_is_slow(without, precision):
    assert slow_precision(trainer(precision)) == (
        f"trainer.precision {precision}: this processor has no instructions for bfloat16; a step can take ten times as "
        "long as with 32-true"
    )


def test_what_the_processor_has_is_not_slow(without, monkeypatch):
    assert slow_precision(trainer("32-true")) is None
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert slow_precision(trainer("bf16-mixed")) is None
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert slow_precision(trainer("bf16-mixed")) is None
