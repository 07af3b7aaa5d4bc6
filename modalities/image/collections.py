"""Collections of image files: finding and decoding them, and reading their attribute tables."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from common.conditions.attributes import Attribute, Fields
from common.conditions.columns import condition_columns, read_csv
from common.paths import cache_root, files_below, made_once

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def image_files(root: Path) -> list[Path]:
    """All images below a folder, as in `files_below`."""
    return files_below(root, SUFFIXES, "image")


def decode_images(files: list[Path], size: int, channels: int) -> Tensor:
    """Files cropped to their central square and scaled: uint8 [N, channels, size, size], memory-mapped from the cache.

    Files are decoded once: the cache is keyed by their names, sizes and modification times and by the settings.

    Raises:
        ValueError: for a file that is not a readable image.
    """
    digest = hashlib.sha256(f"{size} {channels}".encode())
    for file in files:
        status = file.stat()
        digest.update(f"{file.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    target = cache_root() / "images" / f"{digest.hexdigest()[:24]}.npy"

    def make(path: Path) -> None:
        shape = (len(files), channels, size, size)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        for position, file in enumerate(tqdm(files, desc="decoding images", unit="file", disable=None)):
            array[position] = _decode(file, size, channels)
        array.flush()

    made_once(target, make)
    # Copy on write: torch needs writable memory, and the file stays unchanged.
    return torch.from_numpy(np.load(target, mmap_mode="c"))


def _decode(file: Path, size: int, channels: int) -> np.ndarray:
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{file} cannot be read as an image ({error}): remove or replace it") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side), reducing_gap=3
    )
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def attribute_columns(csv: Path, root: Path, continuous: list[str]) -> tuple[list[Path], Fields, dict[str, Attribute]]:
    """Files, raw fields and attributes of a CSV whose first column names image files below `root`.

    Empty cells are missing. The caller, who knows the splits, fits the statistics of continuous columns.

    Raises:
        ValueError: if the CSV is faulty; the message names it and the row or column.
    """
    table = read_csv(csv)
    if table.shape[1] < 2 or table.empty:
        raise ValueError(f"{csv} needs a column of file names, at least one of attributes, and rows")
    files = [root / str(name) for name in table.iloc[:, 0]]
    for row, file in enumerate(files):
        if not file.is_file():
            raise ValueError(f"{csv}, row {row + 2}: {file} does not exist (column {table.columns[0]!r} names images)")
    fields, attributes = condition_columns(table, table.columns[1:], csv, continuous)
    return files, fields, attributes
