"""How checkpoints are written and read: whole or not at all, checked, and without running code of theirs."""

import math
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from common.paths import written_whole
from common.training.checkpoint_file import checkpoint_file

# Parts of a checkpoint that may hold infinities: bests that nothing has reached yet, and limits of a configuration.
MAY_BE_INFINITE = ("loops", "callbacks", "lr_schedulers", "configuration", "model", "data")


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that the former file stays until the new one is complete on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint.

        Raises:
            FloatingPointError: if weights are saved alone, of which a trainer tells no callback, and one is not finite.
            OSError: if it cannot be written; the former file is whole.
        """
        if "callbacks" not in checkpoint:
            check_finite(checkpoint, str(path))
        with written_whole(Path(path)) as partial, partial.open("wb") as file:
            _save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint of the suite. No code in it is run, whatever `weights_only` is."""
        return read_tensors(Path(path), map_location)


def _save(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    """torch.save, with the system's error where torch raises another one while it closes what it could not write."""
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def check_finite(checkpoint: dict[str, Any], where: str) -> None:
    """Refuses to save a number that is not finite.

    Args:
        checkpoint: what is to be saved.
        where: begins the message.

    Raises:
        FloatingPointError: naming the numbers.
    """
    broken = []
    for part, content in checkpoint.items():
        limits = part in MAY_BE_INFINITE
        for name, number in numbers_of(content, part):
            if isinstance(number, Tensor):
                # A finite sum has finite terms, and takes a tenth of the time; that of finite terms may overflow.
                wrong = not limits and not (number.sum().isfinite() or number.isfinite().all())
            else:  # a learning rate of the optimiser or its schedule
                wrong = part in ("optimizer_states", "lr_schedulers") and math.isnan(number)
            if wrong:
                broken.append(name)
    if broken:
        raise FloatingPointError(
            f"{where}: {len(broken)} states are not finite ({', '.join(broken[:3])}): nothing was saved. Checkpoints "
            "of earlier steps remain. Try a lower learning rate, trainer.gradient_clip_val, or trainer.precision "
            "bf16-mixed in place of 16-mixed"
        )


def numbers_of(part: Any, name: str = "") -> Iterator[tuple[str, Tensor | float]]:
    """Tensors of floating-point numbers, and such numbers, in nested dictionaries and lists, by dotted names."""
    if isinstance(part, Tensor):
        if part.is_floating_point() or part.is_complex():
            yield name, part
    elif isinstance(part, float):
        yield name, part
    elif isinstance(part, dict | list | tuple):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from numbers_of(value, f"{name}.{key}" if name else str(key))


def read_tensors(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint file, whose checksums are verified.

    Raises:
        ValueError: if it is damaged; the message names the record.
    """
    with zipfile.ZipFile(checkpoint_file(path)) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{path} is damaged: the checksum of {damaged} is wrong")
    contents: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
    return contents
