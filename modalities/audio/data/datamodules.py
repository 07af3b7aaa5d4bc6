"""Audio DataModules. Clips are log-mel features [N, 1, mels, frames] in float16, standardised on the device."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.conditions.columns import condition_columns, fit_continuous
from common.data.containers.media import Media
from common.data.containers.unpacking import is_packed, unpacked
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.faults import Faults, Faulty, first_names
from common.data.splits import Split, numbered, spread
from common.data.terms import Terms
from common.data.texts import Files
from common.paths import data_root
from modalities.audio.data.clip_cache import ClipWriter, Columns, cached_clips
from modalities.audio.data.recordings import Recordings, genre_folders, gtzan, named_files, speech_commands, table_file
from modalities.audio.data.rendering import PROGRAMS, Performance, clip_starts, render, sources_digest
from modalities.audio.data.tunes import GENRES, Tune, group_tunes, read_tunes, split_tunes, tune_files
from modalities.audio.signal.audio_files import CANCEL, READING, SUFFIXES, clips
from modalities.audio.signal.decoding import Sound
from modalities.audio.signal.features import LogMel

SOUNDS = Media("Audio", SUFFIXES, ".wav")
COLUMNS = ("genre", "instrument", "split", "tune", "group")  # of a rendered clip of a tune
STATISTICS_CLIPS = 2000  # training clips behind mean and deviation of the features
SPLITS: tuple[Split, ...] = ("train", "val", "test")


class AudioData(ConditionalDataModule):
    """Base of the audio DataModules.

    Args:
        features: parameters of the log-mel features; their mean and deviation are taken from the training clips.
        batch_size: clips per batch and process.
        base: as in `ConditionalDataModule`.
    """

    limits_itself = True
    learned = ("attributes", "features")

    def __init__(
        self,
        features: LogMel = LogMel(),  # noqa: B008 (frozen)
        batch_size: int = 64,
        **base: Any,
    ) -> None:
        super().__init__(batch_size, **base)
        self.settings = features

    def adopt(self, terms: Terms) -> None:
        """As in the base; clips and features are those of the checkpoint's model."""
        super().adopt(terms)
        known: LogMel | None = terms.learned.get("features")
        if known is not None:
            # Without mean and deviation, which are no part of the cached features.
            settings = replace(known, mean=self.settings.mean, std=self.settings.std)
            if settings != self.settings:
                rank_zero_info(f"sound is read as the checkpoint's model reads it: {settings}")
            self.settings = settings

    @cached_property
    def features(self) -> LogMel:
        """The features with mean and deviation of the training clips, from which the model is built."""
        known: LogMel | None = self.known("features")
        if known is not None:
            return known
        rows = self.whole.splits["train"]
        log_mel = self.whole.x[rows[:: max(1, len(rows) // STATISTICS_CLIPS)]].float()
        return replace(self.settings, mean=round(log_mel.mean().item(), 4), std=round(log_mel.std().item(), 4))

    @property
    def customary_tempo(self) -> dict[str, float]:
        """Usual beats per minute of each genre, if they are known."""
        return {}

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Standardised features."""
        return batch.replace(x=self.features.standardise(batch.x))


class Tunes(AudioData):
    """Dance tunes of music21: reels, hornpipes, jigs, strathspeys and clogs, each clip on several instruments.

    Conditions are `genre` and `instrument`. The split is by tune, with near-duplicates in the same part.

    Args:
        performance: "customary" plays each dance at its usual tempo and swings hornpipes and clogs; "as_notated" plays
            the written notes evenly at 120 quarter notes per minute. See `modalities.audio.data.rendering.Performance`.
        instruments: instruments that play every clip, out of piano, guitar, accordion, fiddle and flute.
        clips: most clips of a tune of the commonest genre; a genre that is n times rarer gives sqrt(n) times as many,
            which may overlap.
        limit: about so many clips, of tunes spread over the collection, for a trial; None takes all.
        views: in training z is inferred from the same clip on a random instrument, so that it does not depend on the
            instrument.
        shares: shares of validation and test tunes.
        base: as in `AudioData`.
    """

    def __init__(
        self,
        performance: Literal["customary", "as_notated"] = "customary",
        instruments: Sequence[str] = tuple(PROGRAMS),
        clips: int = 4,
        views: bool = False,
        shares: tuple[float, float] = (0.1, 0.1),
        limit: int | None = None,
        **base: Any,
    ) -> None:
        super().__init__(limit=limit, **base)
        unknown = [name for name in instruments if name not in PROGRAMS]
        if unknown or not instruments:
            raise ValueError(f"instruments {', '.join(unknown) or 'none'}: there are {', '.join(PROGRAMS)}")
        self.performance = Performance(performance)
        self.instruments = list(instruments)
        self.clips, self.views, self.shares = clips, views, shares

    @property
    def customary_tempo(self) -> dict[str, float]:
        """Usual beats per minute of each dance; empty where the tunes are played as notated."""
        return self.performance.customary_tempo

    def load(self) -> Examples:
        """Renders the tunes, or reads them from the cache if an earlier run had the same settings."""
        every = tune_files()
        clips = self.clips * len(self.instruments)  # of a tune of the commonest genre
        tunes = None if self.limit is None else max(1, self.limit // clips)
        files = [every[position] for position in spread(len(every), tunes)]
        settings = [asdict(self.settings), asdict(self.performance), self.instruments, self.clips, self.shares, COLUMNS]
        cached = cached_clips([*settings, sources_digest(files)], lambda writer: self._render(files, writer))
        self.tune = cached.columns["tune"]
        fields = {name: cached.columns[name] for name in ("genre", "instrument")}
        attributes = {"genre": Categorical(GENRES), "instrument": Categorical(self.instruments)}
        origin = {"tune": self.tune.tolist(), "seconds": [self.settings.seconds] * len(self.tune)}
        return Examples(cached.x, fields, dict(attributes), _shuffled(cached.columns["split"]), origin=origin,
                        groups=cached.columns["group"])  # fmt: skip

    def _render(self, files: list[Path], writer: ClipWriter) -> Columns:
        tunes, left_out = read_tunes(files)
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items())
        rank_zero_info(f"{len(files)} tunes; left out: {reasons or 'none'}")
        groups = group_tunes(tunes)
        parts = split_tunes(tunes, groups, self.shares)
        for name, rows in parts.items():
            if len(rows) == 0:
                raise ValueError(f"{len(tunes)} tunes leave none for {name}: raise data.limit or data.shares")
        side = {row: SPLITS.index(name) for name, rows in parts.items() for row in rows.tolist()}
        labels: list[tuple[int, int, int, int, int]] = []
        counts = Counter(tune.genre for tune in tunes)
        for number, tune in enumerate(tqdm(tunes, desc="rendering tunes", unit="tune", disable=None)):
            wanted = round(self.clips * math.sqrt(max(counts.values()) / counts[tune.genre]))
            for start in clip_starts(tune, self.performance, self.settings.seconds, wanted):
                writer.append(self._clip(tune, start))
                genre = GENRES.index(tune.genre)
                of_clip = side[number], number, groups[number]
                labels += [(genre, played, *of_clip) for played in range(len(self.instruments))]
        return dict(zip(COLUMNS, torch.tensor(labels).T, strict=True))

    def _clip(self, tune: Tune, start: float) -> Tensor:
        """Features of a clip on every instrument, [instruments, 1, mels, frames]."""
        size, rate = self.settings.samples, self.settings.sample_rate
        waves = [render(tune, name, self.performance, start, size, rate) for name in self.instruments]
        return self.settings.log_mel(torch.stack(waves)).unsqueeze(1)

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Standardised features; in training with views, the same clip on a random instrument as view."""
        changed = super().transform(batch, training)
        if not (training and self.views):
            return changed
        train = self.examples.splits["train"]
        rows, count = train[batch.positions.cpu()], len(self.instruments)
        # The renderings of a clip are consecutive rows; those that a subset leaves out of training are no views.
        renderings = (rows - rows % count).unsqueeze(1) + torch.arange(count)
        trained = torch.isin(renderings, train).float()
        other = renderings.gather(1, torch.multinomial(trained, 1))[:, 0]
        view = self.examples.batch(other).to(batch.x.device)
        return changed.replace(view=view.replace(x=self.features.standardise(view.x)))


class RecordedAudio(AudioData):
    """Base of collections of sound files, which are cut into clips once and cached.

    Files may have any sample rate and number of channels. They are read in blocks and their features stay on disk, so
    that neither a long file nor a large collection has to fit into memory for training; a test reads the test clips as
    a whole. The split is by recording, or by the groups of the collection, never by clip.

    Args:
        root: folder of the files.
        cut: "time" cuts clips back to back, "onset" starts each clip at an onset.
        faulty: "raise" stops at files that are silent, truncated, unreadable or not named as they should be, and names
            them; "skip" leaves them out with a warning.
        shares: shares of validation and test, if the collection has no split of its own.
        base: as in `AudioData`.
    """

    def __init__(
        self,
        root: Path,
        cut: Literal["time", "onset"] = "time",
        faulty: Faulty = "raise",
        shares: tuple[float, float] = (0.1, 0.1),
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.root = Path(root)
        self.cut, self.faulty, self.shares = cut, faulty, shares
        self.continuous: list[str] = []

    @property
    def sources(self) -> list[Path]:
        """The folder."""
        return [self.root]

    def recordings(self) -> Recordings:
        """The files with their conditions."""
        raise NotImplementedError(f"{type(self).__name__} must define recordings()")

    def load(self) -> Examples:
        """Reads the labels, and cuts the files or reads their clips from the cache."""
        recordings = self.recordings().few(self.limit).checked()
        wanted = self.wanted(recordings.conditions.columns)
        columns = condition_columns(recordings.conditions, recordings.source, self.continuous, wanted)
        stamps = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in recordings.files]
        settings = [asdict(self.settings), self.cut, self.faulty, stamps, READING]
        cached = cached_clips(settings, lambda writer: self._cut(recordings.files, writer))
        owner = cached.columns["recording"]
        rows = owner.tolist()
        fields = {name: field[owner] for name, field in columns.fields.items()}
        given = None if recordings.splits is None else [recordings.splits[row] for row in rows]
        # Whoever is in one split alone, such as an artist, cannot be in train as well.
        labels = {name: field for name, field in fields.items() if name != recordings.group}
        contents = dict(zip(rows, cached.columns["content"].tolist(), strict=True))
        groups = _merged(recordings.groups, contents)
        of_clips = [groups[row] for row in rows]
        splits = self.split(of_clips, self.shares, labels, given)
        attributes = fit_continuous(columns.attributes, fields, splits["train"])
        origin = self._origin(recordings.files, rows)
        notes = [*recordings.notes, *columns.notes, *self._notes(recordings.files, contents, cached.columns)]
        return Examples(cached.x, fields, attributes, splits, origin=origin, notes=notes, groups=numbered(of_clips))

    def _notes(self, files: Sequence[Path], contents: dict[int, int], columns: Columns) -> list[str]:
        """Which files gave no clip, which are the same, and of which one channel alone was read."""
        notes = []
        if without := [str(file) for row, file in enumerate(files) if row not in contents]:
            notes.append(f"files left out as faulty: {len(without):,} of {len(files):,} ({first_names(without)})")
        first: dict[int, int] = {}
        copies = [f"{files[row]} = {files[first[content]]}" for row, content in contents.items()
                  if first.setdefault(content, row) != row]  # fmt: skip
        if copies:
            notes.append(f"recordings that are the same as others: {len(copies):,} ({first_names(copies)})")
        if one := columns["recording"][columns["one_channel"].bool()].unique().tolist():
            notes.append(f"recordings whose {CANCEL}: {len(one):,} ({first_names([files[row] for row in one])})")
        return notes

    def _origin(self, files: Sequence[Path], owner: list[int]) -> dict[str, Sequence[Any]]:
        """File, number in the file and length of each clip."""
        counts: Counter[int] = Counter()
        numbers = []
        for row in owner:
            numbers.append(counts[row])
            counts[row] += 1
        seconds = [self.settings.seconds] * len(owner)
        return {"file": Files.of(files).texts.take(owner), "clip": numbers, "seconds": seconds}

    def _cut(self, files: Sequence[Path], writer: ClipWriter) -> Columns:
        labels: list[tuple[int, int, int]] = []
        faults = Faults("files")
        for row, file in enumerate(tqdm(files, desc="cutting recordings", unit="file", disable=None)):
            before, digest = writer.count, hashlib.blake2b(digest_size=7)
            try:
                with Sound(file) as sound:
                    for clip in clips(sound, self.settings, self.cut):
                        log_mel = self.settings.log_mel(clip)[None, None]
                        writer.append(log_mel)
                        digest.update(log_mel.half().numpy().tobytes())
            except (ValueError, OSError, MemoryError) as error:
                faults.add(error, file)
                writer.keep(before)
                continue
            content = int.from_bytes(digest.digest(), "big")
            labels += [(row, content, sound.one_channel)] * (writer.count - before)
        faults.settle(len(files), self.faulty)
        return dict(zip(("recording", "content", "one_channel"), torch.tensor(labels).T, strict=True))


class AudioFiles(RecordedAudio):
    """Your own recordings: a folder per genre, a table or file names with the conditions, or in a container.

    Args:
        root: folder of the files. Without a CSV or a pattern each of its subfolders is a genre, and folders below are
            what `group` or `condition` call them. Or shards of WebDataset, a folder of `.tar` files or their names as a
            pattern; or the folder of a data set that `datasets` has saved to disk, with a column of audio. What else
            these hold of a recording are its conditions.
        attributes: CSV whose first column names a file below `root`; every other column is a condition.
        pattern: pattern of the file names, as in `<digit>_<speaker>_<index>`; `condition` selects among its parts.
        group: column, part or level of folders below the genres, such as an artist, whose recordings stay together in
            the split.
        continuous: columns that are continuous even if their values look like categories.
        base: as in `RecordedAudio`.
    """

    def __init__(
        self,
        root: Path,
        attributes: Path | None = None,
        pattern: str | None = None,
        group: str | None = None,
        continuous: list[str] | None = None,
        **base: Any,
    ) -> None:
        super().__init__(root, **base)
        if attributes is not None and pattern is not None:
            raise ValueError("data.attributes and data.pattern both define the conditions: choose one")
        self.csv = None if attributes is None else Path(attributes)
        self.pattern, self.group = pattern, group
        self.continuous = continuous or []

    @property
    def sources(self) -> list[Path]:
        """The table and the folder."""
        return [*([] if self.csv is None else [self.csv]), self.root]

    def recordings(self) -> Recordings:
        """The files with their conditions from the CSV, the file names or the folders."""
        if not is_packed(self.root, SOUNDS):
            return self._found(self.root, self.csv)
        content = unpacked(self.root, SOUNDS)
        found = self._found(content.files, self.csv or (content.table if self.pattern is None else None))
        return replace(found, notes=[*content.notes, *found.notes])

    def _found(self, root: Path, csv: Path | None) -> Recordings:
        if csv is not None:
            return table_file(root, csv, self.group, self.faulty)
        if self.pattern is not None:
            return named_files(root, self.pattern, self.group, self.faulty)
        level = next((name for name in self.condition or () if name not in ("genre", self.group)), None)
        return genre_folders(root, self.group, level)


class GTZAN(RecordedAudio):
    """GTZAN: excerpts of 30 seconds in ten genres, with torchaudio's artist-filtered split. One file is damaged.

    Args:
        root: folder that holds `genres`, as torchaudio has it, or `genres_original`, as Kaggle has it; None is `gtzan`
            below the data root.
        download: lets torchaudio download what is missing.
        faulty: as in `RecordedAudio`.
        base: as in `RecordedAudio`.
    """

    def __init__(
        self,
        root: Path | None = None,
        download: bool = False,
        faulty: Faulty = "skip",
        **base: Any,
    ) -> None:
        super().__init__(root or data_root() / "gtzan", faulty=faulty, **base)
        self.download = download

    def recordings(self) -> Recordings:
        """The files and splits in torchaudio's lists."""
        return gtzan(self.root, self.download)


class SPEECHCOMMANDS(RecordedAudio):
    """SPEECHCOMMANDS: 35 spoken words, with the official split, in which no speaker is in two parts.

    Args:
        root: folder that holds torchaudio's `SpeechCommands`; None is the data root.
        download: lets torchaudio download what is missing.
        base: as in `RecordedAudio`.
    """

    def __init__(self, root: Path | None = None, download: bool = False, **base: Any) -> None:
        super().__init__(root or data_root(), **base)
        self.download = download

    def recordings(self) -> Recordings:
        """The files and splits in torchaudio's lists."""
        return speech_commands(self.root, self.download)


def _shuffled(split: Tensor) -> dict[Split, Tensor]:
    """Rows of each split from split numbers [N], in a fixed random order: the first rows are a random sample."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    return {name: order[split[order] == number] for number, name in enumerate(SPLITS)}


def _merged(groups: Sequence[str], contents: dict[int, int]) -> list[str]:
    """The groups of recordings, where groups that share a recording are one.

    Args:
        groups: of each recording.
        contents: what a recording consists of, as a number, by its row.
    """
    leader = {group: group for group in groups}

    def found(group: str) -> str:
        while leader[group] != group:
            group = leader[group]
        return group

    first: dict[int, str] = {}
    for row, content in contents.items():
        leader[found(groups[row])] = found(first.setdefault(content, groups[row]))
    return [found(group) for group in groups]
