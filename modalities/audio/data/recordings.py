"""Collections of sound files: the files, their conditions, and the groups by which they are split."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torchaudio
from torchaudio.datasets.gtzan import gtzan_genres

from common.data.faults import Faults, Faulty, first_names
from common.data.folders import labels_and_splits
from common.data.splits import Split, split_column, spread
from common.data.texts import Files, names_of
from common.lazy import pd
from common.table_files import place, read_table
from modalities.audio.signal.audio_files import reading_notes, sound_files

AGREE = "the file names and the labels have to agree"
GTZAN_FOLDERS = ("genres", "genres_original", "Data/genres_original", ".")  # torchaudio's, then Kaggle's


@dataclass(frozen=True)
class Recordings:
    """A collection of recordings.

    Attributes:
        files: one for each recording.
        conditions: one row per recording, one column per condition; empty cells are missing.
        groups: group of each recording; recordings of one group lie in the same split.
        source: where the labels come from, for error messages.
        splits: split of each recording, if the collection defines one.
        group: name of the condition that the groups are, if they are one.
        notes: what a person should know of the collection, a line each.
    """

    files: Sequence[Path]
    conditions: pd.DataFrame
    groups: Sequence[str]
    source: Path
    splits: Sequence[Split] | None = None
    group: str | None = None
    notes: Sequence[str] = ()

    def few(self, limit: int | None) -> Recordings:
        """At most `limit` recordings, spread over the collection; None keeps all."""
        return self.take(spread(len(self.files), limit))

    def take(self, rows: list[int]) -> Recordings:
        """Some of the recordings."""
        return replace(
            self,
            files=Files.of(self.files).take(rows),
            conditions=self.conditions.iloc[rows],
            groups=[self.groups[row] for row in rows],
            splits=None if self.splits is None else [self.splits[row] for row in rows],
        )

    def checked(self) -> Recordings:
        """The recordings, where those of one name and folder with several suffixes, `a.wav` and `a.mp3`, share a group.

        Raises:
            ValueError: if a group that was asked for lies in several of the splits that the data define.
        """
        if self.group is not None and self.splits is not None:
            sides: dict[str, dict[Split, Path]] = {}
            for group, split, file in zip(self.groups, self.splits, self.files, strict=True):
                sides.setdefault(group, {}).setdefault(split, file)
            crossing = {group: found for group, found in sides.items() if len(found) > 1}
            if crossing:
                group, found = next(iter(crossing.items()))
                where = ", ".join(f"{split} ({file})" for split, file in found.items())
                more = "" if len(crossing) == 1 else f", as do {len(crossing) - 1} others,"
                raise ValueError(
                    f"{self.source}: {self.group} {group!r}{more} lies in several splits: {where}. Move the "
                    "recordings, or leave out data.group"
                )
        stems = [os.path.splitext(text)[0] for text in Files.of(self.files).texts]
        counts = Counter(stems)
        twins = [row for row, stem in enumerate(stems) if counts[stem] > 1]
        if not twins:
            return self
        groups, first = list(self.groups), dict[str, str]()
        for row in twins if self.group is None and self.splits is None else ():
            groups[row] = first.setdefault(stems[row], groups[row])
        note = f"recordings that differ in their suffix alone: {len(twins):,} (such as {self.files[twins[0]]})"
        note += "; those of one name share a split" if groups != list(self.groups) else ""
        return replace(self, groups=groups, notes=[*self.notes, note])


def genre_folders(root: Path, group: str | None = None, level: str | None = None) -> Recordings:
    """One folder per genre, with files at any depth below it; or `train`, `val` and `test` with such folders below.

    Args:
        root: the folder.
        group: what the folders below a genre's are, such as `artist`: a condition, and what the split goes by. A
            recording that lies in the genre's folder itself is in no group but its own.
        level: the same for a condition that the split does not go by.

    Raises:
        ValueError: naming a file that lies in no folder, or if there are no folders below those of the genres.
    """
    if group == "genre":
        raise ValueError("data.group genre keeps whole genres out of training or test: name another one, or none")
    found = sound_files(root)
    genres, splits = labels_and_splits(found.files, root)
    names = names_of(found.files, root)
    columns: dict[str, Sequence[str | None]] = {"genre": genres}
    groups, notes = names, reading_notes(found)
    if group is not None and level is not None:
        raise ValueError(f"folders below those of the genres are each {group} or each {level}: name one of them")
    if (name := group or level) is not None:
        depth = 1 if splits is None else 2
        below = [Path(file).parts[depth:-1] for file in names]
        if not any(below):
            raise ValueError(
                f"{root} has no folders below those of its genres that could be each {name}: put recordings into "
                f"<genre>/<{name}>/, or name a table of them with data.attributes"
            )
        columns[name] = [parts[0] if parts else None for parts in below]
        if group is not None:
            groups = [parts[0] if parts else file for parts, file in zip(below, names, strict=True)]
        if lone := sum(not parts for parts in below):
            notes.append(f"recordings without a folder for their {name}: {lone:,}")
    return Recordings(found.files, pd.DataFrame(columns), groups, root, splits, group, notes)


def table_file(root: Path, csv: Path, group: str | None, faulty: Faulty = "raise") -> Recordings:
    """A table whose first column names files below `root`; every other column is a condition.

    A recording whose cell of the column `group` is empty is in no group but its own.

    Raises:
        ValueError: naming the table and the rows at fault, a file that is named twice or not at all, or a missing
            column.
    """
    table = read_table(csv)
    if table.shape[1] < 2 or table.empty:
        raise ValueError(f"{csv} needs a column of file names, at least one of conditions, and rows")
    column = table.columns[0]
    found = sound_files(root)
    notes = [*table.attrs.get("notes", []), *reading_notes(found)]
    known = {_plain(str(file.relative_to(root))): file for file in found.files}
    faults = Faults("rows", f"{AGREE}; data.faulty skip leaves rows without a file out")
    rows: list[int] = []
    files: list[Path] = []
    first: dict[Path, int] = {}
    for row, name in enumerate(map(str, table[column])):
        # os.path takes a text that can be no name, such as one of a thousand letters, for that of no file.
        file = root / name if os.path.isfile(root / name) else known.get(_plain(name))
        if file is None:
            faults.add(f"{place(table, row)}: {root / name} does not exist (column {column!r} names sound files)")
            continue
        if file in first:
            raise ValueError(
                f"{csv}, {place(table, row)}: {name} is named a second time, after {place(table, first[file])}"
            )
        first[file] = row
        rows.append(row)
        files.append(file)
    try:
        faults.settle(len(table), faulty)
    except ValueError as error:
        raise ValueError(f"{csv}: {error}") from None
    unnamed = [file for file in found.files if file not in first]
    if unnamed:
        raise ValueError(f"{csv} says nothing about {first_names(unnamed)} ({len(unnamed)} such files): {AGREE}")
    if group is not None and group not in table.columns[1:]:
        raise ValueError(f"{csv} has no column {group} to split by; it has: {', '.join(table.columns)}")
    table = table.iloc[rows]
    groups = [str(file.relative_to(root)) if file.is_relative_to(root) else str(file) for file in files]
    if group is not None:
        groups = [name if pd.isna(cell) else str(cell) for name, cell in zip(groups, table[group], strict=True)]
    table, splits = split_column(table.drop(columns=column), csv)
    return Recordings(files, table, groups, csv, splits, group, notes)


def _plain(name: str) -> str:
    """A file's name in one form: accents composed, as macOS does not store them, and no separators of Windows."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def named_files(root: Path, pattern: str, group: str | None, faulty: Faulty = "raise") -> Recordings:
    """Files whose names contain their conditions, as in `<digit>_<speaker>_<index>`.

    Files may lie in folders, which do not count but for the splits that they are named after.

    Raises:
        ValueError: naming the files that do not fit the pattern, or a part that is not in it.
    """
    found = sound_files(root)
    # The first of all ways in which a name fits, and the last: they are equal where there is one.
    expression, longest = (re.compile(name_expression(pattern, part)) for part in (".+?", ".+"))
    if group is not None and group not in expression.groupindex:
        raise ValueError(f"the pattern {pattern} has no part <{group}> to split by")
    faults = Faults("files", f"{AGREE}: rename the files, or leave them out with data.faulty skip")
    files, rows = [], []
    for file in found.files:
        match = expression.fullmatch(file.stem)
        other = longest.fullmatch(file.stem)
        if match is None or other is None:
            faults.add(f"{file} is not named {pattern}")
        elif match.groupdict() != other.groupdict():
            ways = " or ".join(", ".join(f"{n} {v}" for n, v in way.groupdict().items()) for way in (match, other))
            faults.add(f"{file} is named {pattern} in several ways ({ways})")
        else:
            files.append(file)
            rows.append(match.groupdict())
    faults.settle(len(found.files), faulty)
    table = pd.DataFrame(rows)
    _, splits = labels_and_splits(files, root, labelled=False)
    groups = [str(file.relative_to(root)) for file in files] if group is None else list(table[group])
    return Recordings(files, table, groups, root, splits, group, reading_notes(found))


def name_expression(pattern: str, part: str = ".+?") -> str:
    """The regular expression of a pattern of file names, in which `<name>` stands for a part.

    Args:
        pattern: the pattern.
        part: what a part may be.

    Raises:
        ValueError: if there is no part, a repeated part, or no text between two parts.
    """
    pieces = re.split(r"<(\w+)>", pattern)
    names, texts = pieces[1::2], pieces[::2]
    if not names or len(set(names)) < len(names) or not all(texts[1:-1]) or any(not n.isidentifier() for n in names):
        raise ValueError(f"pattern {pattern!r}: write parts as <name>, each once, with something between two of them")
    parts = [re.escape(texts[0])]
    for name, text in zip(names, texts[1:], strict=True):
        parts += [f"(?P<{name}>{part})", re.escape(text)]
    return "".join(parts)


def gtzan(root: Path, download: bool) -> Recordings:
    """The excerpts of GTZAN in ten genres with torchaudio's artist-filtered split, as far as their files exist.

    Source of the split: Sturm 2013, "The GTZAN dataset", in the lists of torchaudio; excerpts that are in none of the
    three lists (repetitions, and artists in several splits) are left out.
    """
    files, genres, splits = [], [], []
    folder = next(
        (name for name in GTZAN_FOLDERS if any((root / name / genre).is_dir() for genre in gtzan_genres)), None
    )
    if folder is None and not download:
        raise FileNotFoundError(
            f"{root} holds no GTZAN: set data.root to the folder that has {' or '.join(GTZAN_FOLDERS[:2])}"
        )
    parts: dict[str, Split] = {"training": "train", "validation": "val", "testing": "test"}
    for part, split in parts.items():
        data = torchaudio.datasets.GTZAN(root, folder_in_archive=folder or "genres", download=download, subset=part)
        for name in data._walker:
            file = Path(data._path) / name.partition(".")[0] / f"{name}.wav"
            if file.exists():
                files.append(file)
                genres.append(name.partition(".")[0])
                splits.append(split)
    if not files:
        raise FileNotFoundError(f"{root} holds no excerpt of GTZAN ({folder or 'genres'}/<genre>/<genre>.<number>.wav)")
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
