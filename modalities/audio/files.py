"""Sound files that an audio model reads and writes."""

from pathlib import Path

import soundfile
from torch import Tensor

from common.batch import Batch
from common.model.files import Columns, FileFormat, examples
from modalities.audio.model import AudioGenreCVAE
from modalities.audio.signal.audio_files import SUFFIXES, read_sound, write_sound


class SoundFormat(FileFormat[AudioGenreCVAE]):
    """A sound file of any length is one example; samples are written as one file, or as a folder of WAV files."""

    suffix = "/"

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

    def write(self, model: AudioGenreCVAE, samples: Tensor, path: Path) -> None:
        """Writes samples [..., 1, mels, T] as one sound file (`.wav`, `.flac`, `.ogg`) or as a folder of WAV files.

        Raises:
            ValueError: for several samples and a single file, or an unsupported suffix.
        """
        waves, rate = model.sound(examples(samples, 3).cpu()), model.features.sample_rate
        if path.suffix.lower() in SUFFIXES or (path.suffix and not path.is_dir()):
            if len(waves) > 1:
                raise ValueError(f"{path}: {len(waves)} clips need a folder, --out {path.stem}/")
            write_sound(waves[0], path, rate)
            return
        for number, waveform in enumerate(waves):
            write_sound(waveform, path / f"{number:03d}.wav", rate)

    def rows(self, model: AudioGenreCVAE, path: Path, x: Tensor) -> Columns:
        """Where the clip, which is the whole file, starts, and its length."""
        return {"start_seconds": [0.0], "seconds": [soundfile.info(path).duration]}

    def scores(self, model: AudioGenreCVAE, path: Path, batch: Batch, nll: Tensor) -> Columns:
        """The NLL, and that of a second."""
        (seconds,) = self.rows(model, path, batch.x)["seconds"]
        return {**super().scores(model, path, batch, nll), "nats_per_second": (nll.double() / seconds).tolist()}
