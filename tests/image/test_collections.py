import numpy as np
import pytest
import torch
from PIL import Image

from modalities.image.collections import decode_images


def test_images_are_cropped_to_their_centre_and_decoded_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255  # the central square is white
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    first = decode_images([tmp_path / "wide.png"], 4, 1)
    assert first.shape == (1, 1, 4, 4)
    assert first.float().mean() > 240
    monkeypatch.setattr(Image, "open", lambda path: pytest.fail("decoded twice"))
    assert torch.equal(decode_images([tmp_path / "wide.png"], 4, 1), first)
