"""A small valid file of every format that is read."""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import zipfile
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from PIL import Image


def valid_files() -> dict[str, bytes]:
    """A small valid file of every format that is read, by name; the same whenever it is made."""
    return {**valid_images(), **valid_sounds(), **_texts(), **_tables(), **_settings()}


def _timeless_sound(content: bytes) -> bytes:
    """A sound file without the time that WAV stores, and the serial number that OGG draws."""
    if (place := content.find(b"PEAK")) > 0:
        return content[: place + 12] + bytes(4) + content[place + 16 :]
    pages = bytearray(content)
    place = 0
    while pages[place : place + 4] == b"OggS":
        end = place + 27 + pages[place + 26] + sum(pages[place + 27 : place + 27 + pages[place + 26]])
        pages[place + 14 : place + 18] = pages[place + 22 : place + 26] = bytes(4)
        checksum = 0
        for byte in pages[place:end]:
            checksum ^= byte << 24
            for _ in range(8):
                checksum = (checksum << 1 ^ 0x04C11DB7 * (checksum >> 31)) & 0xFFFFFFFF
        pages[place + 22 : place + 26] = checksum.to_bytes(4, "little")
        place = end
    return bytes(pages)


def _timeless_workbook(content: bytes) -> bytes:
    """A workbook without the times of its making."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            member = re.sub(rb"\d{4}-\d\d-\d\dT[\d:]{8}", b"2026-01-01T00:00:00", source.read(name))
            target.writestr(zipfile.ZipInfo(name), member)
    return sink.getvalue()


def valid_images() -> dict[str, bytes]:
    noise = np.random.default_rng(0)
    colours, deep = noise.integers(0, 255, (12, 16, 3), np.uint8), noise.integers(0, 65535, (12, 16), np.uint16)
    frames = [Image.fromarray(noise.integers(0, 255, (12, 16), np.uint8)) for _ in range(2)]
    clear = Image.fromarray(noise.integers(0, 255, (12, 16, 4), np.uint8), "RGBA")
    found: dict[str, bytes] = {}

    def saved(name: str, image: Image.Image, kind: str, **options: Any) -> None:
        sink = io.BytesIO()
        image.save(sink, kind, **options)
        found[name] = sink.getvalue()

    image, grey = Image.fromarray(colours), Image.fromarray(deep)
    saved("rgb.png", image, "PNG")
    saved("clear.png", clear, "PNG")
    saved("deep.png", grey, "PNG")
    saved("palette.png", image.quantize(8), "PNG", transparency=0)
    for name, kind in (
        ("rgb.jpg", "JPEG"),
        ("rgb.bmp", "BMP"),
        ("rgb.webp", "WEBP"),
        ("rgb.ppm", "PPM"),
        ("rgb.tga", "TGA"),
        ("rgb.pcx", "PCX"),
    ):
        saved(name, image, kind)
    exif = Image.Exif()
    exif[274] = 6
    saved("exif.jpg", image, "JPEG", exif=exif, progressive=True)
    saved("frames.gif", frames[0], "GIF", save_all=True, append_images=frames[1:])
    saved("rgb.tif", image, "TIFF", compression="tiff_lzw")
    saved("deep.tif", grey, "TIFF")
    saved("pages.tiff", frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="tiff_deflate")
    for name, kind in (("rgb.jp2", "JPEG2000"), ("rgb.avif", "AVIF"), ("rgb.qoi", "QOI")):
        with contextlib.suppress(KeyError, OSError):  # not in every build of Pillow
            saved(name, image, kind)
    return found


def valid_sounds() -> dict[str, bytes]:
    wave = np.random.default_rng(0).normal(0, 0.1, (12_000, 2)).astype(np.float32)
    kinds = {
        "sound.wav": ("WAV", "PCM_16"), "float.wav": ("WAV", "FLOAT"), "long.wav": ("RF64", "PCM_24"),
        "sound.flac": ("FLAC", "PCM_16"), "sound.ogg": ("OGG", "VORBIS"), "sound.opus": ("OGG", "OPUS"),
        "sound.mp3": ("MP3", "MPEG_LAYER_III"), "sound.aiff": ("AIFF", "PCM_16"), "sound.au": ("AU", "ULAW"),
        "sound.caf": ("CAF", "PCM_16"), "sound.w64": ("W64", "PCM_16"),
    }  # fmt: skip
    found = {}
    for name, (kind, subtype) in kinds.items():
        sink = io.BytesIO()
        soundfile.write(sink, wave, 8000, format=kind, subtype=subtype)
        found[name] = _timeless_sound(sink.getvalue())
    return found


SENTENCES = [" ".join(words) for words in product(("old", "new", "red"), ("cat", "dog"), ("sat", "ran", "is", "ate"))]


def _texts() -> dict[str, bytes]:
    table = pd.DataFrame({"text": SENTENCES, "style": ["a", "b", "c"] * 8, "age": range(24)})
    lines = "\n".join(SENTENCES) + "\n"
    found = {"lines.txt": lines.encode(), "lines.txt.gz": gzip.compress(lines.encode(), mtime=0)}
    return found | {f"text{suffix}": content for suffix, content in _written(table).items()}


def _tables() -> dict[str, bytes]:
    noise = np.random.default_rng(0)
    table = pd.DataFrame({
        "height": noise.normal(170, 10, 24).round(1), "count": noise.poisson(30, 24), "sex": ["m", "f"] * 12,
        "grade": noise.integers(1, 5, 24), "city": ["Rom", "Ulm", "Bern"] * 8, "paid": noise.lognormal(2, 2, 24),
    })  # fmt: skip
    table.loc[[3, 9], "height"] = np.nan
    table.loc[[5], "city"] = None
    found = {f"table{suffix}": content for suffix, content in _written(table).items()}
    return found | {"german.csv": table.to_csv(index=False, sep=";", decimal=",").encode()}


def _written(table: pd.DataFrame) -> dict[str, bytes]:
    text, parquet = table.to_csv(index=False).encode(), io.BytesIO()
    json_lines = table.to_json(orient="records", lines=True).encode()
    table.to_parquet(parquet)
    found = {
        ".csv": text, ".csv.gz": gzip.compress(text, mtime=0), ".tsv": table.to_csv(index=False, sep="\t").encode(),
        ".jsonl": json_lines, ".jsonl.gz": gzip.compress(json_lines, mtime=0), ".parquet": parquet.getvalue(),
    }  # fmt: skip
    with contextlib.suppress(ImportError):  # openpyxl is an extra
        sink = io.BytesIO()
        table.to_excel(sink, index=False)
        found[".xlsx"] = _timeless_workbook(sink.getvalue())
    return found


def _settings() -> dict[str, bytes]:
    names = [f"{kind}/{number}" for kind in "ab" for number in range(8)]
    images = "file,kind,age\n" + "".join(f"{name}.png,{name[0]},{name[2:]}.5\n" for name in names)
    sounds = images.replace(".png", ".wav")
    schema = (
        "height: continuous\ncount: {kind: count, family: poisson}\nsex: binary\npaid: {kind: positive, lower: 0.0}\n"
        "grade:\n  kind: ordinal\n  values: [1, 2, 3, 4]\n"
    )
    configuration = (
        "data:\n  class_path: modalities.tabular.data.TableFile\n  init_args:\n    root: companion.csv\n    rate: 0.3\n"
        "    shares: [0.1, 0.2]\n    drop: [city]\nsubset:\n  examples: 5\n"
    )
    return {
        "images.csv": images.encode(), "sounds.csv": sounds.encode(), "schema.yaml": schema.encode(),
        "data.yaml": configuration.encode(),
    }  # fmt: skip
