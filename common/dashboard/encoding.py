"""Pictures and sounds as the data of a page: encoded again, small, and nothing but what they show."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 40_000_000  # of a picture that is opened at all
SHARP, SMALL = 1600, 640  # longest side in pixels, of pictures that keep every pixel's value and of others
QUALITY = 70  # of the latter, in WebP
TINY = 128 * 128  # pixels of a picture that may be smaller as a PNG
SECONDS = 30  # of a sound


@dataclass(frozen=True)
class Encoded:
    """Data of a page.

    Attributes:
        uri: the data, as a browser reads them.
        width: of a picture, in pixels.
        height: of a picture, in pixels.
        note: what was left out, or empty.
    """

    uri: str
    width: int = 0
    height: int = 0
    note: str = ""


def encoded_picture(path: Path, sharp: bool) -> Encoded:
    """A picture as WebP, or as PNG where that is smaller.

    Args:
        path: the file.
        sharp: without loss, up to `SHARP` pixels; otherwise with loss, up to `SMALL`.

    Raises:
        ValueError: if it has too many pixels.
        OSError: if it is no whole picture.
    """
    from PIL import Image

    with Image.open(path) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise ValueError(f"{opened.width} x {opened.height} pixels are too many for a page")
        picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    limit = SHARP if sharp else SMALL
    if max(picture.size) > limit:
        picture.thumbnail((limit, limit), Image.Resampling.LANCZOS)
    kinds = [("webp", _saved(picture, "WEBP", lossless=True, quality=50, method=1))]
    if not sharp:
        kinds.append(("webp", _saved(picture, "WEBP", quality=QUALITY)))
    elif picture.width * picture.height < TINY:
        kinds.append(("png", _saved(picture, "PNG", optimize=True)))
    kind, data = min(kinds, key=lambda encoding: len(encoding[1]))
    return Encoded(_uri(f"image/{kind}", data), picture.width, picture.height)


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def encoded_sound(path: Path) -> Encoded:
    """The first `SECONDS` of a sound as MP3; as Ogg Vorbis at sample rates that MP3 does not have.

    Raises:
        RuntimeError: if it is no sound that libsndfile reads, or it is empty.
    """
    import soundfile

    with soundfile.SoundFile(path) as file:
        samples = file.read(int(SECONDS * file.samplerate), dtype="float32", always_2d=True)
        rate, longer = file.samplerate, file.frames > len(samples)
    if len(samples) == 0:
        raise RuntimeError("has no samples")
    note = f"the first {SECONDS} s" if longer else ""
    formats = {"MP3": ("audio/mpeg", "MPEG_LAYER_III"), "OGG": ("audio/ogg", "VORBIS")}
    for kind, (name, subtype) in formats.items():
        buffer = io.BytesIO()
        try:
            soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
        except soundfile.SoundFileError:
            if kind == "OGG":
                raise
        else:
            return Encoded(_uri(name, buffer.getvalue()), note=note)
    raise AssertionError("unreachable")


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
