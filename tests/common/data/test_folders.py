import pytest

from common.data.folders import files_below, labels_and_splits


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_files_are_sorted_and_what_is_passed_over_is_counted(tmp_path):
    write(tmp_path, "b.PNG", "a/c.png", "notes.txt", "a/d.heic", "a/e.heic", "README")
    found = files_below(tmp_path, {".png"}, "image")
    assert [str(file.relative_to(tmp_path)) for file in found.files] == ["a/c.png", "b.PNG"]
    assert found.notes() == [f"passed over below {tmp_path}: 2 .heic, 1 .txt, 1 without a suffix"]


@pytest.mark.parametrize(
    "junk",
    [
        ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", "cats/._a.png", ".DS_Store", "cats/.hidden/a.png",
        "@eaDir/a.png", "$RECYCLE.BIN/a.png", "Thumbs.db", "desktop.ini", "__pycache__/a.png", "cats/~$a.png",
    ],
)  # fmt: skip
def test_what_others_leave_behind_is_no_class_and_no_file(tmp_path, junk):
    write(tmp_path, "cats/a.png", junk)
    found = files_below(tmp_path, {".png"}, "image")
    assert labels_and_splits(found.files, tmp_path) == (["cats"], None)
    assert not found.passed_over


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path, "elsewhere/a.png", "root/cats/b.png")
    (tmp_path / "root" / "dogs").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "cats" / "too").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "root")
    found = files_below(tmp_path / "root", {".png"}, "image")
    names = [str(file.relative_to(tmp_path / "root")) for file in found.files]
    assert names == ["cats/b.png", "cats/too/a.png", "dogs/a.png"]


def test_a_folder_without_such_files_says_what_there_is(tmp_path):
    write(tmp_path, "a.heic")
    with pytest.raises(FileNotFoundError, match=r"no image below .* \(suffixes .png\); passed over below .*: 1 .heic"):
        files_below(tmp_path, {".png"}, "image")
    with pytest.raises(FileNotFoundError, match=r"is not a folder: set data\.root"):
        files_below(tmp_path / "none", {".png"}, "image")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid"), ("Train", "Test"), ("train_set", "test_set")]
)
def test_ready_made_folders_are_splits_and_no_classes(tmp_path, names):
    files = [tmp_path / name / label / "a.png" for name in names for label in ("cats", "dogs")]
    labels, splits = labels_and_splits(files, tmp_path)
    assert labels == ["cats", "dogs"] * len(names)
    expected = {"v": "val", "t": "train", "e": "test"}
    assert splits == [
        expected["e" if name.lower().startswith("te") else name.lower()[0]] for name in names for _ in "ab"
    ]


@pytest.mark.parametrize("outer", [("train", "cars"), ("train", "bus")])
def test_other_folders_are_classes(tmp_path, outer):
    files = [tmp_path / name / "x" / "a.png" for name in outer]
    assert labels_and_splits(files, tmp_path) == (list(outer), None)


def test_splits_that_lie_deeper_or_lack_training_are_refused(tmp_path):
    deeper = [tmp_path / "data" / name / "cats" / "a.png" for name in ("train", "test")]
    with pytest.raises(ValueError, match=r"the folders of splits lie in .*data: set data.root to it"):
        labels_and_splits(deeper, tmp_path)
    with pytest.raises(ValueError, match="holds folders of test and val, and none of train"):
        labels_and_splits([tmp_path / name / "cats" / "a.png" for name in ("val", "test")], tmp_path)


def test_a_file_in_no_class_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"a.png lies in no class's folder: put files into .*/<class>/"):
        labels_and_splits([tmp_path / "a.png"], tmp_path)
    with pytest.raises(ValueError, match=r"b.png lies in no class's folder: put files into .*/train/<class>/"):
        labels_and_splits([tmp_path / "train" / "cats" / "a.png", tmp_path / "train" / "b.png"], tmp_path)


def test_folders_of_splits_and_others_side_by_side_are_refused(tmp_path):
    files = [tmp_path / name / "x" / "a.png" for name in ("train", "test", "old")]
    for labelled in (True, False):
        with pytest.raises(ValueError, match=r"folders of splits and others side by side \(.*old/x/a.png\)"):
            labels_and_splits(files, tmp_path, labelled)
    with pytest.raises(ValueError, match=r"side by side \(.*/b.png\)"):
        labels_and_splits([*files[:2], tmp_path / "b.png"], tmp_path, labelled=False)
    with pytest.raises(ValueError, match="hold no folders of classes"):
        labels_and_splits([tmp_path / "train" / "a.png", tmp_path / "test" / "b.png"], tmp_path)


def test_without_labels_a_split_needs_no_class(tmp_path):
    files = [tmp_path / "train" / "a.png", tmp_path / "test" / "b.png"]
    assert labels_and_splits(files, tmp_path, labelled=False) == (["", ""], ["train", "test"])
    assert labels_and_splits([tmp_path / "a.png"], tmp_path, labelled=False) == ([""], None)
