"""Sound files that an audio model reads and writes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Self

from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.batch import Batch
from common.model.files import Columns, FileFormat, examples
from modalities.audio.model import AudioGenreCVAE
from modalities.audio.signal.audio_files import (
    SUFFIXES,
    WRITTEN,
    decoded_seconds,
    read_sound,
    reading_notes,
    sound_files,
    write_sound,
)
from modalities.audio.signal.vocoder import ROWS

LONGEST_NAME = 150  # letters of a condition in the name of a file


class SoundFormat(FileFormat[AudioGenreCVAE]):
    """A sound file of any length is one example; samples are written as one file, or as a folder of WAV files.

    Attributes:
        name: what the names of files in a folder begin with, before a number.
    """

    suffix = "/"
    name: str = ""

    def named(self, condition: Sequence[str]) -> Self:
        """This format for samples of a condition, `name=value` texts, after which files are named."""
        other = copy(self)
        text = "_".join(re.sub(r"[^\w=.,+-]+", "_", pair) for pair in condition)
        other.name = text[:LONGEST_NAME] or "sample"
        return other

    def read(self, model: AudioGenreCVAE, path: Path) -> Tensor:
        """A sound file as features [1, 1, mels, T].

        Raises:
            ValueError: as `read_sound`, or if it is shorter than a frame.
        """
        features = model.features
        x = model.hear(read_sound(path, features.sample_rate)[None])
        if x.shape[-1] == 0:
            raise ValueError(
                f"{path} is shorter than a frame of the model, {features.hop / features.sample_rate:.3f} s"
            )
        return x

    def below(self, folder: Path) -> list[Path]:
        """All sound files below a folder."""
        found = sound_files(folder)
        for note in reading_notes(found):
            rank_zero_warn(note, category=UserWarning)
        return list(found.files)

    def write(self, model: AudioGenreCVAE, samples: Tensor, path: Path) -> None:
        """Writes samples [..., 1, mels, T] as one sound file with a suffix of `WRITTEN`, or as a folder of WAV files.

        A file in the folder that is there already is named in a warning.

        Raises:
            ValueError: for several samples and a single file, the standard output, or an unsupported suffix.
        """
        clips, rate = examples(samples, 3).cpu(), model.features.sample_rate
        if single := is_file(path):
            if len(clips) > 1:
                raise ValueError(f"{path}: {len(clips)} clips need a folder, --out {path.stem}/")
            files = [path]
        else:
            files = [path / f"{self.name}{'-' if self.name else ''}{number:03d}.wav" for number in range(len(clips))]
        if not single and (there := [file.name for file in files if file.exists()]):
            rank_zero_warn(f"{path}: {len(there)} clips are written anew, {there[0]} first", category=UserWarning)
        at_once = max(1, ROWS * model.features.frames // clips.shape[-1])  # bounds memory, however long they are
        for start in range(0, len(clips), at_once):
            waves = model.sound(clips[start : start + at_once])
            for file, waveform in zip(files[start:], waves, strict=False):
                write_sound(waveform, file, rate)

    def targets(self, inputs: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
        """The sound files of some inputs, each with the file that becomes of it.

        Args:
            inputs: sound files, and folders of which all sound files are meant, at any depth.
            out: a sound file if there is one input; otherwise a folder, in which files are named after the inputs.

        Raises:
            ValueError: if two results would have one name, or a result that of an input.
        """
        single = is_file(out)
        sources: list[tuple[Path, Path]] = []  # each with its place below the output folder
        for path in inputs:
            if path.is_dir():
                sources += [(file, file.relative_to(path)) for file in self.below(path)]
            else:
                sources.append((path, Path(path.name)))
        if single and len(sources) > 1:
            raise ValueError(f"{out}: {len(sources)} sound files need a folder, --out {out.stem}/")
        stems = Counter(place.with_suffix("") for _, place in sources)
        pairs: list[tuple[Path, Path]] = []
        for file, place in sources:
            alone = stems[place.with_suffix("")] == 1
            name = f"{place.stem}.wav" if alone else f"{place.stem}-{place.suffix.lower()[1:]}.wav"
            pairs.append((file, out if single else out / place.with_name(name)))
        known = {file.resolve() for file, _ in pairs}
        taken: dict[Path, Path] = {}
        for file, target in pairs:
            if target in taken:
                raise ValueError(f"{taken[target]} and {file} would both become {target}: give them one by one")
            if target.resolve() in known:
                raise ValueError(f"{target} is an input, which would be lost: name another folder with --out")
            taken[target] = file
        return pairs

    def rows(self, model: AudioGenreCVAE, path: Path, x: Tensor) -> Columns:
        """Where the clip, which is the whole file, starts, and its length as it was decoded."""
        return {"start_seconds": [0.0], "seconds": [decoded_seconds(path)]}

    def score_table(
        self, model: AudioGenreCVAE, path: Path, batch: Batch, nll: Tensor, condition: Mapping[str, str]
    ) -> Columns:
        """As in the base, and the NLL of a second."""
        table = super().score_table(model, path, batch, nll, condition)
        pairs = zip(table["nll_nats"], table["seconds"], strict=True)
        return {**table, "nats_per_second": [value / seconds for value, seconds in pairs]}


def is_file(out: Path) -> bool:
    """Whether an output is a sound file rather than a folder.

    Raises:
        ValueError: for the standard output, or a suffix that is not written.
    """
    if str(out) == "-":
        raise ValueError("sound is written to files, not to the standard output: name a file or a folder with --out")
    suffix = out.suffix.lower()
    if suffix in WRITTEN:
        return True
    if suffix and not out.is_dir() and (suffix in SUFFIXES or re.fullmatch(r"\.[a-z]\w{1,4}", suffix)):
        raise ValueError(f"{out}: sound is written as {', '.join(WRITTEN)}, or into a folder")
    return False
