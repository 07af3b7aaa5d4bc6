"""Rendering of tunes as sound: tempo and swing of the performance, and clips on several instruments."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from common.configurable import Configurable
from modalities.audio.data.tunes import Tune, package_folder
from modalities.audio.signal.features import levelled

PROGRAMS = {"piano": 0, "guitar": 24, "accordion": 21, "fiddle": 40, "flute": 73}  # General MIDI, from 0
TICKS = 960  # per second

# Beats per minute as the dances are commonly played: two beats per bar, but four in the strathspey.
BEATS = {"clog": 72.0, "hornpipe": 84.0, "jig": 116.0, "reel": 112.0, "strathspey": 132.0}
SWUNG = ("hornpipe", "clog")
SWING = 0.64  # share of a pair of short notes that the first one takes in swung dances
HIGHEST = 88  # MIDI pitch above which some of the soundfont's instruments never end a note: the synthesiser would hang
FEWEST = 4  # least number of notes in a clip
FULL = 0.9  # least share of a clip that lies within the tune


@dataclass(frozen=True)
class Performance(Configurable):
    """Tempo and swing of the rendered tunes.

    "customary" plays each kind of dance at its usual tempo, which varies from tune to tune, and swings hornpipes and
    clogs: genre then includes tempo and swing. "as_notated" plays the written notes evenly at the file's tempo (two
    files name one) or at 120 quarter notes per minute: genre is then in the notes alone.

    Attributes:
        style: "customary" or "as_notated".
        tempo_spread: largest relative deviation from the usual tempo; that of a tune is derived from its name.
    """

    style: Literal["customary", "as_notated"] = "customary"
    tempo_spread: float = 0.08

    @property
    def customary_tempo(self) -> dict[str, float]:
        """Usual beats per minute of each dance; empty where tunes are played as notated."""
        return dict(BEATS) if self.style == "customary" else {}

    def quarters_per_minute(self, tune: Tune) -> float:
        """Tempo of a tune, quarter notes per minute."""
        if self.style == "as_notated":
            return tune.tempo or 120.0
        position = int(hashlib.sha256(tune.name.encode()).hexdigest()[:8], 16) / 2**31 - 1  # in [-1, 1)
        return BEATS[tune.genre] * beat(tune) * (1 + self.tempo_spread * position)

    def seconds(self, tune: Tune, quarters: np.ndarray) -> np.ndarray:
        """Times of positions in the tune, in seconds after its first full bar begins."""
        position = quarters - tune.downbeat
        if self.style == "customary" and tune.genre in SWUNG:
            pair = beat(tune) / 2
            whole, inside = np.divmod(position, pair)
            position = pair * (whole + np.interp(inside / pair, [0.0, 0.5, 1.0], [0.0, SWING, 1.0]))
        return position * 60 / self.quarters_per_minute(tune)


def beat(tune: Tune) -> float:
    """Quarter notes per beat: half a bar, a quarter of a bar in the strathspey, three eighth notes in the jig."""
    return 1.5 if tune.genre == "jig" else tune.bar / (4 if tune.genre == "strathspey" else 2)


def clip_starts(tune: Tune, performance: Performance, seconds: float, count: int) -> list[float]:
    """Starts in seconds of up to `count` clips, each at the start of a bar and within the tune.

    Clips that repeat the notes of another one are left out, since parts of a tune are repeated. Clips follow each other
    first; if there are too few of them, others begin half-way between.
    """
    onset = performance.seconds(tune, tune.start)
    end = performance.seconds(tune, np.array([tune.end]))[0]
    bar = performance.seconds(tune, np.array([tune.downbeat + tune.bar]))[0]
    bars = max(1, round(seconds / bar))
    last = int((end - FULL * seconds) // bar)  # the last bar that a clip can begin with
    candidates = [*range(0, last + 1, bars), *range(max(1, bars // 2), last + 1, bars)]
    starts: list[float] = []
    seen: set[bytes] = set()
    for position in (number * bar for number in candidates):
        inside = (onset >= position - 1e-6) & (onset < position + seconds)
        notes = np.stack([np.round((onset[inside] - position) * 100), tune.pitch[inside]])
        if notes.tobytes() not in seen and inside.sum() >= FEWEST:
            seen.add(notes.tobytes())
            starts.append(float(position))
    return starts[:count]


def render(
    tune: Tune, instrument: str, performance: Performance, start: float, samples: int, sample_rate: int
) -> Tensor:
    """A clip [samples] at the common level, played from `start` seconds on; notes above E6 sound an octave lower.

    Args:
        tune: the tune.
        instrument: one of `PROGRAMS`.
        performance: its tempo and swing.
        start: start of the clip in seconds after the first full bar begins.
        samples: length of the clip.
        sample_rate: Hz.
    """
    import symusic

    onset = performance.seconds(tune, tune.start) - start
    end = performance.seconds(tune, tune.start + tune.length) - start
    chosen = (onset > -1e-6) & (onset < samples / sample_rate)
    time = np.round(onset[chosen] * TICKS).astype(np.int32)
    score = symusic.Score(TICKS // 2)
    score.tempos.append(symusic.Tempo(0, 120.0))
    track = symusic.Track(instrument, PROGRAMS[instrument], False)
    track.notes = symusic.Note.from_numpy(
        time,
        np.maximum(np.round(end[chosen] * TICKS).astype(np.int32) - time, 1),
        np.where(tune.pitch > HIGHEST, tune.pitch - 12, tune.pitch)[chosen].astype(np.int8),
        tune.velocity[chosen].astype(np.int8),
    )
    score.tracks.append(track)
    # Stereo and its mean: the synthesiser's mono output is four times as loud and clips.
    sound = torch.from_numpy(np.asarray(_synthesizer(sample_rate).render(score, True))).mean(0)[:samples]
    return levelled(torch.nn.functional.pad(sound, (0, samples - len(sound))))


@cache
def _synthesizer(sample_rate: int) -> Any:
    import symusic

    return symusic.Synthesizer(str(package_folder("pretty_midi") / "TimGM6mb.sf2"), sample_rate)


def sources_digest(files: Sequence[Any]) -> str:
    """Hash of the sources of renderings: the tunes' files, the soundfont's name and size, the synthesiser's version."""
    import symusic

    font = package_folder("pretty_midi") / "TimGM6mb.sf2"
    digest = hashlib.sha256(f"{symusic.__version__} {font.name} {font.stat().st_size}".encode())
    for file in files:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()
