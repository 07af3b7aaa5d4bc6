"""A precision that a processor has no instructions for, and that makes a training slower instead of faster."""

import platform

import torch
from lightning.pytorch import Trainer


def slow_precision(trainer: Trainer) -> str | None:
    """What a person should know of the precision on this processor; None where it is fast, or not a CPU's.

    Autocast to bfloat16 took twelve times as long as float32 on a CPU without its instructions.
    """
    if trainer.strategy.root_device.type != "cpu" or not str(trainer.precision).startswith("bf16"):
        return None
    if platform.machine() in ("arm64", "aarch64") or _has_bfloat16():
        return None
    return (
        f"trainer.precision {trainer.precision}: this processor has no instructions for bfloat16; a step can take ten "
        "times as long as with 32-true"
    )


def _has_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
