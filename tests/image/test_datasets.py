"""Any data set of pairs of an image and a class: torchvision's in the formats of their files, and one's own."""

import json

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image
from torch.utils.data import TensorDataset

from modalities.image.datasets import ImagePairs, Torchvision


def idx(path, array):
    """A file of the format that MNIST has made common."""
    kind, sizes = 0x0800 + array.ndim, array.shape
    header = b"".join(number.to_bytes(4, "big") for number in (kind, *sizes))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def kmnist(root):
    for part, count in (("train", 40), ("t10k", 20)):
        labels = np.arange(count) % 10
        images = np.broadcast_to((labels * 20)[:, None, None], (count, 28, 28))
        idx(root / f"KMNIST/raw/{part}-images-idx3-ubyte", images)
        idx(root / f"KMNIST/raw/{part}-labels-idx1-ubyte", labels)


def test_a_data_set_with_a_flag_for_training_keeps_its_test(tmp_path):
    kmnist(tmp_path)
    data = Torchvision("KMNIST", root=tmp_path, download=False, batch_size=10)
    examples = data.examples
    assert examples.x.shape == (60, 1, 28, 28)
    assert data.attributes["class"].values[:3] == ("o", "ki", "su")
    assert torch.equal(examples.x[:, 0, 0, 0].long(), examples.fields["class"] * 20)
    assert sorted(examples.splits["test"].tolist()) == list(range(40, 60))
    assert len(examples.splits["val"]) in range(1, 12)
    assert data.shape == (1, 28, 28)


def test_a_data_set_with_named_splits_has_them_all(tmp_path):
    for split, shades in (("train", (10, 30)), ("valid", (50,)), ("test", (70, 90))):
        for country, colour in (("CH", 0), ("FR", 1)):
            folder = tmp_path / "country211" / split / country
            folder.mkdir(parents=True)
            for number, shade in enumerate(shades):
                pixel = [0, 0, 0]
                pixel[colour] = shade
                Image.new("RGB", (14, 10), tuple(pixel)).save(folder / f"{number}.png")
    data = Torchvision("Country211", root=tmp_path, download=False, batch_size=2)
    splits = data.examples.splits
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 4, "val": 2, "test": 4}
    assert data.shape == (3, 8, 8)  # the shorter side of 10, as a multiple of 4
    for split, shades in (("train", {10, 30}), ("val", {50}), ("test", {70, 90})):
        assert set(data.examples.x[splits[split]].flatten(1).max(1).values.tolist()) == shades
    french = data.examples.fields["class"] == data.attributes["class"].parse("FR")
    assert (data.examples.x[french][:, 1] > 0).all()


def test_street_numbers_are_read_from_their_own_format(tmp_path, monkeypatch):
    for split, count in (("train", 30), ("test", 12)):
        labels = np.arange(count) % 10
        scipy.io.savemat(
            tmp_path / f"{split}_32x32.mat",
            {"X": np.broadcast_to(labels * 25, (32, 32, 3, count)).astype(np.uint8), "y": labels[:, None]},
        )
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)  # of sums of the real files
    data = Torchvision("SVHN", root=tmp_path, download=False, batch_size=10, field="digit")
    assert data.attributes["digit"].values == tuple(map(str, range(10)))
    assert torch.equal(data.examples.x[:, 0, 5, 5].long(), data.examples.fields["digit"] * 25)
    assert data.shape == (3, 32, 32)


def test_a_split_that_cannot_be_read_is_not_taken_for_one_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "country211/train/CH").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "country211/train/CH/0.png")

    class Damaged(torchvision.datasets.Country211):
        def __init__(self, root, split="train", download=False):
            if split != "train":
                raise ValueError("the archive is damaged")
            super().__init__(root, split)

    monkeypatch.setattr(torchvision.datasets, "Country211", Damaged)
    with pytest.raises(ValueError, match="the archive is damaged"):
        _ = Torchvision("Country211", root=tmp_path).examples


def test_what_is_taken_from_the_first_image_is_said(monkeypatch):
    said = []
    monkeypatch.setattr("modalities.image.datasets.rank_zero_info", said.append)
    pairs = [(np.full((9, 12), 7, np.uint8), n % 2) for n in range(30)]
    assert ImagePairs(pairs, batch_size=2).shape == (1, 8, 8)
    (line,) = said
    assert line.startswith("all images are read as 8 x 8 in grey, because the first is 12 x 9 (L); data.size and ")
    with pytest.raises(ValueError, match="ImagePairs has no image"):
        _ = ImagePairs([]).examples


def test_an_unknown_name_or_a_split_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no 'KMNST'; it has .*KMNIST"):
        _ = Torchvision("KMNST").examples
    with pytest.raises(ValueError, match=r"EMNIST: .*'split'; name it in data\.arguments"):
        _ = Torchvision("EMNIST", root=tmp_path, download=False).examples


def test_data_sets_in_python_may_hold_tensors_and_arrays():
    x = torch.linspace(0, 1, 30).view(30, 1, 1, 1).expand(30, 3, 8, 8)
    train = TensorDataset(x, torch.arange(30) % 2)
    test = [(np.full((8, 8, 3), 77, np.uint8), "0"), (np.full((8, 8), 78, np.uint8), np.int64(1))]
    data = ImagePairs(train, test=test, batch_size=5)
    assert data.attributes["class"].values == ("0", "1")
    rows = data.examples.splits["test"]
    assert data.examples.x[rows].flatten(1).float().mean(1).tolist() == [77, 78]
    assert (data.examples.x[:30, 0, 0, 0] - torch.linspace(0, 255, 30)).abs().max() <= 0.5


FAULTS = {
    "no pair": ([torch.zeros(1, 8, 8)], "is a Tensor, not a pair"),
    "a box for a class": ([(np.zeros((8, 8), np.uint8), torch.zeros(4))], "class of example 0 of train is a Tensor"),
    "standardised values": ([(torch.full((1, 8, 8), -0.4), 1)], "values from -0.4 to -0.4, not from 0 to 1"),
    "five channels": ([(torch.zeros(5, 8, 8), 1)], r"has the shape \(5, 8, 8\)"),
    "wide integers": ([(np.zeros((8, 8), np.int64), 1)], "holds int64"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_image_with_a_class_is_named(fault):
    pairs, message = FAULTS[fault]
    with pytest.raises(ValueError, match=message):
        _ = ImagePairs(pairs).examples


def test_the_configuration_trains_tests_and_is_read_again(train_image, tmp_path):
    kmnist(tmp_path / "data")
    train_image(
        "fit", "--config", "configs/image/torchvision.yaml", "--config", "configs/trainer/debug.yaml",
        "--data.name", "KMNIST", "--data.root", tmp_path / "data", "--data.download", "false",
        "--data.batch_size", "8", "--run.root", tmp_path / "runs", "--model.architecture",
        "modalities.image.networks.MLP", "--model.architecture.init_args.hidden", "[8]",
    )  # fmt: skip
    (results,) = (tmp_path / "runs").rglob("results.json")
    figures = json.loads(results.read_text())["metrics"]
    assert figures["test/nll"]["n"] > 10
    assert "test/judge_accuracy" in figures
