"""Tunes: 1,059 dance tunes in ABC notation that come with music21, parsed, grouped and split.

Only files are read; music21 itself is not imported. Times are in quarter notes from the start of the tune.
"""

import ctypes
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from common.data.splits import Split

GENRES = ("clog", "hornpipe", "jig", "reel", "strathspey")
COMPOUND = ("jig",)  # dances in compound metre, whose beat has three parts
INTERVALS = 12  # length of the melodic n-grams by which near-duplicates are detected
SHARED = 0.3  # share of common n-grams above which two tunes are near-duplicates
STRONG = 105  # velocity that the parser assigns to the first note of a bar


@dataclass(frozen=True)
class Tune:
    """A tune as notated.

    Attributes:
        name: name of its file.
        title: title without the kind of dance.
        genre: kind of dance, one of `GENRES`.
        start: start of each note, quarter notes.
        length: length of each note, quarter notes.
        pitch: MIDI number of each note.
        velocity: MIDI velocity of each note.
        bar: length of a bar, quarter notes.
        downbeat: start of the first full bar, quarter notes: the length of the upbeat.
        tempo: quarter notes per minute; None if the file names no tempo.
    """

    name: str
    title: str
    genre: str
    start: np.ndarray
    length: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    bar: float
    downbeat: float
    tempo: float | None

    @property
    def end(self) -> float:
        """End of the last note, quarter notes."""
        return float((self.start + self.length).max())


def package_folder(name: str) -> Path:
    """Folder of an installed package, found without importing it.

    Raises:
        FileNotFoundError: if the package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {name} is not installed: pip install {name}")
    return Path(spec.submodule_search_locations[0])


def tune_files() -> list[Path]:
    """The ABC files of Ryan's Mammoth Collection within music21, sorted."""
    files = sorted((package_folder("music21") / "corpus" / "ryansMammoth").glob("*.abc"))
    if not files:
        raise FileNotFoundError("music21 is installed without its corpus of tunes (corpus/ryansMammoth)")
    return files


def read_tunes(files: Sequence[Path]) -> tuple[list[Tune], Counter[str]]:
    """The usable tunes of some files, and the number of files that were left out for each reason."""
    tunes, left_out = [], Counter[str]()
    with _quiet():
        for file in files:
            try:
                tunes.append(parse_tune(file.read_text(encoding="utf-8"), file.name))
            except ValueError as error:
                left_out[str(error).partition(": ")[2]] += 1
    return tunes, left_out


def parse_tune(text: str, name: str) -> Tune:
    """A tune from ABC notation.

    Raises:
        ValueError: "<name>: <reason>" if the tune is of another kind of dance, not in the metre of its dance, or has
            too few notes.
    """
    import symusic

    fields = header(text)
    genre = fields.get("R", "").lower()
    if genre not in GENRES:
        raise ValueError(f"{name}: another kind of dance")
    try:
        with _own_temporary_folder():
            score = symusic.Score.from_abc(clean(text))
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{name}: not readable as ABC ({error})") from None
    if not score.tracks or not score.time_signatures:
        raise ValueError(f"{name}: no notes")
    metre = score.time_signatures[0]
    compound = metre.denominator == 8 and metre.numerator % 3 == 0
    if compound != (genre in COMPOUND):
        raise ValueError(f"{name}: a metre that is not that of its dance")
    notes = score.tracks[0].notes.numpy()
    if len(notes["time"]) < 2 * INTERVALS:
        raise ValueError(f"{name}: too few notes")
    ticks = float(score.ticks_per_quarter)
    start = np.round(notes["time"] / ticks, 2)  # the parser moves first notes by a tick and ends them a tick early
    length = np.round((notes["duration"] + 1) / ticks, 2)
    bar = 4.0 * metre.numerator / metre.denominator
    strong = np.round(start[notes["velocity"] >= STRONG] % bar, 2).tolist()
    downbeat = Counter(strong).most_common(1)[0][0] if strong else 0.0  # an upbeat's first note counts as strong, too
    title = re.sub(r"\W+", " ", re.split(r"\s--?\s", fields.get("T", name))[0]).strip().lower()
    tempo = re.search(r"1/4\s*=\s*(\d+)", fields.get("Q", ""))
    return Tune(
        name, title, genre, start, length, notes["pitch"].astype(np.int64), notes["velocity"].astype(np.int64), bar,
        downbeat, float(tempo[1]) if tempo else None,
    )  # fmt: skip


def header(text: str) -> dict[str, str]:
    """The first value of each information field of ABC notation, `R:reel` and the like."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Za-z]):(.*)", line)
        if match:
            fields.setdefault(match[1], match[2].partition("%")[0].strip())
    return fields


def clean(text: str) -> str:
    """ABC notation reduced to the notes of one voice and the fields that they need.

    Chord symbols and fingerings in quotes, decorations and grace notes are removed. So is the field R, because the
    parser swings hornpipes if it finds one: here `Performance` decides on swing.
    """
    while (cleaned := _cleaned(text)) != text:  # what one pass removes can leave something for another to remove
        text = cleaned
    return text


def _cleaned(text: str) -> str:
    lines = []
    for line in text.splitlines():
        if re.match(r"\s*[A-Za-z]:", line):
            if line.strip()[0] in "XMLK":
                lines.append(line.strip())
            continue
        line = re.sub(r'"[^"]*"|![^!]*!|\{[^}]*\}|%.*', "", line)
        line = re.sub(r"[uvTHk~.]+(?=[\^_=(\[]*[A-Ga-g])", "", line)
        if line.strip():  # an empty line would end the tune
            lines.append(line)
    return "\n".join(lines) + "\n"


def group_tunes(tunes: Sequence[Tune]) -> list[int]:
    """Group number of each tune; near-duplicates and tunes with the same title are in one group.

    Near-duplicates share over 30 % of the shorter one's melodic 12-grams, in any key.
    """
    grams = [ngrams(tune) for tune in tunes]
    holders: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for row, own in enumerate(grams):
        for gram in own:
            holders[gram].append(row)
    shared: Counter[tuple[int, int]] = Counter()
    for rows in holders.values():
        shared.update((a, b) for position, a in enumerate(rows) for b in rows[position + 1 :])
    first: dict[str, int] = {}
    alike = [(a, b) for (a, b), count in shared.items() if count > SHARED * min(len(grams[a]), len(grams[b]))]
    alike += [(row, first.setdefault(tune.title, row)) for row, tune in enumerate(tunes)]
    graph = coo_array((np.ones(len(alike)), np.array(alike).T), shape=(len(tunes), len(tunes)))
    groups: list[int] = connected_components(graph, directed=False)[1].tolist()
    return groups


def ngrams(tune: Tune) -> set[tuple[int, ...]]:
    """The runs of 12 melodic intervals of a tune, in semitones."""
    order = np.argsort(tune.start, kind="stable")
    steps = np.diff(tune.pitch[order]).tolist()
    return {tuple(steps[position : position + INTERVALS]) for position in range(len(steps) - INTERVALS + 1)}


def split_tunes(tunes: Sequence[Tune], groups: Sequence[int], shares: tuple[float, float]) -> dict[Split, Tensor]:
    """Rows of train, val and test: whole groups, in the same shares for each genre, by a hash of file names."""
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    by_genre: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
    for rows in members.values():
        key = hashlib.sha256(min(tunes[row].name for row in rows).encode()).hexdigest()
        by_genre[tunes[rows[0]].genre].append((key, rows))
    parts: dict[Split, list[int]] = {"train": [], "val": [], "test": []}
    for entries in by_genre.values():
        total, taken = sum(len(rows) for _, rows in entries), 0
        for _, rows in sorted(entries):
            split: Split = "val" if taken < shares[0] * total else "test" if taken < sum(shares) * total else "train"
            parts[split] += rows
            taken += len(rows)
    return {name: torch.tensor(sorted(rows)) for name, rows in parts.items()}


@contextmanager
def _own_temporary_folder() -> Iterator[None]:
    """Lets C code put its temporary files where no other process does.

    The parser passes each tune through a file that it names by an unseeded rand(), so two processes that read at once
    take the same names, and lose tunes or take each other's.
    """
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses the parser's messages, which C code writes directly to the file descriptors."""
    flush = ctypes.CDLL(None).fflush
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as sink:
        saved = [os.dup(1), os.dup(2)]
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            flush(None)  # otherwise messages that are still buffered would appear
            for descriptor, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, descriptor)
                os.close(copy)
