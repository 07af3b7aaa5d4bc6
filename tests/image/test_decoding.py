import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from modalities.image.decoding import decode

LARGE = "more than 89,478,485 pixels: make it smaller; a larger $SUITE_MAX_MB lets it in"
CORNERS = [[10, 60, 110], [160, 210, 250]]  # red of six squares; green is 90, blue 30


def squares():
    pixels = np.stack([np.array(CORNERS), np.full((2, 3), 90), np.full((2, 3), 30)], -1).astype(np.uint8)
    return Image.fromarray(pixels.repeat(16, 0).repeat(16, 1))


def one_colour(path, mode, colour, **options):
    Image.new(mode, (16, 16), colour).save(path, **options)
    return path


def colour_of(path, channels=3):
    """The colour of an image that has one, and the remarks."""
    pixels, remarks = decode(path, 4, 4, channels)
    assert (pixels == pixels[:, :1, :1]).all()
    return pixels[:, 0, 0].tolist(), remarks


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_images_are_upright_whatever_their_exif_orientation(tmp_path, suffix):
    a, b = np.array(CORNERS), np.array(CORNERS).T
    # EXIF 2.32, tag 274: 1 is upright, and 2 to 8 are shown mirrored, turned or both.
    expected = [a, a[:, ::-1], a[::-1, ::-1], a[::-1], b, b[:, ::-1], b[::-1, ::-1], b[::-1]]
    options = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    for orientation, shown in enumerate(expected, start=1):
        exif, path = Image.Exif(), tmp_path / f"{orientation}.{suffix}"
        exif[274] = orientation
        squares().save(path, exif=exif.tobytes(), **options)
        height, width = (16 * side for side in shown.shape)
        pixels, _ = decode(path, height, width, 3)
        assert np.abs(pixels[0, 8::16, 8::16].astype(int) - shown).max() <= 2, orientation


def test_exif_that_cannot_be_read_changes_nothing(tmp_path):
    one_colour(tmp_path / "a.png", "RGB", (10, 20, 30), exif=b"Exif\0\0garbage")
    assert colour_of(tmp_path / "a.png") == ([10, 20, 30], set())


@pytest.mark.parametrize(
    ("mode", "colour", "options", "shown"),
    [
        ("RGBA", (200, 0, 0, 0), {}, [255, 255, 255]),
        ("RGBA", (200, 0, 0, 51), {}, [244, 204, 204]),  # a fifth of the colour and four of white
        ("LA", (0, 51), {}, [204, 204, 204]),
        ("L", 7, {"transparency": 7}, [255, 255, 255]),
        ("RGB", (1, 2, 3), {"transparency": (1, 2, 3)}, [255, 255, 255]),
        ("1", 0, {"transparency": 0}, [255, 255, 255]),
        ("P", 0, {"transparency": 0}, [255, 255, 255]),
        ("P", 0, {"transparency": bytes([51])}, [204, 204, 204]),
        ("I;16", 900, {"transparency": 900}, [255, 255, 255]),
    ],
)
def test_transparent_pixels_are_shown_on_white(tmp_path, mode, colour, options, shown):
    found, remarks = colour_of(one_colour(tmp_path / "a.png", mode, colour, **options))
    assert found == shown
    assert "transparent" in remarks


def test_an_opaque_image_with_an_alpha_channel_is_not_called_transparent(tmp_path):
    assert colour_of(one_colour(tmp_path / "a.png", "RGBA", (1, 2, 3, 255))) == ([1, 2, 3], set())


def test_palettes_and_bits_are_shown_as_their_colours(tmp_path):
    image = Image.new("P", (16, 16), 1)
    image.putpalette([255, 0, 0, 0, 130, 5])
    image.save(tmp_path / "a.gif")
    assert colour_of(tmp_path / "a.gif")[0] == [0, 130, 5]
    assert colour_of(one_colour(tmp_path / "b.png", "1", 1), channels=1)[0] == [255]


def test_print_and_laboratory_colours_are_those_of_a_viewer(tmp_path):
    cyan = (255, 0, 0, 0)
    for name in ("c.jpg", "c.tiff"):  # the JPEG holds inverted values, as Adobe writes them
        assert colour_of(one_colour(tmp_path / name, "CMYK", cyan))[0] == [0, 255, 255]
    assert colour_of(one_colour(tmp_path / "k.jpg", "CMYK", (0, 0, 0, 155)))[0] == [100, 100, 100]
    red = (76, 85, 255)  # ITU-R BT.601
    assert colour_of(one_colour(tmp_path / "y.tiff", "YCbCr", red, compression="tiff_lzw"))[0] == [254, 0, 0]
    grey = (137, 128, 128)  # L* = 53.7 of 100 is grey 128 of sRGB
    assert colour_of(one_colour(tmp_path / "l.tiff", "LAB", grey))[0] == [128, 128, 128]


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
def test_16_bit_grey_keeps_its_shades(tmp_path, name):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / name)
    pixels, remarks = decode(tmp_path / name, 16, 16, 1)
    assert np.array_equal(pixels[0].ravel(), np.arange(256))
    assert remarks == set()


def tiff(path, values, bits, photometric=1, order="<"):
    """A TIFF of one strip of grey values, [height, width], of 12 or 16 bits."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        data = b"".join((int(a) << 12 | int(b)).to_bytes(3, "big") for a, b in pairs)
    else:
        data = values.astype(f"{order}u2").tobytes()
    entries = [
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
    ]
    entries.append((279, len(data)))
    table = struct.pack(f"{order}H", len(entries))
    for tag, value in entries:
        table += struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)
    mark = b"II" if order == "<" else b"MM"
    path.write_bytes(mark + struct.pack(f"{order}HI", 42, 8 + len(data)) + data + table + bytes(4))
    return path


def test_deep_grey_has_the_range_and_the_direction_that_the_file_says(tmp_path):
    full = np.full((4, 4), 4095)
    assert colour_of(tiff(tmp_path / "twelve.tif", full, 12), 1) == ([255], set())
    assert colour_of(tiff(tmp_path / "sixteen.tif", full, 16), 1) == ([16], {"dark"})
    assert colour_of(tiff(tmp_path / "big.tif", full * 16, 16, order=">"), 1) == ([255], set())
    assert colour_of(tiff(tmp_path / "white_is_zero.tif", full * 16, 16, photometric=0), 1) == ([0], set())


def test_grey_of_32_bits_is_read_where_its_range_is_known(tmp_path):
    for name in ("a.tiff", "a.pgm"):
        Image.fromarray(np.full((4, 4), 32896, np.int32)).save(tmp_path / name)
        assert colour_of(tmp_path / name, 1)[0] == [128]
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "f.tiff")
    assert colour_of(tmp_path / "f.tiff", 1)[0] == [128]
    for values, message in [
        (np.array([[-3, 70000]], np.int32), r"from -3 to 70000, not from 0 to 65535: save it with 8 bits"),
        (np.array([[0.5, 200]], np.float32), r"from 0\.5 to 200, not from 0 to 1"),
        (np.array([[0.5, np.nan]], np.float32), r"from nan to nan"),
    ]:
        Image.fromarray(values).save(tmp_path / "range.tiff")
        with pytest.raises(ValueError, match=rf"range\.tiff cannot be read as an image \(its grey values go {message}"):
            decode(tmp_path / "range.tiff", 4, 4, 1)


@pytest.mark.parametrize("suffix", ["gif", "png", "tiff", "webp", "avif"])
def test_the_first_of_several_frames_is_read_and_said(tmp_path, suffix):
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    red.save(tmp_path / f"a.{suffix}", save_all=True, append_images=[blue])
    pixels, remarks = decode(tmp_path / f"a.{suffix}", 4, 4, 3)
    assert np.abs(pixels[:, 0, 0].astype(int) - [255, 0, 0]).max() <= 1
    assert remarks == {"frames"}


EXACT, OTHERS = ["png", "bmp", "tiff", "ppm", "tga", "pcx", "qoi"], ["jpg", "gif", "webp", "jp2", "avif"]


@pytest.mark.parametrize("suffix", EXACT + OTHERS)
def test_an_incomplete_file_is_refused_and_a_complete_one_read(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path = tmp_path / f"noise.{suffix}"
    Image.fromarray(noise).save(path)
    pixels, _ = decode(path, 32, 32, 3)
    if suffix in EXACT:
        assert np.array_equal(pixels.transpose(1, 2, 0), noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(ValueError, match=rf"noise\.{suffix} cannot be read as an image \(.+\)"):
        decode(path, 32, 32, 3)


def png_header(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n<!DOCTYPE html><html>", "it holds HTML or XML, such as the error page of a download"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it stands for a file that git lfs pull fetches"),
        (b"some text", "its bytes are of no known format"),
        (b"P5 0 0 255\n", "its bytes are of no known format"),
        (png_header(10_000, 10_000), LARGE),  # Pillow warns
        (png_header(30_000, 30_000), LARGE),  # Pillow raises
    ],
)
def test_what_is_no_image_is_refused_in_a_line_that_says_what_it_is(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    message = f"{tmp_path / 'a.jpg'} cannot be read as an image ({reason})"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        decode(tmp_path / "a.jpg", 4, 4, 3)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.png does not exist"):
        decode(tmp_path / "a.png", 4, 4, 3)
    with pytest.raises(FileNotFoundError, match="is a folder: name a file"):
        decode(tmp_path, 4, 4, 3)


def test_the_centre_of_the_wanted_proportions_is_cropped(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    square, remarks = decode(tmp_path / "wide.png", 10, 10, 1)
    assert (square == 255).all()
    assert remarks == set()
    wide, _ = decode(tmp_path / "wide.png", 10, 20, 1)  # five columns of black at each side
    assert wide[0].mean(0).tolist() == [0] * 5 + [255] * 10 + [0] * 5
    assert decode(tmp_path / "wide.png", 12, 12, 1)[1] == {"enlarged"}


def test_signed_values_of_8_bits_are_refused(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.tif", tiffinfo={339: 2})
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image \(it has signed values of 8 bits"):
        decode(tmp_path / "a.tif", 8, 8, 1)
