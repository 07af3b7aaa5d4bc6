import errno
import os

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from modalities.image import collections
from modalities.image.collections import decode_images


def test_images_are_cropped_to_their_centre_and_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255  # the central square is white
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    first = decode_images([tmp_path / "wide.png"], 4, 1).x
    assert first.shape == (1, 1, 4, 4)
    assert first.float().mean() > 240
    monkeypatch.setattr(Image, "open", lambda path: pytest.fail("decoded twice"))
    assert torch.equal(decode_images([tmp_path / "wide.png"], 4, 1).x, first)


def test_a_link_to_nothing_is_a_faulty_file_among_others(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    for name, grey in (("a.png", 10), ("c.png", 30)):
        Image.new("L", (8, 8), grey).save(tmp_path / name)
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    with pytest.raises(ValueError, match=r"1 of 3 images are faulty: .*b\.png does not exist"):
        decode_images(files, 8, 1)
    with pytest.warns(UserWarning, match=r"left out: 1 of 3 images are faulty: .*b\.png does not exist"):
        decoded = decode_images(files, 8, 1, "skip")
    assert decoded.rows.tolist() == [0, 2]
    assert decoded.x.flatten(1)[:, 0].tolist() == [10, 30]
    Image.new("L", (8, 8), 20).save(tmp_path / "nowhere.png")
    assert decode_images(files, 8, 1).x.flatten(1)[:, 0].tolist() == [10, 20, 30]


def failing(number):
    def fail(*_, **__):
        raise MemoryError if number == errno.ENOMEM else OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("load", errno.EIO),
        ("load", errno.EMFILE),
        ("load", errno.ENOMEM),
        ("getexif", errno.EIO),
        ("convert", errno.ENOMEM),
    ],
)
def test_what_is_no_fault_of_a_file_is_not_one_for_ever(tmp_path, monkeypatch, method, number):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    for name, grey in (("a.png", 10), ("b.png", 20)):
        Image.new("L", (8, 8), grey).save(tmp_path / name)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    with monkeypatch.context() as patch:
        patch.setattr(PngImageFile, method, failing(number))
        with pytest.raises(OSError, match=rf"{os.strerror(number)}, which says nothing of its content.*a\.png"):
            decode_images(files, 8, 1, "skip")
    assert decode_images(files, 8, 1, "skip").rows.tolist() == [0, 1]


def test_a_larger_limit_lets_an_image_in_that_was_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    for name, side in (("a.png", 8), ("b.png", 800)):
        Image.new("L", (side, side), 10).save(tmp_path / name)
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    monkeypatch.setenv("SUITE_MAX_MB", "1")
    with pytest.warns(UserWarning, match=r"1 of 2 images are faulty: .*b\.png .*a larger \$SUITE_MAX_MB lets it in"):
        assert decode_images(files, 8, 1, "skip").rows.tolist() == [0]
    monkeypatch.setenv("SUITE_MAX_MB", "4")
    assert decode_images(files, 8, 1, "skip").rows.tolist() == [0, 1]


def test_images_decoded_by_another_version_are_decoded_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    Image.new("L", (8, 8), 10).save(tmp_path / "a.png")
    decode_images([tmp_path / "a.png"], 8, 1)
    monkeypatch.setattr(collections, "VERSION", collections.VERSION + 1)
    monkeypatch.setattr(collections, "decode", lambda *_: (np.full((1, 8, 8), 99, np.uint8), set()))
    assert decode_images([tmp_path / "a.png"], 8, 1).x.unique().tolist() == [99]


@pytest.mark.parametrize("name", ["pixels", "report.json"])
def test_decoded_images_that_were_damaged_are_decoded_again(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    Image.new("L", (8, 8), 10).save(tmp_path / "a.png")
    decode_images([tmp_path / "a.png"], 8, 1)
    (file,) = (tmp_path / "cache").rglob(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=f"{name} is damaged .*, and is made again"):
        decoded = decode_images([tmp_path / "a.png"], 8, 1)
    assert decoded.x.unique().tolist() == [10]
    assert decoded.rows.tolist() == [0]
