"""Mutations of files: bits, blocks, numbers and words; archives and pictures stay whole around them."""

from __future__ import annotations

import gzip
import io
import random
import re
import zipfile
import zlib
from collections.abc import Callable


# Mutations: each takes the bytes of a file, those of all files, and a source of chance.
def _flipped(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    result = bytearray(content)
    for _i in range(chance.choice((1, 1, 2, 4, 16)) if result else 0):
        result[chance.randrange(len(result))] ^= 1 << chance.randrange(8)
    return bytes(result)


def _inserted(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    new = chance.choice((chance.randbytes(chance.randint(1, 16)), b"\0", b'"', b"\n", b"\r", b",", b"\xff\xfe", b"{["))
    return content[:place] + new + content[place:]


def _deleted(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    place = chance.randrange(len(content) + 1)
    return content[:place] + content[place + chance.choice((1, 2, 4, 16, 64)) :]


def _truncated(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    return content[: chance.choice((chance.randrange(len(content) + 1), len(content) - chance.randint(1, 8), 0))]


def _duplicated(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    start = chance.randrange(len(content) + 1)
    end = min(len(content), start + chance.choice((4, 64, 1024)))
    return content[:end] + content[start:end] * chance.choice((1, 2, 50)) + content[end:]


def _spliced(content: bytes, files: dict[str, bytes], chance: random.Random) -> bytes:
    other = files[chance.choice(sorted(files))]
    start, length = chance.randrange(len(other) + 1), chance.choice((8, 64, 512))
    piece = chance.choice((other[:length], other[start : start + length]))
    place = chance.choice((0, chance.randrange(len(content) + 1)))
    return content[:place] + piece + content[place + chance.choice((0, len(piece))) :]


def _numbered(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    """Another number in the header or in the trailer."""
    size = chance.choice((1, 2, 4, 8))
    number = chance.choice((0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 2 ** (8 * size - 1) - 1, 255, 65535, 2**20))
    new = (number % 2 ** (8 * size)).to_bytes(size, chance.choice(("little", "big")))
    place = chance.randrange(min(64, len(content)) + 1)
    place = chance.choice((place, max(0, len(content) - size - place)))
    return content[:place] + new + content[place + size :]


def _random(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    kept = chance.choice((0, 4, 16, 64))
    return content[:kept] + chance.randbytes(chance.choice((0, 1, 100, 2000)))


def _encoded(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    text = content.decode("latin-1")
    end = chance.choice(("\n", "\r\n", "\r", "\n\n"))
    encoding = chance.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig", "cp500", "utf-8"))
    return f"{chance.choice(('', 'ü', chr(0x2028)))}{text}".replace("\n", end).encode(encoding, "replace")


WORDS = (
    "1e309", "-1", "nan", "inf", "1_000", "٣", "9" * 5000, "0x10", "1,5", "1.234.567", "true", "null", '"', "[" * 5000,
    "{}", "&a *a", "!!python/name:os.system x", "2020-01-01", "9999-99-99", "\u202e", "a/../../b", "\\ud83d", "\0",
)  # fmt: skip


def _reworded(content: bytes, _: dict[str, bytes], chance: random.Random) -> bytes:
    """Another word in place of one."""
    words = list(re.finditer(rb"[\w.+-]+", content))
    if not words:
        return content
    word = chance.choice(words)
    return content[: word.start()] + chance.choice(WORDS).encode() + content[word.end() :]


MUTATIONS: tuple[Callable[[bytes, dict[str, bytes], random.Random], bytes], ...] = (
    _flipped, _inserted, _deleted, _truncated, _duplicated, _spliced, _numbered, _random, _encoded, _reworded,
)  # fmt: skip


def mutated(name: str, files: dict[str, bytes], chance: random.Random) -> bytes:
    """A file with one to three mutations; of a compressed one, perhaps of what is in it, with checksums that fit.

    Args:
        name: of the file.
        files: bytes of all files by name.
        chance: source of chance.
    """

    def mutate(content: bytes) -> bytes:
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            content = chance.choice(MUTATIONS)(content, files, chance)
        return content

    content = files[name]
    if name.endswith(".gz") and chance.random() < 0.6:
        return gzip.compress(mutate(gzip.decompress(content)), mtime=0)
    if name.endswith(".xlsx") and chance.random() < 0.7:
        return _zip_with(content, mutate, chance)
    if name.endswith(".png") and chance.random() < 0.6:
        return _png_with(content, mutate, chance)
    return mutate(content)


def _zip_with(content: bytes, mutate: Callable[[bytes], bytes], chance: random.Random) -> bytes:
    """A ZIP archive with a mutated member, rather one that holds cells."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as target:
        names = source.namelist()
        cells = [name for name in names if "sheet1" in name or "sharedStrings" in name or "workbook.xml" in name]
        chosen, drop = chance.choice(chance.choice((names, cells))), chance.random() < 0.1
        for name in names:
            member = source.read(name)
            if name != chosen or not drop:
                target.writestr(zipfile.ZipInfo(name), mutate(member) if name == chosen else member)
    return sink.getvalue()


def _png_with(content: bytes, mutate: Callable[[bytes], bytes], chance: random.Random) -> bytes:
    """A PNG with a mutated chunk, whose checksum fits."""
    chunks, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    chosen = chance.randrange(len(chunks))
    result = [content[:8]]
    for number, (kind, data) in enumerate(chunks):
        data = mutate(data) if number == chosen else data
        result += [len(data).to_bytes(4, "big"), kind, data, zlib.crc32(kind + data).to_bytes(4, "big")]
    return b"".join(result)
