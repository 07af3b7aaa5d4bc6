"""Lengths of sound files: where the header is silent or wrong, and libsndfile would stop early without a word.

WAV without a length of its data, chained OGG, and MP3 of variable bit rate without a count of its frames are cut into
spans, each with a header that is right.
"""

import io
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Buffer

UNKNOWN = 0xFFFFFF00  # streaming writers store about the largest length in place of an unknown one,
UNKNOWN_SIGNED = range(0x7FFFF000, 0x80000000)  # or about the largest signed one
SEARCHED = 2**16  # bytes in which the first frame of an MP3 is looked for
BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # kbit/s of MPEG 1, layer III
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # of MPEG 2 and 2.5
)
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}  # Hz, by version


@dataclass(frozen=True)
class Span:
    """A part of a file that is decoded as a file of its own.

    Attributes:
        head: bytes that stand before it.
        start: first byte of the part.
        end: the byte after its last one.
    """

    head: bytes
    start: int
    end: int


class SpanFile(io.RawIOBase):
    """A span as a file to read from; `file` is the file that it is a part of."""

    def __init__(self, file: Path, span: Span) -> None:
        self.handle, self.span, self.position = file.open("rb"), span, 0
        self.size = len(span.head) + span.end - span.start

    def readinto(self, buffer: Buffer, /) -> int:
        """Fills the buffer as far as there are bytes, and returns their number."""
        view, head = memoryview(buffer).cast("B"), self.span.head
        data = head[self.position : self.position + len(view)]
        if len(data) < len(view):
            after = self.position + len(data) - len(head)
            self.handle.seek(self.span.start + after)
            data += self.handle.read(min(len(view) - len(data), self.size - len(head) - after))
        view[: len(data)] = data
        self.position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to a byte of the span."""
        self.position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence])
        return self.position

    def tell(self) -> int:
        """The next byte to read."""
        return self.position

    def close(self) -> None:
        """Closes the file."""
        self.handle.close()
        super().close()


def spans(file: Path) -> list[Span]:
    """The spans of a sound file one after the other; none where libsndfile finds the length out by itself.

    Raises:
        ValueError: if the header and the bytes that follow do not agree; the message names the file.
    """
    try:
        return _spans(file)
    except (IndexError, struct.error, OverflowError) as error:  # bytes that a header promises and that are not there
        raise ValueError(f"{file} is damaged ({error}): remove or replace it") from error


def _spans(file: Path) -> list[Span]:
    if file.stat().st_size == 0:
        raise ValueError(f"{file} is empty: remove or replace it")
    with file.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"RIFF" and content[8:12] == b"WAVE":
            return _wav(content, file)
        if content[:4] == b"OggS":
            return _ogg(content, file)
        if content[:3] == b"ID3" or (content[0] == 0xFF and len(content) > 4):
            return _mp3(content, file)
    return []


def _wav(content: mmap.mmap, file: Path) -> list[Span]:
    """The data up to the end of the file where a WAV does not say how long they are."""
    size, place = len(content), 12
    while place + 8 <= size and content[place : place + 4] != b"data":
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    if place + 8 > size:
        return []
    length = int.from_bytes(content[place + 4 : place + 8], "little")
    data, riff = place + 8, 8 + int.from_bytes(content[4:8], "little")
    rest = size - data
    if length >= UNKNOWN or length in UNKNOWN_SIGNED or length == rest:
        return []
    if length > rest:
        raise ValueError(f"{file} is truncated: {length - rest} bytes are missing. Remove or replace it")
    after = data + length + length % 2
    if after >= size or _is_chunk(content, after) or _is_chunk(content, after - length % 2):
        return []
    if length == 0:  # a recorder that was stopped had no time to write it
        return [Span(content[:4] + struct.pack("<I", size - 8) + content[8 : data - 4] + struct.pack("<I", rest),
                     data, size)]  # fmt: skip
    if riff > after + 8:
        raise ValueError(
            f"{file} declares {length:,} bytes of sound, and {size - after:,} others follow that are no chunk: its "
            "header is wrong. Write it anew, or remove it"
        )
    return []


def _is_chunk(content: mmap.mmap, place: int) -> bool:
    """Whether a chunk begins here and ends within the file."""
    name, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
    return len(name) == 4 and all(32 <= byte < 127 for byte in name) and place + 8 + length <= len(content)


def _ogg(content: mmap.mmap, file: Path) -> list[Span]:
    """The links of a chain of OGG streams, each of which begins with pages that are marked as first ones."""
    links: list[int] = []
    place, first = 0, False
    while content[place : place + 4] == b"OggS" and place + 27 <= len(content):
        segments = content[place + 26]
        end = place + 27 + segments + sum(content[place + 27 : place + 27 + segments])
        if end > len(content):
            raise ValueError(f"{file} is truncated: its last page is not complete. Remove or replace it")
        before, first = first, bool(content[place + 5] & 2)
        if first and not before:
            links.append(place)
        place = end
    if content.find(b"OggS", place) >= 0:
        raise ValueError(f"{file} is damaged at byte {place:,}: remove or replace it")
    ends = [*links[1:], place]
    return [Span(b"", *link) for link in zip(links, ends, strict=True)] if len(links) > 1 else []


@dataclass(frozen=True)
class _Frame:
    """An MPEG frame of layer III: its header, its length in bytes and what all frames of a stream have in common."""

    header: int
    size: int
    kind: int

    @property
    def tag(self) -> int:
        """Where a Xing tag stands in it: after the header and the side information, which depend on the channels."""
        mono = self.header >> 6 & 3 == 3
        return 4 + ((17 if mono else 32) if self.header >> 19 & 3 == 3 else (9 if mono else 17))


def _frame(content: mmap.mmap, place: int) -> _Frame | None:
    """The frame that begins at a byte, if one does."""
    header = int.from_bytes(content[place : place + 4], "big")
    version, rate, bits = header >> 19 & 3, header >> 10 & 3, header >> 12 & 15
    if header >> 21 != 0x7FF or version == 1 or header >> 17 & 3 != 1 or rate == 3 or bits in (0, 15):
        return None
    first = version == 3
    size = (144_000 if first else 72_000) * BIT_RATES[not first][bits] // SAMPLE_RATES[version][rate]
    return _Frame(header, size + (header >> 9 & 1), header & 0x1E0C00)


def _tag_size(content: mmap.mmap, place: int) -> int:
    """Length of the ID3 tag that begins at a byte; 0 if none does."""
    if content[place : place + 3] != b"ID3":
        return 0
    a, b, c, d = content[place + 6 : place + 10].ljust(4, b"\0")
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def _next_frame(content: mmap.mmap, place: int, kind: int | None = None) -> tuple[int, _Frame] | None:
    """The first frame from a byte on that another one follows, or the end of the file."""
    for start in range(place, min(place + SEARCHED, len(content) - 4)):
        if content[start] != 0xFF or (frame := _frame(content, start)) is None or kind not in (None, frame.kind):
            continue
        after = _frame(content, start + frame.size)
        if start + frame.size == len(content) or (after is not None and after.kind == frame.kind):
            return start, frame
    return None


def _mp3(content: mmap.mmap, file: Path) -> list[Span]:
    """An MP3 with its number of frames in front, where it does not say that itself or says less than there are.

    libsndfile believes the Xing tag of the first frame, and without one takes the bit rate of the first frames for that
    of all.
    """
    place = 0
    while size := _tag_size(content, place):
        place += size
    found = _next_frame(content, place)
    if found is None or content[place : place + 4] in (b"fLaC", b"RIFF", b"OggS"):
        return []
    start, first = found
    tag = start + first.tag
    count, sizes = 0, set()
    place, frame = start, first
    while True:
        count += 1
        sizes.add(frame.header >> 12 & 15)
        place += frame.size
        following = _frame(content, place)
        if following is None or following.kind != first.kind:
            while size := _tag_size(content, place):  # of the next file, where files were put together
                place += size
            if following is not None or ((other := _next_frame(content, place)) and other[1].kind != first.kind):
                raise ValueError(f"{file} changes its sample rate at byte {place:,}: split it, or write it anew")
            found = _next_frame(content, place, first.kind)
            if found is None:
                break
            place, following = found
        frame = following
        if place + frame.size > len(content):
            break
    declared = None
    if content[tag : tag + 4] in (b"Xing", b"Info") and content[tag + 7] & 1:
        declared = int.from_bytes(content[tag + 8 : tag + 12], "big")
        start, count = start + first.size, count - 1
    elif content[start + 36 : start + 40] == b"VBRI":  # another tag, which libsndfile does not read
        start, count = start + first.size, count - 1
    elif len(sizes) == 1:
        return []
    return [] if declared is not None and declared + 1 >= count else [Span(_count(first, count), start, len(content))]


def _count(like: _Frame, count: int) -> bytes:
    """A silent frame with a Xing tag that says how many frames follow."""
    header = like.header & ~0xF200 | 0x10000 | 4 << 12  # a bit rate that gives it room, no padding, no checksum
    version, rate = header >> 19 & 3, header >> 10 & 3
    first = version == 3
    size = (144_000 if first else 72_000) * BIT_RATES[not first][4] // SAMPLE_RATES[version][rate]
    tag = b"Xing" + struct.pack(">II", 1, count)
    return (header.to_bytes(4, "big") + bytes(like.tag - 4) + tag).ljust(size, b"\0")
