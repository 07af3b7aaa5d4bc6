"""Collections of sound files: the files, their conditions, and the groups by which they are split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torchaudio

from common.conditions.columns import read_csv
from common.data.splits import Split, spread
from common.lazy import pd
from modalities.audio.signal.audio_files import sound_files

AGREE = "the file names and the labels have to agree"


@dataclass(frozen=True)
class Recordings:
    """A collection of recordings.

    Attributes:
        files: one for each recording.
        conditions: one row per recording, one column per condition; empty cells are missing.
        groups: group of each recording; recordings of one group lie in the same split.
        source: where the labels come from, for error messages.
        splits: split of each recording, if the collection defines one.
    """

    files: Sequence[Path]
    conditions: pd.DataFrame
    groups: Sequence[str]
    source: Path
    splits: Sequence[Split] | None = None

    def few(self, limit: int | None) -> Recordings:
        """At most `limit` recordings, spread over the collection; None keeps all."""
        rows = spread(len(self.files), limit)
        return Recordings(
            [self.files[row] for row in rows],
            self.conditions.iloc[rows].reset_index(drop=True),
            [self.groups[row] for row in rows],
            self.source,
            None if self.splits is None else [self.splits[row] for row in rows],
        )


def genre_folders(root: Path) -> Recordings:
    """One folder per genre, with files at any depth below it.

    Raises:
        ValueError: naming a file that lies in no folder.
    """
    files = sound_files(root)
    for file in files:
        if file.parent == root:
            raise ValueError(
                f"{file} lies in no genre's folder: put recordings into {root}/<genre>/, or set data.attributes or "
                "data.pattern"
            )
    names = [str(file.relative_to(root)) for file in files]
    return Recordings(files, pd.DataFrame({"genre": [Path(name).parts[0] for name in names]}), names, root)


def table_file(root: Path, csv: Path, group: str | None) -> Recordings:
    """A CSV whose first column names files below `root`; every other column is a condition.

    A recording whose cell of the column `group` is empty is in no group but its own.

    Raises:
        ValueError: naming the CSV and the row at fault, a file that is named twice or not at all, or a missing column.
    """
    table = read_csv(csv)
    if table.shape[1] < 2 or table.empty:
        raise ValueError(f"{csv} needs a column of file names, at least one of conditions, and rows")
    column = table.columns[0]
    names = [str(name) for name in table[column]]
    seen: set[str] = set()
    for row, name in enumerate(names):
        if not (root / name).is_file():
            raise ValueError(
                f"{csv}, row {row + 2}: {root / name} does not exist (column {column!r} names sound files)"
            )
        if name in seen:
            raise ValueError(f"{csv}, row {row + 2}: {name} is named a second time")
        seen.add(name)
    unnamed = [file for file in sound_files(root) if str(file.relative_to(root)) not in seen]
    if unnamed:
        raise ValueError(f"{csv} says nothing about {unnamed[0]} ({len(unnamed)} such files): {AGREE}")
    if group is not None and group not in table.columns:
        raise ValueError(f"{csv} has no column {group} to split by; it has: {', '.join(table.columns)}")
    groups = names
    if group is not None:
        groups = [name if pd.isna(value) else str(value) for name, value in zip(names, table[group], strict=True)]
    return Recordings([root / name for name in names], table.drop(columns=column), groups, csv)


def named_files(root: Path, pattern: str, group: str | None) -> Recordings:
    """Files whose names contain their conditions, as in `<digit>_<speaker>_<index>`.

    Raises:
        ValueError: naming a file that does not fit the pattern, or a part that is not in it.
    """
    files = sound_files(root)
    expression = re.compile(name_expression(pattern))
    rows = []
    for file in files:
        match = expression.fullmatch(file.stem)
        if match is None:
            raise ValueError(f"{file} is not named {pattern}: {AGREE}")
        rows.append(match.groupdict())
    table = pd.DataFrame(rows)
    if group is not None and group not in table.columns:
        raise ValueError(f"the pattern {pattern} has no part <{group}> to split by")
    groups = [str(file.relative_to(root)) for file in files] if group is None else list(table[group])
    return Recordings(files, table, groups, root)


def name_expression(pattern: str) -> str:
    """The regular expression of a pattern of file names, in which `<name>` stands for a part.

    Raises:
        ValueError: if there is no part, a repeated part, or no text between two parts.
    """
    pieces = re.split(r"<(\w+)>", pattern)
    names, texts = pieces[1::2], pieces[::2]
    if not names or len(set(names)) < len(names) or not all(texts[1:-1]) or any(not n.isidentifier() for n in names):
        raise ValueError(f"pattern {pattern!r}: write parts as <name>, each once, with something between two of them")
    parts = [re.escape(texts[0])]
    for name, text in zip(names, texts[1:], strict=True):
        parts += [f"(?P<{name}>.+?)", re.escape(text)]
    return "".join(parts)


def gtzan(root: Path, download: bool) -> Recordings:
    """The excerpts of GTZAN in ten genres with torchaudio's artist-filtered split, as far as their files exist.

    Source of the split: Sturm 2013, "The GTZAN dataset", in the lists of torchaudio; excerpts that are in none of the
    three lists (repetitions, and artists in several splits) are left out.
    """
    files, genres, splits = [], [], []
    parts: dict[str, Split] = {"training": "train", "validation": "val", "testing": "test"}
    for part, split in parts.items():
        data = torchaudio.datasets.GTZAN(root, download=download, subset=part)
        for name in data._walker:
            file = Path(data._path) / name.partition(".")[0] / f"{name}.wav"
            if file.exists():
                files.append(file)
                genres.append(name.partition(".")[0])
                splits.append(split)
    if not files:
        raise FileNotFoundError(f"{root} holds no excerpt of GTZAN (genres/<genre>/<genre>.<number>.wav)")
    return Recordings(files, pd.DataFrame({"genre": genres}), [str(file) for file in files], root, splits)


def speech_commands(root: Path, download: bool) -> Recordings:
    """The words of SPEECHCOMMANDS with its official split, in which no speaker is in two parts."""
    files, words, speakers, splits = [], [], [], []
    parts: dict[str, Split] = {"training": "train", "validation": "val", "testing": "test"}
    for part, split in parts.items():
        data = torchaudio.datasets.SPEECHCOMMANDS(root, download=download, subset=part)
        for row in range(len(data)):
            name, _, word, speaker, _ = data.get_metadata(row)
            files.append(Path(data._archive) / name)
            words.append(word)
            speakers.append(speaker)
            splits.append(split)
    return Recordings(files, pd.DataFrame({"word": words}), speakers, root, splits)
