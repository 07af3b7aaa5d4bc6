import math

import pytest
import torch
from PIL import Image

from common.conditions.attributes import Categorical, Continuous
from common.paths import data_root
from modalities.image.data import MNIST, Digits, ImageFolder, UTKFace


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch, request):
    if "shared" not in request.keywords:
        monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))


def save(path, colour, size=(20, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    for position in range(30):
        save(tmp_path / "cat" / f"{position}.png", (255, 0, 0))
        save(tmp_path / "dog" / f"{position}.png", (0, 0, 255))
    return tmp_path


def test_the_embedded_digits_are_5000_in_equal_classes_and_three_disjoint_splits(digits):
    table = digits.examples
    assert table.x.shape == (5000, 1, 28, 28)
    assert {name: len(rows) for name, rows in table.splits.items()} == {"train": 4000, "val": 500, "test": 500}
    assert table.fields["digit"][table.splits["test"]].bincount().tolist() == [50] * 10
    assert len(torch.cat(list(table.splits.values())).unique()) == 5000


def test_dynamic_binarisation_follows_the_grey_value_anew_in_training_and_once_in_evaluation(digits):
    rows = digits.examples.splits["test"][:200]
    grey = digits.examples.x[rows].float() / 255
    loader = digits.loader("test")
    batch = next(iter(loader))
    first, second = (digits.transform(batch, training=False).x for _ in range(2))
    assert torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    one, two = (digits.transform(batch, training=True).x for _ in range(2))
    assert not torch.equal(one, two)
    many = torch.stack([digits.transform(batch, training=True).x for _ in range(200)]).mean(0)
    assert torch.allclose(many, grey[: len(batch)], atol=0.18)  # 5 standard errors of 200 draws
    assert abs((first - grey[: len(batch)]).mean()) < 0.01


def test_evaluation_sees_the_same_binarisation_whatever_the_batch():
    small, large = Digits(batch_size=7, binarize="dynamic"), Digits(batch_size=100, binarize="dynamic")
    parts = [small.transform(batch, False).x for batch in small.loader("val")]
    whole = [large.transform(batch, False).x for batch in large.loader("val")]
    assert torch.equal(torch.cat(parts), torch.cat(whole))


def test_static_binarisation_cuts_at_one_half():
    data = Digits(batch_size=20, binarize="static")
    batch = next(iter(data.loader("val")))
    assert torch.equal(data.transform(batch, True).x, (batch.x > 127).float())


def test_a_folder_of_classes_is_read_by_class(folder):
    data = ImageFolder(folder, size=8)
    assert data.attributes == {"class": Categorical(("cat", "dog"))}
    assert data.shape == (3, 8, 8)
    batch = data.batch("train", 40)
    red = batch.x[:, 0].mean(dim=(1, 2)) > 0.5
    assert torch.equal(red, batch.condition["class"] == 0)


def test_an_image_outside_of_any_class_is_named(folder):
    save(folder / "stray.png", (0, 0, 0))
    with pytest.raises(ValueError, match=r"stray\.png lies in no class folder"):
        _ = ImageFolder(folder, size=8).examples


def attributes_csv(folder, text):
    path = folder / "attributes.csv"
    path.write_text(text)
    return path


def test_a_csv_gives_categories_numbers_and_missing_cells(folder):
    lines = ["file,colour,age,count"]
    lines += [f"cat/{position}.png,red,{position + 0.5},{position % 3}" for position in range(30)]
    lines += [f"dog/{position}.png,{'blue' if position else ''},,{position % 3}" for position in range(29)]
    data = ImageFolder(folder, attributes_csv(folder, "\n".join(lines)), size=8)
    assert data.attributes["colour"] == Categorical(("blue", "red"))
    assert data.details()[0].startswith("left out: 1 images below")
    assert data.attributes["count"] == Categorical(("0", "1", "2"))
    age = data.attributes["age"]
    assert isinstance(age, Continuous)
    train = data.examples.fields["age"][data.examples.splits["train"]]
    assert age.mean == pytest.approx(train[~train.isnan()].mean().item(), abs=1e-4)  # of the training split alone
    assert data.examples.fields["colour"][30] == -1
    assert math.isnan(data.examples.fields["age"][31])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,colour\ncat/0.png,red\ncat/999.png,red\n", r"row 3: .*999\.png does not exist"),
        ("file\ncat/0.png\n", "needs a column of file names"),
    ],
)
def test_a_faulty_csv_names_its_row(folder, text, message):
    with pytest.raises(ValueError, match=message):
        _ = ImageFolder(folder, attributes_csv(folder, text), size=8).examples


def test_a_text_in_a_continuous_column_names_row_and_column(folder):
    path = attributes_csv(folder, "file,age\ncat/0.png,12.5\ncat/1.png,old\n")
    with pytest.raises(ValueError, match=r"row 3, column age: 'old' is not a number"):
        _ = ImageFolder(folder, path, continuous=["age"], size=8).examples


def test_a_broken_image_is_named(folder):
    (folder / "cat" / "0.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"0\.png cannot be read as an image"):
        _ = ImageFolder(folder, size=8).examples


def test_a_missing_or_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data\.root"):
        _ = ImageFolder(tmp_path / "nowhere").examples
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no image below"):
        _ = ImageFolder(tmp_path / "empty").examples


@pytest.mark.parametrize(
    ("name", "age", "gender", "race"),
    [
        ("48_1_2_20170109002813437.jpg.chip.jpg", 48, 1, 2),
        ("1_0_0_20161219204512212.jpg.chip.jpg", 1, 0, 0),
        ("24_0__20170116220224657_face.jpg", 24, 0, -1),
        ("61_1_20170109142408075.jpg.chip.jpg", 61, 1, -1),
        ("39_3_1_20170109142408075.jpg", 39, -1, 1),
    ],
)
def test_utkface_names_give_age_gender_and_race_where_they_hold_them(name, age, gender, race):
    assert UTKFace.parse(name) == (age, gender, race)


def test_a_name_that_is_not_utkface_is_refused():
    with pytest.raises(ValueError, match=r"holiday\.jpg is not named"):
        UTKFace.parse("holiday.jpg")


@pytest.mark.extras
@pytest.mark.skipif(not (data_root() / "mnist").exists(), reason="full MNIST is not in the data root")
def test_full_mnist_is_read_from_the_data_root():
    data = MNIST(validation=5000, download=False)
    assert {name: len(rows) for name, rows in data.examples.splits.items()} == {
        "train": 55000,
        "val": 5000,
        "test": 10000,
    }
    assert data.examples.fields["digit"][data.examples.splits["test"]].bincount()[0] == 980


@pytest.mark.extras
@pytest.mark.skipif(not (data_root() / "utkface").exists(), reason="UTKFace is not in the data root")
def test_utkface_is_read_from_the_data_root():
    data = UTKFace(size=16, condition=["age", "gender"])
    assert list(data.attributes) == ["age", "gender"]
    assert len(data.examples.x) > 4000
    assert 0 < data.attributes["age"].mean < 60
