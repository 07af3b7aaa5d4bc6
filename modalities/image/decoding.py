"""The pixels of an image file as a viewer shows them, cropped and scaled: the same for training and for scoring."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from common.data.faults import raise_passing
from common.table_files.limits import VARIABLE, most_bytes

PIXEL = 6  # bytes that a pixel counts as: $SUITE_MAX_MB 512 makes Pillow's own limit, 89 million pixels
VERSION = 3  # of what follows; decoded images of another version are no longer taken from the cache
SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".pcx", ".qoi", ".jp2", ".j2k"),
}
# What a person should know of a decoded image, by name.
REMARKS = {
    "frames": "of several frames or pages, of which the first is read",
    "transparent": "transparent in places, which are made white",
    "dark": "of 16-bit grey below a sixteenth of white, which are nearly black",
    "enlarged": "smaller than data.size, and enlarged",
    "grey": "grey, which data.channels 1 would hold as well",
}

_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def decode(file: Path, height: int, width: int, channels: int) -> tuple[np.ndarray, set[str]]:
    """The central part of an image of the wanted proportions, scaled: uint8 [channels, height, width]; and remarks.

    It is upright (EXIF), transparent pixels are white, and of several frames or pages it is the first. Grey of 16 bits
    is white at 65,535, of 12 bits at 4,095, floating-point grey at 1. Colour profiles are not applied.

    Args:
        file: the file.
        height: of the result, in pixels.
        width: of the result, in pixels.
        channels: 1 makes it grey, 3 makes it RGB.

    Returns:
        The pixels, and names of `REMARKS` that apply.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no image, incomplete, too large, or has values of an unknown range.
        OSError: for what is no fault of the file, as in `raise_passing`.
    """
    image, remarks = _opened(file)
    try:
        pixels, found = fitted(image, height, width, channels)
    except (ValueError, MemoryError) as error:
        raise_passing(error, file)
        raise ValueError(f"{file} cannot be read as an image ({error})") from error
    return pixels, remarks | found


def fitted(image: Image.Image, height: int, width: int, channels: int) -> tuple[np.ndarray, set[str]]:
    """The central part of an open image, as `decode` returns it.

    Raises:
        ValueError: if it has values of an unknown range.
    """
    image, remarks = _eight_bits(image)
    image = image.convert("L" if channels == 1 else "RGB")
    scale = min(image.width / width, image.height / height)
    across, down = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    box = (left, top, left + across, top + down)
    part = image.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3)
    pixels = np.asarray(part).reshape(height, width, channels).transpose(2, 0, 1)
    grey = channels == 3 and (pixels == pixels[:1]).all()
    return pixels, remarks | ({"enlarged"} if scale < 1 else set()) | ({"grey"} if grey else set())


def remark_notes(counts: Mapping[str, int], total: int) -> list[str]:
    """What a person should know of images with remarks, a line each; that all of some are grey, and not that some are.

    Args:
        counts: images with each of `REMARKS`, by name.
        total: images in all.
    """
    known = {name: count for name, count in counts.items() if name != "grey" or count >= total}
    return [f"{known[name]:,} of {total:,} images are {text}" for name, text in REMARKS.items() if name in known]


def _opened(file: Path) -> tuple[Image.Image, set[str]]:
    """The first frame or page, upright and completely read."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} {'is a folder: name a file' if file.is_dir() else 'does not exist'}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of broken metadata, which changes no pixel
        most = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None  # Pillow knows no option; the limit is checked below, before pixels are decoded
        try:
            with Image.open(file) as image:
                if image.width * image.height > (limit := most_bytes() // PIXEL):
                    raise ValueError(f"more than {limit:,} pixels: make it smaller; a larger ${VARIABLE} lets it in")
                several = getattr(image, "is_animated", False) and image.format != "MPO"  # a camera's own preview
                image.load()
                if 0 in image.size:
                    raise ValueError("it has no pixels")
                try:
                    ImageOps.exif_transpose(image, in_place=True)
                except (SyntaxError, ValueError, TypeError, OSError) as error:  # unreadable EXIF says nothing
                    raise_passing(error, file)
                return image, {"frames"} if several else set()
        except UnidentifiedImageError as error:
            raise ValueError(f"{file} cannot be read as an image ({_instead(file)})") from error
        except Exception as error:  # whatever a decoder raises on broken bytes
            raise_passing(error, file)
            raise ValueError(f"{file} cannot be read as an image ({str(error) or type(error).__name__})") from error
        finally:
            Image.MAX_IMAGE_PIXELS = most


def _instead(file: Path) -> str:
    """What a file is that is no image."""
    with file.open("rb") as opened:
        start = opened.read(200)
    if not start:
        return "it is empty"
    if start.lstrip()[:1] == b"<":
        return "it holds HTML or XML, such as the error page of a download"
    if start.startswith(b"version https://git-lfs"):
        return "it stands for a file that git lfs pull fetches"
    return "its bytes are of no known format"


def _eight_bits(image: Image.Image) -> tuple[Image.Image, set[str]]:
    """An image in the modes L or RGB, and remarks.

    Raises:
        ValueError: for values of an unknown range.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        shown = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert shown is not None  # only a conversion in place returns nothing
        return shown, set()
    if 2 in np.atleast_1d(getattr(image, "tag_v2", {}).get(339, 1)):
        raise ValueError("it has signed values of 8 bits: save it with values from 0 to 255")
    if image.has_transparency_data:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        layers = image.convert(straight).convert("RGBA")
        clear = (np.asarray(layers.getchannel("A")) < 255).any()
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB"), {"transparent"} if clear else set()
    return image.convert("L" if image.mode in ("1", "L") else "RGB"), set()


def _from_deep_grey(image: Image.Image) -> tuple[Image.Image, set[str]]:
    """Grey of more than 8 bits as L."""
    tags, values = getattr(image, "tag_v2", {}), np.asarray(image).astype(np.float64)
    low, high = values.min(), values.max()
    white = 1.0 if image.mode == "F" else 4095.0 if tags.get(_BITS) == (12,) else 65535.0
    if not (low >= 0 and high <= white):  # NaN as well
        raise ValueError(f"its grey values go from {low:g} to {high:g}, not from 0 to {white:g}: save it with 8 bits")
    remarks = {"dark"} if image.mode != "F" and high < white / 16 else set()
    if tags.get(_PHOTOMETRIC) == 0:  # Pillow inverts these with 8 bits alone
        values = white - values
    if (clear := image.info.get("transparency")) is not None:
        values[values == clear] = white
        remarks.add("transparent")
    return Image.fromarray((values * (255 / white)).round().astype(np.uint8)), remarks
