"""How much memory a file may take: small files that unpack to gigabytes are refused, and the message says how to go on.

The limit is $SUITE_MAX_MB, 512 MB of 2^20 bytes unless it is set; a file that is large itself may unpack to 20 times
its size, which text and sound do and bombs exceed.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from typing_extensions import Buffer

VARIABLE, USUAL = "SUITE_MAX_MB", 512.0
RATIO = 20
BLANK = 100  # bytes that a blank line counts as: it costs time rather than memory
LINE = 8  # a line, and the XML of a workbook, may take an eighth: they are copied, or become objects


def most_bytes(file: Path | None = None) -> int:
    """Bytes that what is read of a file may take in memory.

    Raises:
        ValueError: if $SUITE_MAX_MB is no number above zero.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        limit = float(text or USUAL) * 2**20
    except ValueError:
        limit = 0
    if not 0 < limit < 2**62:
        raise ValueError(f"${VARIABLE} is {text!r}: it is a number of megabytes above zero")
    return max(int(limit), RATIO * file.stat().st_size if file is not None and file.exists() else 0)


def too_large(file: Path, what: str, limit: float) -> ValueError:
    """The refusal of a file.

    Args:
        file: the file.
        what: what of it takes memory, in place of a verb.
        limit: what it may take, bytes.
    """
    return ValueError(
        f"{file} {what} more than {limit / 2**20:,.3g} MB: is it what you mean? A larger ${VARIABLE} lets it in"
    )


class _Unpacking(io.RawIOBase):
    """The bytes of a gzip file up to the limit.

    Raises:
        ValueError: naming the file, while it is read: if it is no complete gzip file, or unpacks to more.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.count, self.limit = file, 0, most_bytes(file)
        self.inner = gzip.open(file)  # noqa: SIM115 (it is closed with this one)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fills the buffer as far as there are bytes, and returns their number."""
        view = memoryview(buffer).cast("B")
        try:
            data = self.inner.read1(len(view))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self.file} is no complete gzip file: {error}. Replace it") from error
        self.count += len(data)
        if self.count > self.limit:
            raise too_large(self.file, "unpacks to", self.limit)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Closes the file."""
        self.inner.close()
        super().close()


def opened(file: Path) -> BinaryIO:
    """The bytes of a file, unpacked if its name ends with `.gz`; errors while it is read are those of `_Unpacking`."""
    if file.name.lower().endswith(".gz"):
        return cast(BinaryIO, io.BufferedReader(_Unpacking(file), 2**16))
    return file.open("rb")


class BlankLines:
    """Counts the blank lines of a file, of which millions cost minutes and say nothing.

    Args:
        file: the file, for the message.
    """

    def __init__(self, file: Path) -> None:
        self.file, self.left = file, most_bytes() // BLANK

    def add(self) -> None:
        """Counts one.

        Raises:
            ValueError: if they are too many.
        """
        self.left -= 1
        if self.left < 0:
            raise ValueError(
                f"{self.file} has more than {most_bytes() // BLANK:,} blank lines: delete them. A larger ${VARIABLE} "
                "lets them in"
            )
