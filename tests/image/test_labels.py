"""Conditions of images from folders and tables."""

import math
import unicodedata

import pytest
from PIL import Image

from common.conditions.attributes import Categorical
from modalities.image.data import ImageFolder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def root(tmp_path):
    """Forty images, 00.png to 39.png, whose grey is their number."""
    return grey_images(tmp_path / "own", [f"{number:02}.png" for number in range(40)])


def grey_images(root, names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number).save(path)
    return root


def table(root, lines, name="own.csv"):
    path = root / name
    path.write_text("\n".join(lines))
    return path


def rows(data, name):
    """Value of a condition by the grey of its image."""
    examples = data.examples
    return dict(zip(examples.x[:, 0, 0, 0].tolist(), named(data, name), strict=True))


def named(data, name):
    attribute, field = data.attributes[name], data.examples.fields[name].tolist()
    if isinstance(attribute, Categorical):
        return [attribute.values[value] if value >= 0 else None for value in field]
    return [None if math.isnan(value) else value for value in field]


def folder(root, csv=None, **options):
    return ImageFolder(root, csv, size=8, channels=1, **options)


def test_folders_that_differ_in_capital_letters_spaces_or_composition_are_one_class(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    names = [f"{name}/{number}.png" for name in (composed, "red fox", "Red Fox") for number in range(10)]
    grey_images(tmp_path, [*names, *(f"{decomposed}/{number}.png" for number in range(5))])
    data = folder(tmp_path)
    assert data.attributes["class"].values == (composed, "Red Fox")
    assert data.examples.fields["class"].bincount().tolist() == [15, 20]
    assert data.details() == ["class: 'red fox' is taken for 'Red Fox'"]


def test_a_linked_folder_is_a_class_and_a_linked_image_an_image(tmp_path):
    grey_images(tmp_path, [f"own/cat/{number}.png" for number in range(20)])
    grey_images(tmp_path / "elsewhere", [f"{number}.png" for number in range(20)])
    (tmp_path / "own" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "own" / "cat" / "linked.png").symlink_to(tmp_path / "elsewhere" / "3.png")
    data = folder(tmp_path / "own")
    assert data.attributes["class"].values == ("cat", "dog")
    assert data.examples.fields["class"].bincount().tolist() == [21, 20]


def test_a_table_of_another_country_is_read_by_its_values(root):
    lines = ["Datei;Lächeln;Alter;Größe"]
    spellings = ["Yes", "yes", "No ", " no"]
    lines += [f"{n:02}.png;{spellings[n % 4]};{n},5;{n % 3}" for n in range(40)]
    lines[6] = "05.png;;;1"
    path = root / "own.csv"
    path.write_bytes("\n".join(lines).encode("utf-8-sig"))
    data = folder(root, path)
    assert data.attributes["Lächeln"].values == ("No", "Yes")
    assert rows(data, "Lächeln") == {n: None if n == 5 else ("Yes", "Yes", "No", "No")[n % 4] for n in range(40)}
    assert rows(data, "Alter") == {n: None if n == 5 else n + 0.5 for n in range(40)}
    assert rows(data, "Größe") == {n: str(n % 3 if n != 5 else 1) for n in range(40)}
    assert data.details()[0] == "own.csv: cells separated by semicolons, decimal commas"


def test_columns_that_name_the_rows_are_no_condition_unless_they_are_wanted(root):
    lines = ["file,owner,smile", *(f"{n:02}.png,person {n % 24},{'yn'[n % 2]}" for n in range(40))]
    data = folder(root, table(root, lines))
    assert list(data.attributes) == ["smile"]
    assert data.details() == [
        "left out as a condition: owner, of which 24 of 40 cells differ (data.condition takes it in)"
    ]
    wanted = folder(root, table(root, lines), condition=["owner"])
    assert rows(wanted, "owner") == {n: f"person {n % 24}" for n in range(40)}


@pytest.mark.parametrize(
    "written",
    [
        lambda root, n: f" {n:02}.png ",
        lambda root, n: f"{n:02}",  # without its suffix
        lambda root, n: f"{n:02}.PNG",
        lambda root, n: f".\\{n:02}.png",
        lambda root, n: f"./{n:02}.png",
        lambda root, n: root / f"{n:02}.png",
        lambda root, n: f"own/{n:02}.png",  # relative to the folder of the table
    ],
    ids=["spaces", "no suffix", "capitals", "windows", "point", "absolute", "beside the table"],
)
def test_names_are_found_however_they_are_written(root, written):
    lines = ["file,size", *(f"{written(root, n)},{n}.5" for n in range(40))]
    data = folder(root, table(root.parent, lines))
    assert rows(data, "size") == {n: n + 0.5 for n in range(40)}
    assert sorted(data.examples.origin["file"]) == [str(root / f"{n:02}.png") for n in range(40)]
    plain = folder(root, table(root, ["file,size", *(f"{n:02}.png,{n}.5" for n in range(40))]))
    for split, part in plain.examples.splits.items():  # the way of writing moves nothing to another split
        assert part.tolist() == data.examples.splits[split].tolist()


def test_names_in_folders_are_found_with_the_separators_of_windows_and_said(tmp_path):
    root = grey_images(tmp_path, [f"Set A/{n}.png" for n in range(40)])
    data = folder(root, table(root, ["file,size", *(f"set a\\{n},{n}.5" for n in range(40))]))
    assert rows(data, "size") == {n: n + 0.5 for n in range(40)}
    assert data.details() == [
        rf"40 names in own.csv lack the suffix or differ in letters, as 'set a\\0' for {root / 'Set A' / '0.png'}"
    ]


def test_all_names_without_one_file_are_named_with_their_lines(root):
    grey_images(root.parent, ["outside.png"])
    grey_images(root, ["00.jpg"])
    lines = ["file,smile", "00,y", "77.png,n", ",y", "../outside.png,y", *(f"{n:02}.png,y" for n in range(1, 40))]
    with pytest.raises(ValueError, match=r"^4 of 43 rows of .*own\.csv are faulty: ") as raised:
        _ = folder(root, table(root, lines)).examples
    message = str(raised.value)
    assert f"line 2: '00' may be {root / '00.jpg'} or {root / '00.png'}: write it in full; " in message
    assert f"line 3: {root / '77.png'} does not exist; " in message
    assert "line 4: no file is named; " in message
    assert f"outside.png lies outside of {root}: set data.root to a folder above it" in message
    with pytest.warns(UserWarning, match=r"left out: 4 of 43 rows of .*: line 2: "):
        found = rows(folder(root, table(root, lines), faulty="skip"), "smile")
    assert sorted(found) == list(range(1, 40))


def test_rows_that_repeat_another_count_once_and_contradictions_are_refused(root):
    lines = ["file,smile,age", *(f"{n:02}.png,{'yn'[n % 2]},{n}.5" for n in range(40))]
    data = folder(root, table(root, [*lines, "00.png,Y,0.5", " ./07.png,n,7.5"]))
    assert data.details() == ["left out: 2 rows that repeat another"]
    assert rows(data, "age") == {n: n + 0.5 for n in range(40)}
    faulty = table(root, [*lines, "03.png,y,3.5", "04.png,y,9"])
    with pytest.raises(ValueError, match=r"^2 of 42 rows") as raised:
        _ = folder(root, faulty).examples
    message = str(raised.value)
    assert f"line 5 and line 42 give {root / '03.png'} the smile 'n' and 'y'" in message
    assert f"line 6 and line 43 give {root / '04.png'} the age '4.5' and '9'" in message
    with pytest.warns(UserWarning, match="left out: 2 of 42"):
        found = rows(folder(root, faulty, faulty="skip"), "age")
    assert sorted(found) == [n for n in range(40) if n not in (3, 4)]
    with pytest.warns(UserWarning, match="left out: 1 of 42"):  # the smile, which is not read, contradicts nothing
        found = rows(folder(root, faulty, condition=["age"], faulty="skip"), "age")
    assert sorted(found) == [n for n in range(40) if n != 4]


def test_a_column_gives_the_splits_together_with_chosen_conditions_and_a_limit(root):
    splits = ["train"] * 20 + ["Validation"] * 10 + ["test"] * 10
    lines = ["file,smile,age,Split", *(f"{n:02}.png,{'yn'[n % 2]},{n}.5,{splits[n]}" for n in range(40))]
    data = folder(root, table(root, lines), condition=["age"])
    assert list(data.attributes) == ["age"]
    greys = {name: data.examples.x[part, 0, 0, 0].sort().values.tolist() for name, part in data.examples.splits.items()}
    assert greys == {"train": list(range(20)), "val": list(range(20, 30)), "test": list(range(30, 40))}
    assert data.attributes["age"].mean == pytest.approx(10.0)  # of the training split alone
    few = folder(root, table(root, lines), limit=20).examples
    assert {name: len(part) for name, part in few.splits.items()} == {"train": 10, "val": 5, "test": 5}
    assert all(few.x[few.splits["val"], 0, 0, 0] // 10 == 2)


def test_folders_of_splits_count_for_a_table_without_such_a_column(tmp_path):
    names = [f"{split}/{n}.png" for split, count in (("train", 8), ("val", 3), ("test", 4)) for n in range(count)]
    root = grey_images(tmp_path, names)
    data = folder(root, table(root, ["file,smile", *(f"{name},{'yn'[n % 2]}" for n, name in enumerate(names))]))
    assert {name: len(part) for name, part in data.examples.splits.items()} == {"train": 8, "val": 3, "test": 4}
    assert data.examples.x[data.examples.splits["val"], 0, 0, 0].sort().values.tolist() == [8, 9, 10]
    assert data.details() == ["splits are those of the folders"]
    beside = grey_images(root, ["more/0.png"])
    lines = ["file,smile", "more/0.png,y", *(f"{name},y" for name in names)]
    with pytest.raises(ValueError, match=r"side by side \(.*more/0.png\): .* name the split of each"):
        _ = folder(beside, table(root, lines)).examples


def test_a_first_column_that_names_no_file_is_told(root):
    caption = "a very long caption " * 20
    with pytest.raises(ValueError, match=r"40 of 40 rows .* whose first column, caption, names files"):
        _ = folder(root, table(root, ["caption,file", *(f"{caption},{n:02}.png" for n in range(40))])).examples


def test_names_that_are_numbers_keep_their_zeros(tmp_path):
    root = grey_images(tmp_path, [f"{n:03}.png" for n in range(40)])
    numbers = [f"{n:03}" if n % 2 else f"{n:03}.png" for n in range(40)]
    for names in (numbers, [f"{n:03}" for n in range(40)]):
        data = folder(root, table(root, ["file,size", *(f"{name},{n}.5" for n, name in enumerate(names))]))
        assert rows(data, "size") == {n: n + 0.5 for n in range(40)}
    dates = [f"20170109002813{n:03}" for n in range(40)]  # more digits than a float holds
    whole = grey_images(tmp_path / "whole", [f"{date}.png" for date in dates])
    data = folder(whole, table(whole, ["file,size", ",1", *(f"{d},{n}.5" for n, d in enumerate(dates))]), faulty="skip")
    with pytest.warns(UserWarning, match=r"1 of 41 rows .* line 2: no file is named"):
        assert rows(data, "size") == {n: n + 0.5 for n in range(40)}


def test_a_table_without_conditions_chooses_images_where_none_is_wanted(root):
    path = table(root, ["file", *(f"{n:02}.png" for n in range(30))])
    with pytest.raises(ValueError, match=r"at least one of attributes, and rows \(.*data\.condition \[\]\)"):
        _ = folder(root, path).examples
    data = folder(root, path, condition=[])
    assert sorted(data.examples.x[:, 0, 0, 0].tolist()) == list(range(30))


def test_a_renamed_column_is_chosen_by_its_new_name(root):
    lines = ["file,smile,age", *(f"{n:02}.png,{'yn'[n % 2]},{n}.5" for n in range(40))]
    data = folder(root, table(root, lines), map=["smile=happy"], condition=["happy"])
    assert list(data.attributes) == ["happy"]
    assert rows(data, "happy") == {n: "yn"[n % 2] for n in range(40)}
