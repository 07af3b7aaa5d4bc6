"""Images of any data set whose examples are pairs of an image and a class: torchvision's, and a person's own."""

import inspect
from collections import Counter
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torchvision
from lightning_utilities.core.rank_zero import rank_zero_info
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from common.conditions.attributes import Categorical
from common.data.examples import Examples
from common.data.splits import Split
from common.data.terms import Terms
from common.paths import data_root
from modalities.image.data import ImageData
from modalities.image.decoding import fitted, remark_notes

SPLITS: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class Pairs(Sized, Protocol):
    """A data set of pairs: an image of Pillow, an array or a tensor [channels, height, width]; and a class."""

    def __getitem__(self, index: int, /) -> Any:
        """The pair at a position."""


class LabelledImages(ImageData):
    """Base of data sets of pairs. All images are read into memory, cropped to their centre and scaled.

    Args:
        size: side of the square images, a multiple of 4; None takes the shorter side of the first image, rounded down.
        channels: 1 (grey) or 3 (colour); None takes those of the first image.
        field: what the class is called as a condition.
        shares: shares of validation and test, by a hash of each position, where the data define none.
        base: as in `ImageData`.
    """

    def __init__(
        self,
        size: int | None = None,
        channels: int | None = None,
        field: str = "class",
        shares: tuple[float, float] = (0.1, 0.1),
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if size is not None and (size < 4 or size % 4):
            raise ValueError(f"size must be a multiple of 4; got {size}")
        if channels not in (None, 1, 3):
            raise ValueError(f"channels must be 1 or 3; got {channels}")
        self.size, self.channels, self.field, self.shares = size, channels, field, shares

    def adopt(self, terms: Terms) -> None:
        """As in the base; the images are read at the size that the checkpoint's model reads."""
        super().adopt(terms)
        if "shape" in terms.learned and not terms.extend:
            self.channels, self.size, _ = terms.learned["shape"]

    def parts(self) -> dict[Split, Pairs]:
        """The data sets of the splits that the data define; of train alone where they define none."""
        raise NotImplementedError

    def load(self) -> Examples:
        """Reads all images.

        Raises:
            ValueError: if an example is no pair of an image and a class; the message names its position.
        """
        parts = self.parts()
        pixels, labels, given, names, remarks = [], [], list[Split](), list[str](), Counter[str]()
        for split, pairs in parts.items():
            for position in tqdm(range(len(pairs)), desc=f"reading images of {split}", unit="image", disable=None):
                where = f"example {position} of {split}"
                image, label = _pair(pairs[position], where)
                self._fit(image)
                assert self.size is not None
                assert self.channels is not None
                array, found = fitted(image, self.size, self.size, self.channels)
                pixels.append(torch.from_numpy(array.copy()))
                labels.append(label)
                given.append(split)
                names.append(f"{split} {position}")
                remarks.update(found)
        if not labels:
            raise ValueError(f"{type(self).__name__} has no image")
        field, known = _classes(parts["train"], labels)
        splits = self.split(names, self.shares, {self.field: field}, given)
        notes = remark_notes(remarks, len(labels))
        return Examples(torch.stack(pixels), {self.field: field}, {self.field: known}, splits, notes=notes)

    def _fit(self, image: Image.Image) -> None:
        """Takes size and channels of the first image where none are given, which is said."""
        if self.size is not None and self.channels is not None:
            return
        self.size = self.size or max(4, min(image.size) // 4 * 4)
        self.channels = self.channels or (1 if image.mode in ("1", "L", "I", "F", "I;16") else 3)
        kind = f"{self.size} x {self.size} in {'grey' if self.channels == 1 else 'colour'}"
        first = f"{image.width} x {image.height} ({image.mode})"
        rank_zero_info(
            f"all images are read as {kind}, because the first is {first}; data.size and data.channels choose others"
        )


def _pair(example: Any, where: str) -> tuple[Image.Image, str]:
    """The image and the class of an example.

    Raises:
        ValueError: if it is no pair of them.
    """
    if not (isinstance(example, tuple | list) and len(example) == 2):
        raise ValueError(f"{where} is a {type(example).__name__}, not a pair of an image and a class")
    image, label = example
    if isinstance(label, Tensor | np.ndarray | np.generic) and np.asarray(label).size == 1:
        label = np.asarray(label).item()
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if isinstance(label, bool) or not isinstance(label, int | str):
        raise ValueError(f"the class of {where} is a {type(label).__name__}, neither a whole number nor a text")
    return _image(image, where), str(label)


def _image(image: Any, where: str) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if not isinstance(image, Tensor | np.ndarray):
        raise ValueError(f"the image of {where} is a {type(image).__name__}, not one of Pillow, an array or a tensor")
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and (isinstance(image, Tensor) or pixels.shape[2] not in (1, 3)):
        pixels = pixels.transpose(1, 2, 0)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"the image of {where} has the shape {tuple(image.shape)}, not [channels, height, width]")
    if np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"the image of {where} has values from {low:g} to {high:g}, not from 0 to 1")
        pixels = np.round(pixels * 255)
    elif pixels.dtype != np.uint8:
        raise ValueError(f"the image of {where} holds {pixels.dtype}, neither uint8 nor numbers from 0 to 1")
    return Image.fromarray(pixels.astype(np.uint8))


def _classes(pairs: Any, labels: Sequence[str]) -> tuple[Tensor, Categorical]:
    """Positions [N] of labels among the classes; labels that number a data set's own `classes` have their names."""
    names = [" ".join(name) if isinstance(name, tuple | list) else str(name) for name in _own_names(pairs)]
    numbered = all(label.isdigit() and int(label) < len(names) for label in labels)
    if numbered and len(set(names)) == len(names):
        return torch.tensor([int(label) for label in labels]), Categorical(names)
    found = sorted(set(labels), key=lambda label: (0, int(label), "") if label.isdigit() else (1, 0, label))
    return torch.tensor([found.index(label) for label in labels]), Categorical(found)


def _own_names(pairs: Any) -> Sequence[Any]:
    names = getattr(pairs, "classes", ())
    return names if isinstance(names, list | tuple) else ()


class ImagePairs(LabelledImages):
    """Data sets of a person's own, in Python: `ImagePairs(train, test=test, batch_size=64)`.

    Args:
        train: pairs of an image and a class.
        val: those for validation; None cuts a share of train.
        test: those for the test; None cuts a share of train.
        base: as in `LabelledImages`.
    """

    def __init__(self, train: Pairs, val: Pairs | None = None, test: Pairs | None = None, **base: Any) -> None:
        super().__init__(**base)
        self.given: dict[Split, Pairs | None] = {"train": train, "val": val, "test": test}

    def parts(self) -> dict[Split, Pairs]:
        """What was given."""
        return {split: pairs for split, pairs in self.given.items() if pairs is not None}


class Torchvision(LabelledImages):
    """Any of torchvision's data sets of images with a class: KMNIST, SVHN, EMNIST, STL10, CIFAR100, Flowers102 ...

    Args:
        name: its class in torchvision.datasets.
        arguments: further arguments of the class, such as `{split: letters}` of EMNIST.
        root: folder of torchvision's files; None is a folder of this name below the data root.
        download: lets torchvision download what is missing.
        base: as in `LabelledImages`.
    """

    def __init__(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        root: Path | None = None,
        download: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.kind, self.arguments, self.root, self.download = name, arguments or {}, root, download

    def parts(self) -> dict[Split, Pairs]:
        """The splits that the class knows.

        Raises:
            ValueError: if there is no such class, or it cannot be built; the message says why.
        """
        found: Any = getattr(torchvision.datasets, self.kind, None)
        if not (inspect.isclass(found) and issubclass(found, torchvision.datasets.VisionDataset)):
            known = [name for name in torchvision.datasets.__all__ if name[0].isupper()]
            raise ValueError(f"torchvision.datasets has no {self.kind!r}; it has {', '.join(known)}")
        kind: Any = found
        takes = {name for cls in kind.__mro__[:-1] for name in inspect.signature(cls.__init__).parameters}
        usual = {"root": self.root or data_root() / self.kind.lower(), "download": self.download}
        common = {name: value for name, value in usual.items() if name in takes}

        def built(**split: Any) -> Pairs:
            try:
                pairs: Pairs = kind(**common, **split, **self.arguments)
            except TypeError as error:
                raise ValueError(f"{self.kind}: {error}; name it in data.arguments") from error
            return pairs

        if "train" in takes and "train" not in self.arguments:
            return {"train": built(train=True), "test": built(train=False)}
        if "split" not in takes or "split" in self.arguments:
            return {"train": built()}
        parts: dict[Split, Pairs] = {}
        for split, names in SPLITS.items():
            for name in names:
                try:
                    parts[split] = built(split=name)
                    break
                except ValueError as error:
                    if "for argument split" not in str(error):  # torchvision's words for one that it does not have
                        raise
                    if split == "train":
                        raise ValueError(f"{self.kind}: {error}; name it in data.arguments") from error
        return parts
