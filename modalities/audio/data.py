"""Audio DataModules. Clips are log-mel features [N, 1, mels, frames] in float16, standardised on the device."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from filelock import FileLock
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions import Categorical
from common.configurable import to_config
from common.data import ConditionalDataModule, Split, Table, cache_root
from modalities.audio.condition import SOURCE
from modalities.audio.features import LogMel
from modalities.audio.judge import AudioJudge
from modalities.audio.rendering import PROGRAMS, Performance, clip_starts, render, sources_digest
from modalities.audio.tunes import GENRES, Tune, group_tunes, read_tunes, split_tunes, tune_files

STATISTICS_CLIPS = 2000  # training clips behind mean and deviation of the features


class AudioData(ConditionalDataModule):
    """Base of the audio DataModules.

    Args:
        features: parameters of the log-mel features; their mean and deviation are taken from the training clips.
        batch_size: clips a batch and process.
        seed: seed of shuffling.
        condition: names of the condition fields to keep; None keeps all.
    """

    def __init__(
        self,
        features: LogMel = LogMel(),  # noqa: B008 (frozen)
        batch_size: int = 64,
        seed: int = 0,
        condition: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size, seed, condition)
        self.settings = features

    @cached_property
    def features(self) -> LogMel:
        """The features with the statistics of the training clips: what the model is built with."""
        rows = self.table.splits["train"]
        log_mel = self.table.x[rows[:: max(1, len(rows) // STATISTICS_CLIPS)]].float()
        return replace(self.settings, mean=round(log_mel.mean().item(), 4), std=round(log_mel.std().item(), 4))

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Standardised features."""
        return batch.replace(x=self.features.standardise(batch.x))

    def judge(self) -> AudioJudge | None:
        """The frozen judge of these clips, trained once and kept in the cache; None without conditions."""
        return self._judge if self.attributes else None

    @cached_property
    def _judge(self) -> AudioJudge:
        return AudioJudge.of(self.table, self.features, self.fingerprint)


class Tunes(AudioData):
    """The embedded tunes: reels, hornpipes, jigs, strathspeys and clogs, each clip on several instruments.

    Conditions are `genre` and `instrument`. The split is by tune: near-duplicates lie on one side.

    Args:
        performance: "customary" plays each dance at its usual tempo and swings hornpipes and clogs; "as_notated" plays
            what is written, evenly, at 120 quarter notes a minute. See `modalities.audio.rendering.Performance`.
        instruments: what every clip is played on: some of piano, guitar, accordion, fiddle, flute.
        clips: clips of each tune, at most.
        limit: only the first so many tunes by name, for a trial; None takes all.
        views: in training z is read from the same clip on an instrument drawn anew: it learns what they share.
        shares: shares of validation and test.
        features: as in `AudioData`.
        batch_size: as in `AudioData`.
        seed: as in `AudioData`.
        condition: as in `AudioData`.
    """

    def __init__(
        self,
        performance: Literal["customary", "as_notated"] = "customary",
        instruments: Sequence[str] = tuple(PROGRAMS),
        clips: int = 4,
        limit: int | None = None,
        views: bool = False,
        shares: tuple[float, float] = (0.1, 0.1),
        features: LogMel = LogMel(),  # noqa: B008 (frozen)
        batch_size: int = 64,
        seed: int = 0,
        condition: list[str] | None = None,
    ) -> None:
        super().__init__(features, batch_size, seed, condition)
        unknown = [name for name in instruments if name not in PROGRAMS]
        if unknown or not instruments:
            raise ValueError(f"instruments {', '.join(unknown) or 'none'}: there are {', '.join(PROGRAMS)}")
        self.performance = Performance(performance)
        self.instruments = list(instruments)
        self.clips, self.limit, self.views, self.shares = clips, limit, views, shares

    def load(self) -> Table:
        """Renders the tunes, or reads what an earlier run rendered under the same settings."""
        files = tune_files()
        if self.limit is not None:
            files = files[:: max(1, len(files) // self.limit)][: self.limit]
        settings = [to_config(self.settings), to_config(self.performance), self.instruments, self.clips, self.shares]
        key = hashlib.sha256(json.dumps([*settings, sources_digest(files)], default=str).encode()).hexdigest()[:24]
        folder = cache_root() / "audio" / key
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                self._prepare(files, folder)
        rendered = Rendered.read(folder)
        self.content = rendered.content
        fields = {"genre": rendered.genre, "instrument": rendered.instrument}
        attributes = {"genre": Categorical(GENRES), "instrument": Categorical(self.instruments)}
        return Table(rendered.x, fields, dict(attributes), rendered.splits)

    def _prepare(self, files: list[Path], folder: Path) -> None:
        tunes, left_out = read_tunes(files)
        reasons = ", ".join(f"{count} {why}" for why, count in left_out.items())
        rank_zero_info(f"{len(files)} tunes; left out: {reasons or 'none'}")
        parts = split_tunes(tunes, group_tunes(tunes), self.shares)
        for name, rows in parts.items():
            if len(rows) == 0:
                raise ValueError(f"{len(tunes)} tunes leave none for {name}: raise data.limit or data.shares")
        side = {row: name for name, rows in parts.items() for row in rows.tolist()}
        x, rows, splits = [], [], []
        for number, tune in enumerate(tqdm(tunes, desc="rendering tunes", unit="tune")):
            for start in clip_starts(tune, self.performance, self.settings.seconds, self.clips):
                x.append(self._clip(tune, start))
                content = len(x) - 1
                rows += [(GENRES.index(tune.genre), played, content) for played in range(len(self.instruments))]
                splits += [side[number]] * len(self.instruments)
        Rendered.write(folder, torch.cat(x), torch.tensor(rows), splits)

    def _clip(self, tune: Tune, start: float) -> Tensor:
        """Features of a clip on every instrument, [instruments, 1, mels, frames]."""
        size, rate = self.settings.samples, self.settings.sample_rate
        waves = [render(tune, name, self.performance, start, size, rate) for name in self.instruments]
        return self.settings.log_mel(torch.stack(waves)).half().unsqueeze(1)

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Standardised features; in training with views, the same clip on another instrument beside it."""
        changed = super().transform(batch, training)
        if not (training and self.views):
            return changed
        rows = self.table.splits["train"][batch.positions.cpu()]
        played = torch.randint(len(self.instruments), rows.shape)
        # The renderings of a clip lie side by side.
        other = rows - rows % len(self.instruments) + played
        condition = {f"{SOURCE}_{name}": field[other].to(batch.x.device) for name, field in self.table.fields.items()}
        source = self.features.standardise(self.table.x[other].to(batch.x.device))
        return changed.replace(condition={**changed.condition, **condition, SOURCE: source})


@dataclass(frozen=True)
class Rendered:
    """What is kept of a rendering.

    Attributes:
        x: natural log-mel power [N, 1, mels, frames], float16, memory-mapped.
        genre: [N].
        instrument: [N].
        content: [N], the same number for all renderings of a clip.
        splits: rows of each split, in random order, so that the first ones stand for all.
    """

    x: Tensor
    genre: Tensor
    instrument: Tensor
    content: Tensor
    splits: dict[Split, Tensor]

    @staticmethod
    def write(folder: Path, x: Tensor, rows: Tensor, splits: Sequence[Split]) -> None:
        """Writes a folder, whole or not at all."""
        partial = folder.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        np.save(partial / "features.npy", x.numpy())
        names = np.array(splits)
        order = np.random.default_rng(0).permutation(len(names))
        parts = {name: order[names[order] == name] for name in ("train", "val", "test")}
        np.savez(partial / "rows.npz", rows=rows.numpy(), **parts)
        partial.replace(folder)

    @staticmethod
    def read(folder: Path) -> "Rendered":
        """Reads a folder; the features stay on disk until they are needed."""
        # Copy on write: torch wants writable memory, and the file stays as it is.
        x = torch.from_numpy(np.load(folder / "features.npy", mmap_mode="c"))
        with np.load(folder / "rows.npz") as stored:
            genre, instrument, content = torch.from_numpy(stored["rows"]).T.contiguous()
            names: tuple[Split, ...] = ("train", "val", "test")
            splits = {name: torch.from_numpy(stored[name]) for name in names}
        return Rendered(x, genre, instrument, content, splits)
