"""Sound files that an audio model reads and writes."""

from pathlib import Path

from torch import Tensor

from common.model.files import FileFormat
from modalities.audio.model import AudioGenreCVAE
from modalities.audio.signal.audio_files import SUFFIXES, read_sound, write_sound


class SoundFormat(FileFormat[AudioGenreCVAE]):
    """A sound file of any length is one example; samples are written as one file, or as a folder of WAV files."""

    def read(self, model: AudioGenreCVAE, path: Path) -> Tensor:
        """A sound file as features [1, 1, mels, T]."""
        return model.hear(read_sound(path, model.features.sample_rate)[None])

    def write(self, model: AudioGenreCVAE, samples: Tensor, path: Path) -> None:
        """Writes samples [N, 1, mels, T] as one sound file (`.wav`, `.flac`, `.ogg`) or as a folder of WAV files.

        Raises:
            ValueError: for several samples and a single file, or an unsupported suffix.
        """
        waves, rate = model.sound(samples.cpu()), model.features.sample_rate
        if path.suffix.lower() in SUFFIXES or (path.suffix and not path.is_dir()):
            if len(waves) > 1:
                raise ValueError(f"{path}: {len(waves)} clips need a folder, --out {path.stem}/")
            write_sound(waves[0], path, rate)
            return
        for number, waveform in enumerate(waves):
            write_sound(waveform, path / f"{number:03d}.wav", rate)
