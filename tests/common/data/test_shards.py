"""Shards of WebDataset, tar files of media and what is known of them, train every modality by --data.root alone."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
from PIL import Image

from common.data.containers.shards import is_sharded, shards
from common.data.containers.unpacking import unpacked
from common.training.restore import restore
from modalities.audio.data import AudioFiles
from modalities.audio.signal.features import LogMel
from modalities.image.data import IMAGES, ImageFolder
from modalities.text.data import TextFiles


def encoded(value):
    """The bytes of a member, as WebDataset's writer makes them."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def write_shard(path, members):
    """A tar file of named members, whose values are bytes, a text, or what JSON holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, value in members:
            info = tarfile.TarInfo(name)
            info.size = len(encoded(value))
            tar.addfile(info, io.BytesIO(encoded(value)))
    return path


def picture(shade):
    content = io.BytesIO()
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def tone(number):
    content = io.BytesIO()
    wave = 0.3 * np.sin(np.arange(16000) * (0.05 + 0.1 * (number % 2)) + number)
    soundfile.write(content, wave, 8000, format="WAV")
    return content.getvalue()


def pictures(start, count):
    for number in range(start, start + count):
        yield f"{number:04d}.png", picture(number)
        yield f"{number:04d}.cls", str(number % 3)
        yield f"{number:04d}.json", {"age": number + 0.5, "box": [1, 2], "tone": ["calm", "wild"][number % 2]}
        yield f"{number:04d}.txt", f"picture number {number}\n"
        yield f"{number:04d}.npy", b"\0"


def write_pictures(root):
    """100 pictures in shards of three splits."""
    parts = (("train-000000", 0, 40), ("train-000001", 40, 40), ("val-000000", 80, 10), ("test-000000", 90, 10))
    for name, start, count in parts:
        write_shard(root / f"{name}.tar", pictures(start, count))
    return root


def test_images_come_with_their_classes_entries_and_splits(tmp_path):
    data = ImageFolder(write_pictures(tmp_path / "shards"), size=8, batch_size=4)
    examples = data.examples
    assert {name: len(rows) for name, rows in examples.splits.items()} == {"train": 80, "val": 10, "test": 10}
    order = examples.fields["age"].argsort()
    assert examples.x[order][:, 0, 0, 0].tolist() == list(range(100))
    assert examples.fields["class"][order].tolist() == [number % 3 for number in range(100)]
    assert data.attributes["class"].values == ("0", "1", "2")
    assert [data.attributes["tone"].values[n] for n in examples.fields["tone"][order][:2]] == ["calm", "wild"]
    assert sorted(examples.x[examples.splits["test"]][:, 0, 0, 0].tolist()) == list(range(90, 100))
    said = "\n".join(data.details())
    assert f"passed over below {tmp_path / 'shards'}: 100 .npy" in said
    assert "left out of .json, because they are nested: box" in said
    assert "left out as a condition: text, of which 100 of 100 cells differ" in said


def test_shards_are_unpacked_once_and_again_when_one_changes(tmp_path):
    root = write_pictures(tmp_path / "shards")
    before = unpacked(root, IMAGES)
    assert unpacked(root, IMAGES) == before
    write_shard(root / "test-000000.tar", pictures(90, 5))
    assert unpacked(root, IMAGES).files != before.files
    assert len(list(unpacked(root, IMAGES).files.rglob("*.png"))) == 95


def test_a_pattern_chooses_shards_and_a_hash_of_the_key_their_splits(tmp_path):
    root = write_pictures(tmp_path / "shards")
    few = ImageFolder(root / "train-{000000..000001}.tar", size=8, batch_size=4)
    more = ImageFolder(root / "t*-00000[01].tar", size=8, batch_size=4)
    assert {name: len(rows) for name, rows in more.examples.splits.items()} == {"train": 74, "val": 6, "test": 10}
    # A key that is held out of one collection is held out of the larger one.
    held_out, kept = few.examples.splits, more.examples.splits
    assert {name: len(rows) for name, rows in held_out.items()} == {"train": 67, "val": 6, "test": 7}
    shades = [set(data.x[rows][:, 0, 0, 0].tolist()) for data, rows in
              ((few.examples, held_out["val"]), (more.examples, kept["val"]))]  # fmt: skip
    assert shades[0] == shades[1]
    assert [shard.file.name for shard in shards(root / "{test,val}-000000.tar")] == [
        "test-000000.tar",
        "val-000000.tar",
    ]
    with pytest.raises(FileNotFoundError, match=r"train-000002\.tar does not exist"):
        shards(root / "train-{000000..000002}.tar")


def test_folders_in_shards_are_classes_where_nothing_else_is_known(tmp_path):
    members = [(f"{('cat', 'dog')[number % 2]}/{number:03d}.v2.PNG", picture(number)) for number in range(60)]
    write_shard(tmp_path / "shards/part-0.tar", sorted(members))
    data = ImageFolder(tmp_path / "shards", size=8, batch_size=4)
    assert data.attributes["class"].values == ("cat", "dog")
    assert data.examples.fields["class"].tolist() == [0] * 30 + [1] * 30


def test_sounds_come_with_their_conditions(tmp_path):
    for split, numbers in (("train", range(24)), ("valid", range(24, 28)), ("test", range(28, 32))):
        members = [(f"{n}.{suffix}", value) for n in numbers
                   for suffix, value in (("wav", tone(n)), ("json", {"genre": ["calm", "wild"][n % 2]}))]  # fmt: skip
        write_shard(tmp_path / f"shards/{split}/0000.tar", members)
    features = LogMel(sample_rate=8000, samples=8192, n_fft=512, hop=256, mels=16, high=4000.0)
    data = AudioFiles(tmp_path / "shards", features=features, batch_size=4)
    assert data.attributes["genre"].values == ("calm", "wild")
    clips = {name: len(rows) for name, rows in data.examples.splits.items()}
    assert clips == {"train": 48, "val": 8, "test": 8}
    high = data.examples.x.float().mean((1, 3)).argmax(1)
    assert high[data.examples.fields["genre"] == 0].float().mean() < high[data.examples.fields["genre"] == 1].min()


def test_texts_are_the_txt_or_an_entry_of_the_json(tmp_path):
    words = ["the sea is still", "the storm breaks all"]
    members = []
    for n in range(80):
        members += [(f"{n}.txt", f"{words[n % 2]} on day {n}\n"), (f"{n}.cls", str(n % 2)), (f"{n}.jpg", b"")]
    write_shard(tmp_path / "shards/00.tar", members)
    data = TextFiles(tmp_path / "shards", vocabulary=300, batch_tokens=100)
    calm = data.examples.fields["class"] == 0
    assert all("the sea is still" in text for text in data.tokenizer.decode(data.examples.x[calm].long()))
    assert int(calm.sum()) == 40
    assert f"passed over below {tmp_path / 'shards'}: 80 .jpg" in data.details()
    reviews = [(f"{n}.json", {"review": f"{words[n % 2]} {n}", "stars": n % 5}) for n in range(80)]
    write_shard(tmp_path / "other/00.tar", reviews)
    other = TextFiles(tmp_path / "other", text="review", vocabulary=300, batch_tokens=100)
    assert other.attributes["stars"].values == ("0", "1", "2", "3", "4")
    assert len(other.examples.x) == 80


def test_an_epoch_is_trained_from_shards_on_the_command_line(tmp_path, train_image, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    fit = train_image(
        *["fit", "--config", "configs/image/folder.yaml", "--data.root", write_pictures(tmp_path / "shards")],
        *["--data.condition", "[tone,class]", "--data.size", 8, "--run.test", "false", "--wandb.mode", "disabled"],
        *["--model.architecture", "modalities.image.networks.MLP", "--model.architecture.hidden", "[16]"],
        *["--trainer.max_epochs", 1, "--run.root", tmp_path / "runs", "--trainer.enable_progress_bar", "false"],
        *["--model.evaluation.control_samples", 8],
    )
    attributes = restore(fit.folder / "checkpoints/best.ckpt").model.condition.attributes
    assert {name: attribute.values for name, attribute in attributes.items()} == {
        "tone": ("calm", "wild"),
        "class": ("0", "1", "2"),
    }


FAULTS = {
    "two": ([("a.png", picture(1)), ("a.jpg", picture(2))], r"0\.tar: a needs one image, and has \.png and \.jpg"),
    "none": ([("a.json", {}), ("b.png", picture(1))], r"0\.tar: a needs one image, and has none, but \.json"),
    "again": ([("a.png", picture(1)), ("b.png", picture(1)), ("a.json", {})], r"0\.tar: a needs one image"),
    "twice": ([("a.png", picture(1)), ("a.png", picture(1))], r"0\.tar: a\.png is there twice"),
    "absolute": ([("/tmp/a.png", picture(1))], r"0\.tar: /tmp/a\.png leads out of its folder"),
    "above": ([("x/../../a.png", picture(1))], r"0\.tar: x/\.\./\.\./a\.png leads out of its folder"),
    "windows": ([("..\\a.png", picture(1))], r"0\.tar: \.\.\\a\.png leads out of its folder"),
    "drive": ([("C:a.png", picture(1))], r"0\.tar: C:a\.png leads out of its folder"),
    "long": ([(f"{'a' * 300}.png", picture(1))], r"0\.tar: 'a+\.png' is no name that a file can have"),
    "class": ([("a.png", picture(1)), ("a.cls", "cat")], r"0\.tar: a\.cls is 'cat', and no class"),
    "list": ([("a.png", picture(1)), ("a.json", [1])], r"0\.tar: a\.json is no object"),
    "broken": ([("a.png", picture(1)), ("a.json", "{")], r"0\.tar: a\.json is not JSON"),
    "bytes": ([("a.png", picture(1)), ("a.txt", b"\xff\xfe\xfa")], r"0\.tar: a\.txt is not UTF-8"),
    "column": ([("a.png", picture(1)), ("a.json", {"text": "b"}), ("a.txt", "c")], r"0\.tar: a\.txt gives the column"),
    "empty": ([], r"the shards hold nothing that is read"),
}  # fmt: skip


@pytest.mark.parametrize(("members", "said"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_member_is_refused_by_shard_and_name(tmp_path, monkeypatch, members, said):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    write_shard(tmp_path / "shards/0.tar", members)
    with pytest.raises(ValueError, match=said) as refusal:
        unpacked(tmp_path / "shards", IMAGES)
    assert "\n" not in str(refusal.value)
    assert not list((tmp_path / "cache/datasets").glob("*[!k]"))  # nothing but the lock is left
    assert not list(tmp_path.glob("*.png"))


def test_links_and_devices_are_refused(tmp_path):
    for kind, said in (
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.FIFOTYPE, "no ordinary file"),
    ):
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        (tmp_path / "shards").mkdir(exist_ok=True)
        with tarfile.open(tmp_path / "shards/0.tar", "w") as tar:
            tar.addfile(info)
        with pytest.raises(ValueError, match=rf"0\.tar: a\.png is {said}"):
            unpacked(tmp_path / "shards", IMAGES)


def test_a_shard_that_is_cut_anywhere_is_refused(tmp_path):
    whole = write_shard(tmp_path / "shards/0.tar", list(pictures(0, 3))).read_bytes()
    end = len(whole.rstrip(b"\0")) + 511 & ~511  # of the last member
    for length in (0, 100, 512, 700, 1024, 1536, 5000, end - 512, end):
        (tmp_path / "shards/0.tar").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"shards/0\.tar.*(incomplete|damaged)"):
            unpacked(tmp_path / "shards", IMAGES)
    (tmp_path / "shards/0.tar").write_bytes(whole[:2048] + b"x" * 512 + whole[2560:])
    with pytest.raises(ValueError, match=r"shards/0\.tar.*(incomplete|damaged)"):
        unpacked(tmp_path / "shards", IMAGES)


def test_keys_may_repeat_in_another_split_alone(tmp_path):
    for name in ("train-0", "val-0", "test-0"):
        write_shard(tmp_path / f"shards/{name}.tar", pictures(0, 3))
    assert len(list(unpacked(tmp_path / "shards", IMAGES).files.rglob("*.png"))) == 9
    write_shard(tmp_path / "shards/train-1.tar", pictures(2, 3))
    with pytest.raises(ValueError, match=r"train-1\.tar: 0002 is in .*train-0\.tar as well"):
        unpacked(tmp_path / "shards", IMAGES)


def test_shards_of_no_split_beside_others_and_compressed_ones_are_refused(tmp_path):
    write_shard(tmp_path / "shards/train-0.tar", pictures(0, 3))
    write_shard(tmp_path / "shards/more.tar", pictures(3, 3))
    with pytest.raises(ValueError, match=r"more\.tar names no split, and .*train-0\.tar does"):
        unpacked(tmp_path / "shards", IMAGES)
    (tmp_path / "shards/more.tar").rename(tmp_path / "shards/train-1.tar.gz")
    with pytest.raises(ValueError, match=r"train-1\.tar\.gz is compressed.*unpack it"):
        unpacked(tmp_path / "shards", IMAGES)


def test_what_lies_beside_files_of_data_is_no_shard(tmp_path):
    write_shard(tmp_path / "cat/backup.tar", pictures(0, 1))
    (tmp_path / "dog").mkdir()
    assert not is_sharded(tmp_path, (".png",))
    (tmp_path / "dog/a.tar").touch()
    assert is_sharded(tmp_path, (".png",))
    (tmp_path / "a.png").touch()
    assert not is_sharded(tmp_path, (".png",))
