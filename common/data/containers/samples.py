"""The samples of a shard: members of a tar file that follow one another and have one key, as `1.jpg` and `1.json`."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from common.data.folders import is_left_behind
from common.table_files.limits import LINE, most_bytes, too_large

LONGEST = 200  # bytes of a name that any file system takes, with a suffix
REMEDY = "pack the shard anew"


@dataclass(frozen=True)
class Sample:
    """The members of one key. They can be read until the next sample is asked for.

    Attributes:
        shard: the tar file.
        key: folder and base name of its members, up to the first point.
        members: by suffix, in small letters; empty for a name without a point.
        tar: the open file.
    """

    shard: Path
    key: str
    members: dict[str, tarfile.TarInfo]
    tar: tarfile.TarFile

    def place(self, suffix: str = "") -> str:
        """Shard and member, for messages."""
        return f"{self.shard}: {self.members[suffix].name if suffix else self.key}"

    @contextmanager
    def opened(self, suffix: str) -> Iterator[IO[bytes]]:
        """The bytes of a member.

        Raises:
            ValueError: if the shard is incomplete.
        """
        stream = self.tar.extractfile(self.members[suffix])
        assert stream is not None  # it is a file
        with _readable(self.shard, self.members[suffix].name), stream:
            yield stream

    def text(self, suffix: str) -> str:
        """The text of a member, without spaces around it.

        Raises:
            ValueError: if it is no UTF-8, or too large to be one cell of a table.
        """
        if self.members[suffix].size > (limit := most_bytes() // LINE):
            raise too_large(self.shard / self.members[suffix].name, "has", limit)
        with self.opened(suffix) as stream:
            content = stream.read()
        try:
            return content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.place(suffix)} is not UTF-8 ({error.reason}): convert it") from error


def samples(shard: Path) -> Iterator[Sample]:
    """The samples of a shard, in their order; only the headers of one are in memory at once.

    Members without a base name, and what systems leave behind, are no samples.

    Raises:
        ValueError: if the shard is damaged, incomplete or compressed, or a member is no file, has a name that leads out
            of a folder, or is there twice; the message names both.
    """
    with _readable(shard), tarfile.open(shard, "r:") as tar:
        for key, members in groupby(_members(tar, shard), key=lambda info: _parted(info.name)[0]):
            found: dict[str, tarfile.TarInfo] = {}
            for info in members:
                if found.setdefault(_parted(info.name)[1], info) is not info:
                    raise ValueError(f"{shard}: {info.name} is there twice: {REMEDY}")
            yield Sample(shard, key, found, tar)
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"{shard} is damaged or incomplete from byte {tar.offset:,}: copy it again")


@contextmanager
def _readable(shard: Path, member: str = "") -> Iterator[None]:
    """The errors of damaged archives, naming the shard and the member."""
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        where = f"{shard}: {member}" if member else str(shard)
        raise ValueError(f"{where} cannot be read ({error}): it is no {shard.suffix}, or incomplete") from error


def _members(tar: tarfile.TarFile, shard: Path) -> Iterator[tarfile.TarInfo]:
    """The files of an archive."""
    while (info := tar.next()) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # which would keep all headers
        if info.isdir():
            continue
        if not info.isreg() or info.issparse():
            kind = "a link" if info.issym() or info.islnk() else "no ordinary file"
            raise ValueError(f"{shard}: {info.name} is {kind}: pack the file itself")
        path, windows = PurePosixPath(info.name), PureWindowsPath(info.name)
        if path.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            raise ValueError(f"{shard}: {info.name} leads out of its folder: {REMEDY}, with names that do not")
        if not info.name.isprintable() or any(len(part.encode()) > LONGEST for part in path.parts):
            raise ValueError(f"{shard}: {info.name!a} is no name that a file can have everywhere: {REMEDY}")
        if not any(map(is_left_behind, path.parts)):
            yield info


def _parted(name: str) -> tuple[str, str]:
    """Key and suffix of a member: the suffix begins at the first point of the base name."""
    path = PurePosixPath(name)
    stem, point, suffix = path.name.partition(".")
    return str(path.with_name(stem)), f"{point}{suffix}".lower()
