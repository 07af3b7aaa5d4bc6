"""How checkpoints are written and read: whole or not at all, checked, and without running code of theirs."""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from common.paths import written_whole
from common.training.checkpoint_file import checkpoint_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that the former file stays until the new one is complete on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Writes a checkpoint."""
        with written_whole(Path(path)) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint of the suite. No code in it is run, whatever `weights_only` is."""
        return read_tensors(Path(path), map_location)


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
