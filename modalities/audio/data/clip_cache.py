"""Cache of computed features: one folder for each fingerprint of everything that they are computed from."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.paths import cache_root, made_once

Columns = dict[str, Tensor]
FEATURES, COLUMNS = "features.f16", "columns.npz"
VERSION = 2  # part of every key: raise it when the same settings give other clips


@dataclass(frozen=True)
class Clips:
    """Features of clips, which stay on disk until they are needed, and numbers that describe the clips.

    Attributes:
        x: natural log-mel power [N, 1, mels, frames], float16, memory-mapped: it may be larger than memory.
        columns: numbers by name, each [N].
    """

    x: Tensor
    columns: Columns


class ClipWriter:
    """Appends clips to a file as they are computed, so that memory does not grow with their number."""

    def __init__(self, path: Path) -> None:
        self.handle = path.open("wb")
        self.shape: tuple[int, ...] | None = None
        self.count = 0

    def append(self, log_mel: Tensor) -> None:
        """Writes clips [n, 1, mels, frames]."""
        self.handle.write(log_mel.half().contiguous().numpy().tobytes())
        self.shape = tuple(log_mel.shape[1:])
        self.count += len(log_mel)

    def keep(self, count: int) -> None:
        """Takes back all but the first clips."""
        if self.count > count:
            self.handle.seek(count * (self.handle.tell() // self.count))
            self.handle.truncate()
            self.count = count


def cached_clips(settings: Any, make: Callable[[ClipWriter], Columns]) -> Clips:
    """The clips of these settings, from the cache or made now; one process makes them while others wait.

    Args:
        settings: plain data that, with `VERSION`, determines the clips completely: the cache key.
        make: writes the clips and returns their columns. If it raises, nothing is cached.
    """
    key = hashlib.sha256(json.dumps([VERSION, settings], sort_keys=True, default=str).encode()).hexdigest()[:24]
    folder = cache_root() / "audio" / key
    made_once(folder, lambda partial: _make(partial, make))
    with np.load(folder / COLUMNS) as stored:
        columns = {name: torch.from_numpy(stored[name]) for name in stored.files if name != "shape"}
        shape = tuple(stored["shape"].tolist())
    # Copy on write: torch requires writable memory, and the file must not change.
    x = torch.from_numpy(np.memmap(folder / FEATURES, np.float16, mode="c", shape=shape))
    return Clips(x, columns)


def _make(folder: Path, make: Callable[[ClipWriter], Columns]) -> None:
    folder.mkdir()
    writer = ClipWriter(folder / FEATURES)
    try:
        columns = make(writer)
    finally:
        writer.handle.close()
    if writer.shape is None or writer.count == 0:
        raise ValueError("there is no clip")
    shape = np.array([writer.count, *writer.shape])
    np.savez(folder / COLUMNS, allow_pickle=False, shape=shape, **{n: c.numpy() for n, c in columns.items()})
