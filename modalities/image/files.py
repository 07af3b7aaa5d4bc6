"""Reading and writing files of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.evaluation.media import enlargement, image_grid
from common.model.files import FileFormat, examples
from common.paths import written_whole
from modalities.image.collections import image_files
from modalities.image.decoding import decode
from modalities.image.model import ImageCVAE


class ImageFormat(FileFormat[ImageCVAE]):
    """An image file is one example; samples become a PNG grid, or an array in an NPZ file."""

    suffix = ".png"

    def read(self, model: ImageCVAE, path: Path) -> Tensor:
        """An image as [1, channels, height, width] in [0, 1], cropped and scaled as those of the training."""
        channels, height, width = model.image_shape
        pixels, _ = decode(path, height, width, channels)
        return torch.from_numpy(pixels.copy()).unsqueeze(0) / 255

    def below(self, folder: Path) -> list[Path]:
        """All images below a folder."""
        found = image_files(folder)
        for note in found.notes():
            rank_zero_warn(note, category=UserWarning)
        return list(found.files)

    def write(self, model: ImageCVAE, samples: Tensor, path: Path) -> None:
        """Writes images [..., channels, height, width] as a PNG grid, or as [N, ...], `samples` in an NPZ file."""
        samples = examples(samples, 3)
        if path.suffix not in (".png", ".npz"):
            raise ValueError(f"{path}: images are written as .png (a grid) or .npz (an array)")
        with written_whole(path) as partial, partial.open("wb") as file:
            if path.suffix == ".npz":
                np.savez_compressed(file, samples=samples.cpu().numpy())
            else:
                columns = min(len(samples), max(4, round(len(samples) ** 0.5)))
                image_grid(samples, columns, enlargement(samples)).save(file, "PNG")
