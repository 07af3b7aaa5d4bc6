import io
import struct
import zlib

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from common.dashboard.encoding import encoded_picture, encoded_sound
from common.evaluation.media import Sound
from tests.common.dashboard.conftest import data_of


def test_a_sharp_picture_keeps_every_pixel_in_less_space(tmp_path):
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 2, (40, 40)).repeat(10, 0).repeat(10, 1).astype(np.uint8) * 255
    Image.fromarray(pixels).convert("RGB").save(path)
    encoded = encoded_picture(path, sharp=True)
    again = Image.open(io.BytesIO(data_of(encoded.uri))).convert("L")
    assert (encoded.width, encoded.height) == (400, 400)
    assert (np.asarray(again) == pixels).all()
    assert len(data_of(encoded.uri)) < path.stat().st_size


def test_pictures_are_bounded(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((3000, 1500), 80).save(path)
    assert (encoded_picture(path, sharp=True).width, encoded_picture(path, sharp=False).width) == (1600, 640)
    assert len(encoded_picture(path, sharp=False).uri) < 400_000


def test_a_picture_that_claims_more_pixels_than_any_page_needs_is_refused(tmp_path):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 10_000, 5_000, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="10000 x 5000 pixels are too many"):
        encoded_picture(path, sharp=True)


@pytest.mark.parametrize(("rate", "kind"), [(16_000, "audio/mpeg"), (22_050, "audio/mpeg"), (20_000, "audio/ogg")])
def test_sounds_are_as_long_and_as_loud_as_they_were(tmp_path, rate, kind):
    path = tmp_path / "a.wav"
    wave = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(2 * rate) / rate)
    Sound(wave, rate).save(path)
    uri = encoded_sound(path).uri
    assert uri.startswith(f"data:{kind};base64,")
    assert len(data_of(uri)) < path.stat().st_size / 4
    samples, own = soundfile.read(io.BytesIO(data_of(uri)))
    assert own == rate
    assert len(samples) / rate == pytest.approx(2.0, abs=0.1)
    assert np.sqrt(np.mean(samples[rate // 2 : rate] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_long_sounds_are_cut_and_say_so_and_empty_ones_are_refused(tmp_path):
    path = tmp_path / "a.wav"
    Sound(torch.zeros(40 * 8000), 8000).save(path)
    encoded = encoded_sound(path)
    assert encoded.note == "the first 30 s"
    assert len(soundfile.read(io.BytesIO(data_of(encoded.uri)))[0]) / 8000 == pytest.approx(30, abs=0.2)
    Sound(torch.zeros(0), 8000).save(path)
    with pytest.raises(RuntimeError, match="has no samples"):
        encoded_sound(path)
