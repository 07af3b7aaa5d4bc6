"""Many texts, and paths, in one block of memory: an object for each would take ten times as much."""

from __future__ import annotations

import operator
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

ESCAPED = "surrogateescape"  # bytes of file names that are no UTF-8


class Texts(Sequence[str]):
    """Texts that all begin alike.

    Args:
        rests: what follows the beginning in each.
        start: the beginning.
    """

    def __init__(self, rests: Iterable[str] = (), start: str = "") -> None:
        self.start, self._ends = start, array("q", [0])
        block = bytearray()
        for rest in rests:
            block += rest.encode(errors=ESCAPED)
            self._ends.append(len(block))
        self._block = bytes(block)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Texts: ...

    def __getitem__(self, index: int | slice) -> str | Texts:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        return self.start + self._rest(index)

    def _rest(self, index: int) -> str:
        place = range(len(self))[index]
        return self._block[self._ends[place] : self._ends[place + 1]].decode(errors=ESCAPED)

    def rests(self) -> Iterator[str]:
        """What follows the beginning in each, one after another."""
        return map(self._rest, range(len(self)))

    def take(self, rows: Sequence[int]) -> Texts:
        """Some of the texts, each as often as it is named."""
        if len(rows) == len(self) and all(map(operator.eq, rows, range(len(self)))):
            return self
        return Texts(map(self._rest, rows), self.start)


class Files(Sequence[Path]):
    """Paths, which are made when they are asked for.

    Attributes:
        texts: the paths as texts.
    """

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    @classmethod
    def below(cls, folder: Path, names: Iterable[str]) -> Files:
        """The paths of names below a folder."""
        return cls(Texts(names, os.path.join("" if folder == Path() else folder, "")))

    @classmethod
    def of(cls, files: Sequence[Path]) -> Files:
        """Any paths in this form."""
        return files if isinstance(files, Files) else cls(Texts(map(str, files)))

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> Files: ...

    def __getitem__(self, index: int | slice) -> Path | Files:
        return Files(self.texts[index]) if isinstance(index, slice) else Path(self.texts[index])

    def take(self, rows: Sequence[int]) -> Files:
        """Some of the paths, each as often as it is named."""
        return Files(self.texts.take(rows))


def folders_of(files: Sequence[Path], root: Path) -> list[tuple[str, ...]]:
    """Names of the folders between a root and each file; files of one folder share them."""
    known: dict[str, tuple[str, ...]] = {}
    found = []
    for folder in map(os.path.dirname, Files.of(files).texts):
        if folder not in known:
            known[folder] = Path(folder).relative_to(root).parts
        found.append(known[folder])
    return found


def names_of(files: Sequence[Path], root: Path) -> list[str]:
    """Names of files relative to a root, with slashes."""
    above = folders_of(files, root)
    return [
        "/".join((*names, os.path.basename(text))) for names, text in zip(above, Files.of(files).texts, strict=True)
    ]
