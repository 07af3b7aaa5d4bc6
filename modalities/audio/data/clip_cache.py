"""Where features are kept once computed: a folder for each fingerprint of everything that they were made from."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from common.paths import cache_root

Columns = dict[str, Tensor]
FEATURES, COLUMNS = "features.f16", "columns.npz"


@dataclass(frozen=True)
class Clips:
    """Features of clips, on disk until they are needed, and what is known of each.

    Attributes:
        x: natural log-mel power [N, 1, mels, frames], float16, memory-mapped: more than fits in memory goes as well.
        columns: numbers by name, [N].
    """

    x: Tensor
    columns: Columns


class ClipWriter:
    """Appends clips to a file as they are made, so that memory does not grow with their number."""

    def __init__(self, path: Path) -> None:
        self.handle = path.open("wb")
        self.shape: tuple[int, ...] | None = None
        self.count = 0

    def append(self, log_mel: Tensor) -> None:
        """Writes clips [n, 1, mels, frames]."""
        self.handle.write(log_mel.half().contiguous().numpy().tobytes())
        self.shape = tuple(log_mel.shape[1:])
        self.count += len(log_mel)


def kept_clips(settings: Any, make: Callable[[ClipWriter], Columns]) -> Clips:
    """The clips of these settings: read if they were made before, else made now; one process makes, others wait.

    Args:
        settings: plain data that decides everything about the clips.
        make: writes the clips and returns their columns. What it raises leaves nothing behind.
    """
    key = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:24]
    folder = cache_root() / "audio" / key
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _make(folder, make)
    with np.load(folder / COLUMNS) as stored:
        columns = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "shape"}
        shape = tuple(stored["shape"].tolist())
    # Copy on write: torch wants writable memory, and the file stays as it is.
    x = torch.from_numpy(np.memmap(folder / FEATURES, np.float16, mode="c", shape=shape))
    return Clips(x, columns)


def _make(folder: Path, make: Callable[[ClipWriter], Columns]) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    writer = ClipWriter(partial / FEATURES)
    try:
        columns = make(writer)
    finally:
        writer.handle.close()
    if writer.shape is None:
        raise ValueError("there is no clip")
    shape = np.array([writer.count, *writer.shape])
    np.savez(partial / COLUMNS, allow_pickle=False, shape=shape, **{n: c.numpy() for n, c in columns.items()})
    partial.replace(folder)
