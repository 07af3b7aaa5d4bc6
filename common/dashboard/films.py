"""What a run shows of itself over its epochs: films of pictures, sounds and tables, within a bound of bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from common.dashboard.encoding import Encoded, encoded_picture, encoded_sound
from common.dashboard.figures import figure_text
from common.dashboard.grids import Grid, plain_grid
from common.dashboard.media import CELLS, moment, moment_label, spread
from common.dashboard.runs import Problems, Run
from common.evaluation.media_files import MediaFile
from common.lazy import pd

ALL_BYTES = 11_000_000  # of all pictures and sounds of a page, as they are in it
ROWS = 24  # of a table
SOUNDS = 12  # of a run at one time
TABLE_MOMENTS = 6
# Figures that stand above media of some name: those of `results.json` that begin so.
RELATED = {
    "rewritings": ("test/rewrite/",),
    "samples": ("test/control_accuracy", "test/judge_accuracy", "test/distinct_", "test/fluency", "test/perplexity"),
}


@dataclass(frozen=True)
class Frame:
    """What a panel shows at one time.

    Attributes:
        when: `epoch-0005` or `test`.
        alternative: what it shows, in words.
        picture: a picture; of a sound, its spectrogram.
        sound: a sound.
        table: a table.
        place: number of the time among those of the film.
    """

    when: str
    alternative: str
    caption: str = ""
    picture: Encoded | None = None
    sound: Encoded | None = None
    table: Grid | None = None
    place: int = 0


@dataclass(frozen=True)
class Panel:
    """One thing of one run, over time."""

    run: int
    name: str
    frames: list[Frame]
    figures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of its pictures and sounds."""
        return sum(len(part.uri) for frame in self.frames for part in (frame.picture, frame.sound) if part)


@dataclass(frozen=True)
class Film:
    """Panels that share a slider.

    Attributes:
        modality: modality of their runs.
        name: what they show.
        kind: `picture`, `sound` or `table`.
        moments: the times of the slider, in order.
        panels: of each run, or of each sound of a run.
    """

    modality: str
    name: str
    kind: str
    moments: list[str]
    panels: list[Panel]


@dataclass(frozen=True)
class Level:
    """How much of a run's media is shown: times of pictures and of sounds, and whether pictures keep every value."""

    pictures: int
    sounds: int
    sharp: bool


LEVELS = [
    *(Level(pictures, sounds, sharp=True) for pictures, sounds in ((12, 4), (8, 3), (5, 2))),
    *(Level(pictures, sounds, sharp=False) for pictures, sounds in ((12, 4), (8, 3), (5, 2), (2, 1), (1, 1))),
]


def films(runs: Sequence[Run], problems: Problems, all_bytes: int = ALL_BYTES) -> tuple[list[Film], list[str]]:
    """The films of all runs, and what was left out of each.

    Args:
        runs: the runs.
        problems: receives what could not be read.
        all_bytes: most bytes of all pictures and sounds; runs share them, and what one does not need goes to the next.
    """
    shown: dict[tuple[str, str, str], list[Panel]] = {}  # modality, name, kind
    left_out: list[str] = []
    left = all_bytes
    for number, run in enumerate(runs):
        reader = _Reader(run, number, problems)
        panels = reader.panels(left // (len(runs) - number), left_out)
        left -= sum(panel.size for _, panel in panels)
        for key, panel in panels:
            shown.setdefault(key, []).append(panel)
    return [_film(*key, panels) for key, panels in shown.items()], left_out


def _film(modality: str, name: str, kind: str, panels: list[Panel]) -> Film:
    """Panels with the places of their frames among the times of all."""
    times = {frame.when for panel in panels for frame in panel.frames}
    moments = sorted(times, key=lambda when: (not when.startswith("epoch-"), when))
    placed = [
        replace(panel, frames=[replace(frame, place=moments.index(frame.when)) for frame in panel.frames])
        for panel in panels
    ]
    return Film(modality, name, kind, [moment_label(when) for when in moments], placed)


class _Reader:
    """Reads the media of one run; each file once."""

    def __init__(self, run: Run, number: int, problems: Problems) -> None:
        self.run, self.number, self.problems = run, number, problems
        self.folder = run.folder / "samples"
        self._read: dict[tuple[str, bool], Encoded | None] = {}
        self.media: dict[tuple[str, str], list[MediaFile]] = {}
        spectrograms = {file.picture for file in run.media if file.picture}
        for file in sorted(run.media, key=moment):
            if file.file not in spectrograms and (file.kind, file.name) != CELLS:
                self.media.setdefault((file.kind, file.name), []).append(file)

    def panels(self, most: int, left_out: list[str]) -> list[tuple[tuple[str, str, str], Panel]]:
        """The panels of the run by modality, film and kind, in about that many bytes."""
        sounds = [name for kind, name in self.media if kind == "sound"]
        for name in sounds[SOUNDS:]:
            del self.media["sound", name]
        if sounds[SOUNDS:]:
            left_out.append(f"{self.run.label}: {len(sounds) - SOUNDS} of {len(sounds)} sounds")
        latest = [files[-1] for files in self.media.values()]
        for level in LEVELS:
            once = {
                kind: sum(self._size(file, level.sharp) for file in latest if file.kind == kind)
                for kind in ("picture", "sound")
            }
            if (
                once["picture"] * min(level.pictures, self._longest("picture"))
                + once["sound"] * min(level.sounds, self._longest("sound"))
                <= most
            ):
                break
        chosen = self._chosen(level)
        while (size := self._total(chosen, level)) > most and any(len(files) > 1 for files in chosen.values()):
            chosen = {key: files[1:] if len(files) > 1 else files for key, files in chosen.items()}
        while size > most and chosen:
            key = max(chosen, key=lambda name: sum(self._size(file, level.sharp) for file in chosen[name]))
            size -= sum(self._size(file, level.sharp) for file in chosen.pop(key))
        self._tell(chosen, level, left_out)
        return [
            ((self.run.modality, "sounds" if kind == "sound" else name, kind), panel)
            for (kind, name), files in chosen.items()
            if (panel := self._panel(name, files, level.sharp)).frames
        ]

    def _longest(self, kind: str) -> int:
        return max((len(files) for (own, _), files in self.media.items() if own == kind), default=0)

    def _chosen(self, level: Level) -> dict[tuple[str, str], list[MediaFile]]:
        counts = {"picture": level.pictures, "sound": level.sounds, "table": TABLE_MOMENTS}
        return {(kind, name): spread(files, counts[kind]) for (kind, name), files in self.media.items()}

    def _total(self, chosen: Mapping[tuple[str, str], list[MediaFile]], level: Level) -> int:
        return sum(self._size(file, level.sharp) for files in chosen.values() for file in files)

    def _tell(self, chosen: Mapping[tuple[str, str], list[MediaFile]], level: Level, left_out: list[str]) -> None:
        missing: dict[str, list[str]] = {}
        for key, files in self.media.items():
            if count := len(files) - len(chosen.get(key, [])):
                missing.setdefault(f"{count} of {len(files)} times", []).append(key[1])
        left_out += [f"{self.run.label}: {times} of {', '.join(names)}" for times, names in missing.items()]
        if not level.sharp and any(kind == "picture" for kind, _ in chosen):
            left_out.append(f"{self.run.label}: sharpness of its pictures, which are made smaller")

    def _size(self, file: MediaFile, sharp: bool) -> int:
        if file.kind == "table":
            return 0
        found = [self._encoded(name, sharp) for name in (file.file, file.picture) if name is not None]
        return sum(len(encoded.uri) for encoded in found if encoded is not None)

    def _encoded(self, name: str, sharp: bool) -> Encoded | None:
        path = self.folder / name
        if path.suffix == ".wav":
            sharp = True
        if (name, sharp) not in self._read:
            if (name, not sharp) in self._read and self._read[name, not sharp] is None:
                return None  # said once
            read = encoded_sound if path.suffix == ".wav" else (lambda path: encoded_picture(path, sharp))
            self._read[name, sharp] = self.problems.attempt(
                path, f"{name} of {self.run.label}", lambda: read(path), None
            )
        return self._read[name, sharp]

    def _panel(self, name: str, files: list[MediaFile], sharp: bool) -> Panel:
        frames = [frame for file in files if (frame := self._frame(file, sharp)) is not None]
        return Panel(self.number, name, frames, self._figures(name) if files[0].kind == "table" else [])

    def _frame(self, file: MediaFile, sharp: bool) -> Frame | None:
        shown = f"{file.caption or file.name}, {moment_label(file.when)}, {self.run.label}"
        if file.kind == "table":
            path = self.folder / file.file
            table = self.problems.attempt(path, f"{file.file} of {self.run.label}", lambda: _table(path, shown), None)
            return None if table is None else Frame(file.when, shown, file.caption, table=table)
        main = self._encoded(file.file, sharp)
        if main is None:
            return None
        if file.kind == "picture":
            return Frame(file.when, shown, file.caption, main)
        picture = self._encoded(file.picture, sharp) if file.picture else None
        return Frame(file.when, shown, file.caption, picture, main)

    def _figures(self, name: str) -> list[tuple[str, str]]:
        """Names and values of the figures that belong to what a table shows."""
        if self.run.results is None:
            return []
        metrics = self.run.results.metrics
        return [
            (
                metric.removeprefix("test/"),
                f"{figure_text(figure)}{'' if figure.unit in UNITLESS else f' {figure.unit}'}",
            )
            for start in RELATED.get(name, ())
            for metric, figure in metrics.items()
            if metric.startswith(start) and "/" not in metric.removeprefix(start)
        ]


UNITLESS = ("accuracy", "share", "perplexity", "BLEU")


def _table(path: Path, name: str) -> Grid:
    """The first rows of a table, as texts."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=ROWS + 1)
    rows = frame.to_numpy().tolist()
    grid = plain_grid(name, frame.columns, rows[:ROWS], texts=True)
    return replace(grid, notes=[f"the first {ROWS} rows"]) if len(rows) > ROWS else grid
