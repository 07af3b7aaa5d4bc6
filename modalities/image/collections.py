"""Collections of image files: finding and decoding them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.data.faults import Faults, Faulty
from common.data.folders import Found, files_below
from common.data.texts import ESCAPED, Files
from common.paths import cache_root, made_once
from common.table_files.limits import most_bytes
from modalities.image.decoding import SUFFIXES, VERSION, decode, remark_notes


def image_files(root: Path) -> Found:
    """All images below a folder, as in `files_below`."""
    return files_below(root, SUFFIXES, "image")


@dataclass(frozen=True)
class Decoded:
    """The images of some files.

    Attributes:
        x: uint8 [M, channels, size, size].
        rows: position of each image among the files, [M], ascending; faulty files have none.
        notes: what a person should know of the images, a line each.
    """

    x: Tensor
    rows: Tensor
    notes: list[str]


def decode_images(files: Sequence[Path], size: int, channels: int, faulty: Faulty = "raise") -> Decoded:
    """Files cropped to their central square and scaled, as in `decode`; memory-mapped from the cache.

    Files are decoded once: the cache is keyed by their names, sizes and times of change and by the settings.

    Raises:
        ValueError: naming all files that are no readable images, unless they are skipped.
        OSError: naming the first file that is not to blame for that it could not be read; nothing is cached then.
    """
    digest = hashlib.sha256(f"{VERSION} {size} {channels} {most_bytes()}".encode())
    real = cache(os.path.realpath)  # of the folders
    for folder, name in map(os.path.split, Files.of(files).texts):
        digest.update(f"{real(folder)}/{name} {_state(os.path.join(folder, name))}\n".encode(errors=ESCAPED))

    def make(folder: Path) -> None:
        folder.mkdir()
        faults, rows, remarks = Faults("images"), [], Counter[str]()
        with (folder / "pixels").open("wb") as pixels:
            for row, file in enumerate(tqdm(files, desc="decoding images", unit="file", disable=None)):
                try:
                    image, found = decode(file, size, size, channels)
                except (OSError, ValueError) as error:
                    faults.add(error, file)
                    continue
                pixels.write(image.tobytes())
                rows.append(row)
                remarks.update(found)
        if faulty == "raise":  # what is refused is looked at again
            faults.settle(len(files))
        report = {"rows": rows, "faults": faults.found, "remarks": remarks}
        (folder / "report.json").write_text(json.dumps(report))

    made = made_once(cache_root() / "images" / digest.hexdigest()[:24], make)
    report = json.loads((made / "report.json").read_text())
    faults = Faults("images")
    faults.found.extend(report["faults"])
    faults.settle(len(files), faulty)
    rows = report["rows"]
    notes = remark_notes(report["remarks"], len(rows))
    # Copy on write: torch needs writable memory, and the file stays unchanged.
    x = np.memmap(made / "pixels", np.uint8, "c", shape=(len(rows), channels, size, size))
    return Decoded(torch.from_numpy(x), torch.tensor(rows), notes)


def _state(file: str) -> tuple[int, int, int] | None:
    """Size and times of a file; None if there is no such file."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):  # a name that no file can have
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
