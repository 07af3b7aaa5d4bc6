import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from common.conditions.attributes import Categorical, Continuous
from common.data.overview import overview
from common.paths import data_root
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.data import MNIST, Digits, ImageFolder, UTKFace
from modalities.image.networks import MLP


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch, request):
    if "shared" not in request.keywords:
        monkeypatch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))


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
    with pytest.raises(
        ValueError,
        match=r"stray\.png lies in no class's folder: put files into .*, or train without",
    ):
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
    assert data.details() == [  # the table itself is not passed over
        f"left out: 1 images below {folder} that {folder / 'attributes.csv'} does not name"
    ]
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
        (
            "file,colour\ncat/0.png,red\ncat/999.png,red\n",
            r"1 of 2 rows of .*attributes\.csv are faulty: line 3: .*999\.png does not exist\. Remedy: correct",
        ),
        ("file\ncat/0.png\n", "needs a column of file names"),
    ],
)
def test_a_faulty_csv_names_its_row(folder, text, message):
    with pytest.raises(ValueError, match=message):
        _ = ImageFolder(folder, attributes_csv(folder, text), size=8).examples


def test_a_text_in_a_continuous_column_names_row_and_column(folder):
    path = attributes_csv(folder, "file,age\ncat/0.png,12.5\ncat/1.png,old\n")
    with pytest.raises(ValueError, match=r"line 3, column age: 'old' is not a number"):
        _ = ImageFolder(folder, path, continuous=["age"], size=8).examples


def break_images(folder, names):
    for name in names:
        (folder / name).write_text("not an image")


def test_all_broken_images_are_named_at_once(folder):
    break_images(folder, ["cat/0.png", "cat/5.png", "dog/7.png"])
    with pytest.raises(ValueError, match=r"^3 of 60 images are faulty: ") as raised:
        _ = ImageFolder(folder, size=8).examples
    message = str(raised.value)
    for name in ("cat/0.png", "cat/5.png", "dog/7.png"):
        assert f"{folder / name} cannot be read as an image (its bytes are of no known format)" in message
    assert message.endswith("remove or replace them, or leave them out with data.faulty skip")


def test_skipped_images_are_left_out_everywhere_and_counted(folder):
    for number in range(30):
        save(folder / "cat" / f"{number}.png", (number, 0, 0))
    whole = ImageFolder(folder, size=8).examples
    test = {whole.origin["file"][row] for row in whole.splits["test"].tolist()}
    broken = [*sorted(test)[:1], *[str(folder / "cat" / f"{number}.png") for number in (0, 17)]]
    break_images(folder, broken)
    for _ in range(2):  # decoded, and from the cache
        with pytest.warns(UserWarning, match=rf"left out: {len(set(broken))} of 60 images are faulty: "):
            left = ImageFolder(folder, size=8, faulty="skip").examples
        files = [file for file in whole.origin["file"] if file not in broken]
        assert list(left.origin["file"]) == files
        assert len(left.x) == len(left.fields["class"]) == 60 - len(set(broken))
        assert {left.origin["file"][row] for row in left.splits["test"].tolist()} == test - set(broken)
        assert sum(map(len, left.splits.values())) == len(left.x)
        for file, image, label in zip(files, left.x, left.fields["class"].tolist(), strict=True):
            red = int(Path(file).stem) if label == 0 else 0
            assert image[:, 0, 0].tolist() == [red, 0, 255 * label]


def test_a_split_of_which_all_images_are_faulty_is_refused(folder):
    whole = ImageFolder(folder, size=8).examples
    val = [whole.origin["file"][row] for row in whole.splits["val"].tolist()]
    break_images(folder, val)
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match=f"all {len(val)} images for val are faulty"),
    ):
        _ = ImageFolder(folder, size=8, faulty="skip").examples


def test_what_notebooks_and_systems_leave_behind_is_no_class(folder):
    save(folder / ".ipynb_checkpoints" / "0-checkpoint.png", (0, 255, 0))
    save(folder / "cat" / ".ipynb_checkpoints" / "0-checkpoint.png", (0, 255, 0))
    save(folder / "__MACOSX" / "cat" / "a.png", (0, 255, 0))
    (folder / "cat" / "._0.png").write_bytes(b"x")
    (folder / "cat" / "Thumbs.db").write_bytes(b"x")
    (folder / "dog" / "a.HEIC").write_bytes(b"x")
    (folder / "dog" / "b.heic").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "emu").mkdir()
    data = ImageFolder(folder, size=8)
    assert data.attributes == {"class": Categorical(("cat", "dog"))}
    assert len(data.examples.x) == 60
    notes = [f"passed over below {folder}: 2 .heic, 1 .txt", "no image in the folders emu"]
    assert data.details()[:2] == notes
    assert all(f"\n  {note}" in overview(data) for note in notes)


def test_images_are_remarked_on_before_training(folder):
    save(folder / "cat" / "0.png", (255, 0, 0), size=(7, 40))
    Image.new("LA", (20, 16), (200, 0)).save(folder / "dog" / "0.png")
    data = ImageFolder(folder, size=8)
    notes = [
        "1 of 60 images are transparent in places, which are made white",
        "1 of 60 images are smaller than data.size, and enlarged",
    ]
    assert data.details() == notes
    assert ImageFolder(folder, size=8).details() == notes  # from the cache
    grey = ImageFolder(folder, size=8, channels=1)
    assert grey.examples.x.shape == (60, 1, 8, 8)
    assert grey.details() == notes


def test_grey_images_in_three_channels_are_said(tmp_path):
    for number in range(30):
        Image.new("L", (8, 8), number).save(tmp_path / f"{number}.png")
    data = ImageFolder(tmp_path, size=8, condition=[])
    assert data.details() == ["30 of 30 images are grey, which data.channels 1 would hold as well"]
    assert ImageFolder(tmp_path, size=8, channels=1, condition=[]).details() == []


def ready_made(root, flat=False):
    """Red cats and blue dogs in folders of their splits; the emu is in test alone."""
    for split, count in (("train", 6), ("Val", 2), ("test", 3)):
        for number in range(count):
            for name, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
                save(root / split / ("" if flat else name) / f"{name}{number}.png", colour)
    save(root / "test" / ("" if flat else "emu") / "emu0.png", (0, 255, 0))
    return root


def by_split(data):
    """Names of the files of each split, sorted."""
    files = data.examples.origin["file"]
    return {
        name: sorted(str(Path(files[row]).relative_to(data.root)) for row in rows.tolist())
        for name, rows in data.examples.splits.items()
    }


def test_ready_made_folders_are_the_splits(tmp_path):
    data = ImageFolder(ready_made(tmp_path), size=8)
    assert data.attributes["class"].values == ("cat", "dog", "emu")
    names = {
        split: [f"{folder}/{name}/{name}{number}.png" for name in ("cat", "dog") for number in range(count)]
        for split, folder, count in (("train", "train", 6), ("val", "Val", 2), ("test", "test", 3))
    }
    assert by_split(data) == {**names, "test": [*names["test"], "test/emu/emu0.png"]}
    with pytest.raises(ValueError, match=r"'emu' was in no training example, .* nothing of it: cat, dog$"):
        ImageCVAE(AttributeEncoder(data.attributes), (3, 8, 8), architecture=MLP([4])).sample({"class": "emu"})
    assert "never in training: emu" in overview(data)
    scored = ImageFolder(tmp_path, size=8)
    scored.scores_all = True
    assert len(scored.scored) == len(scored.examples.splits["test"]) == 23


def test_few_images_are_taken_from_each_of_the_ready_made_splits(tmp_path):
    data = ImageFolder(ready_made(tmp_path), size=8, limit=12)
    counts = {split: len(names) for split, names in by_split(data).items()}
    assert counts == {"train": 7, "val": 2, "test": 3}
    assert all(name.startswith(("train", "Val", "test")) for names in by_split(data).values() for name in names)


def test_ready_made_folders_without_classes_or_beside_others_are_not_taken_for_classes(tmp_path):
    ready_made(tmp_path, flat=True)
    with pytest.raises(ValueError, match=r"hold no folders of classes: .* data.condition \[\]$"):
        _ = ImageFolder(tmp_path, size=8).examples
    assert {name: len(files) for name, files in by_split(ImageFolder(tmp_path, size=8, condition=[])).items()} == {
        "train": 12,
        "val": 4,
        "test": 7,
    }
    ready_made(tmp_path / "more")
    save(tmp_path / "more" / "extra" / "a.png", (0, 0, 0))
    for condition in (None, []):
        with pytest.raises(ValueError, match=r"more holds .* others side by side \(.*extra/a.png\): move"):
            _ = ImageFolder(tmp_path / "more", size=8, condition=condition).examples
    save(tmp_path / "stray.png", (0, 0, 0))
    with pytest.raises(ValueError, match=r"side by side \(.*more/.*\): move the others away"):
        _ = ImageFolder(tmp_path, size=8, condition=[]).examples


def test_the_only_image_of_a_class_is_trained(folder):
    for name in ("fox", "gnu", "hen", "kea", "owl", "yak"):
        save(folder / name / "0.png", (0, 255, 0))
    data = ImageFolder(folder, size=8)
    values, examples = data.attributes["class"].values, data.examples
    assert values == ("cat", "dog", "fox", "gnu", "hen", "kea", "owl", "yak")
    assert examples.fields["class"][examples.splits["train"]].unique().tolist() == list(range(8))
    assert data.attributes["class"].untrained == ()
    assert "in no test example: fox, gnu, hen, kea, owl, yak" in overview(data)


def test_a_flat_folder_is_read_without_conditions(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number}.png", (number, 0, 0))
    ways = r"put files into .*/<class>/, .* data\.attributes, or train without classes: data\.condition \[\]"
    with pytest.raises(ValueError, match=ways):
        _ = ImageFolder(tmp_path, size=8).examples
    data = ImageFolder(tmp_path, size=8, condition=[])
    assert data.attributes == {}
    assert data.examples.fields == {}
    assert sorted(data.examples.x[:, 0, 0, 0].tolist()) == list(range(40))
    assert all(map(len, data.examples.splits.values()))


def test_a_flat_folder_trains_an_unconditional_model(train_image, tmp_path):
    for number in range(40):
        save(tmp_path / "own" / f"{number}.png", (number, 0, 0))
    train_image(
        "fit", "--config", "configs/image/folder.yaml", "--data.root", tmp_path / "own", "--data.condition", "[]",
        "--data.size", 16, "--trainer.max_epochs", 1, "--run.root", tmp_path / "runs", "--run.id", "a",
        "--run.test", "false", "--trainer.accelerator", "cpu", "--model.architecture.width", 8,
        "--model.architecture.channels", "[4,4]", "--model.architecture.blocks", "[0,0]",
    )  # fmt: skip
    checkpoint = next((tmp_path / "runs").rglob("last.ckpt"))
    model = ImageCVAE.load_from_checkpoint(checkpoint)
    assert model.condition.names == []
    assert model.sample({}, 3).shape == (3, 1, 3, 16, 16)


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


def test_all_names_that_are_not_utkface_are_named_at_once_or_skipped(tmp_path):
    for number in range(40):
        save(tmp_path / f"{number}_{number % 2}_0_20170109002813437.jpg", (0, 0, 0))
    for name in ("holiday.jpg", "portrait.png"):
        save(tmp_path / name, (0, 0, 0))
    with pytest.raises(ValueError, match=r"2 of 42 names .* are faulty: holiday\.jpg .*; portrait\.png .* skip$"):
        _ = UTKFace(tmp_path, size=8).examples
    with pytest.warns(UserWarning, match="left out: 2 of 42 names"):
        examples = UTKFace(tmp_path, size=8, faulty="skip").examples
    assert sorted(examples.fields["age"].tolist()) == list(range(40))
    ages = [int(Path(file).name.split("_")[0]) for file in examples.origin["file"]]
    assert examples.fields["age"].tolist() == ages
    assert examples.fields["gender"].tolist() == [age % 2 for age in ages]


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


@pytest.mark.parametrize("validation", [0, 20, 21])
def test_a_validation_that_leaves_nothing_is_refused(validation):
    class Few(MNIST):
        def dataset(self, root, train):
            return (
                torch.zeros(20, 1, 28, 28, dtype=torch.uint8),
                torch.arange(20) % 10,
                [str(digit) for digit in range(10)],
            )

    with pytest.raises(ValueError, match=rf"data\.validation {validation} sets aside that many of 20 training images"):
        Few(validation=validation).load()
