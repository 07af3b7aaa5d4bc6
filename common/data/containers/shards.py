"""Shards of WebDataset: which tar files a folder or a pattern names, and the split of each."""

import glob
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from common.data.folders import is_left_behind
from common.data.splits import Split, split_of

SUFFIX = ".tar"
ENDS = (SUFFIX, ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Shard:
    """A tar file, and the split that its name or its folder says."""

    file: Path
    split: Split | None


def is_sharded(root: Path, data: Collection[str]) -> bool:
    """Whether a path names shards, or is a folder of shards, in it or in the folders of splits, beside no other data.

    Args:
        root: the path, which may be a pattern such as `train-{000000..000009}.tar`.
        data: suffixes of files that are data themselves.
    """
    if not root.is_dir():
        return root.name.lower().endswith(ENDS)
    with os.scandir(root) as entries:
        kept = [entry for entry in entries if not is_left_behind(entry.name)]
    names = [entry.name.lower() for entry in kept if not entry.is_dir()]
    folders = [os.listdir(entry) for entry in kept if entry.is_dir()]
    if any(name.endswith(tuple(data)) for name in names):
        return False
    holding = [any(name.lower().endswith(ENDS) for name in folder) for folder in folders]
    return all(holding) and (bool(holding) or any(name.endswith(ENDS) for name in names))


def shards(root: Path) -> list[Shard]:
    """The shards of a folder, or those that a pattern names, in the order of their names.

    Raises:
        FileNotFoundError: if there is none, or one that the pattern names.
        ValueError: if one is compressed, or only some are named after a split.
    """
    if root.is_dir():
        files = [file for file in sorted(root.rglob("*")) if file.name.lower().endswith(ENDS)]
        files = [file for file in files if not any(map(is_left_behind, file.relative_to(root).parts))]
    else:
        files = [file for pattern in _expanded(str(root)) for file in _matching(pattern)]
    above = root if root.is_dir() else Path(os.path.commonpath([file.parent for file in files]))
    found = [Shard(file, _split_of(file.relative_to(above))) for file in files]
    for shard in found:
        if not shard.file.name.lower().endswith(SUFFIX):
            raise ValueError(f"{shard.file} is compressed, and the members of shards are sought: unpack it to {SUFFIX}")
    alone = [shard.file for shard in found if shard.split is None]
    if alone and len(alone) < len(found):
        other = next(shard.file for shard in found if shard.split is not None)
        raise ValueError(f"{alone[0]} names no split, and {other} does: name all shards after their splits, or none")
    return found


def _expanded(pattern: str) -> list[str]:
    """The texts that a pattern with `{000..012}` or `{train,val}` stands for."""
    match = re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)
    if match is None:
        return [pattern]
    first, last, listed = match.groups()
    texts = listed.split(",") if listed else [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    parts = [f"{pattern[: match.start()]}{text}{pattern[match.end() :]}" for text in texts]
    return [text for part in parts for text in _expanded(part)]


def _matching(pattern: str) -> list[Path]:
    names = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern))
    if not names:
        raise FileNotFoundError(f"{pattern} does not exist: set data.root to a folder of shards, or to their names")
    return [Path(name) for name in names]


def _split_of(name: Path) -> Split | None:
    """The split of `train/0001.tar`, `train-0001.tar` or `birds_val_0001.tar`."""
    texts = [*name.parts[:-1], *re.split(r"[-_.]", name.name)]
    return next((split for text in texts if (split := split_of(text)) is not None), None)
