"""Sound files: reading them in blocks, and writing them at the common level."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import torch
from torch import Tensor
from torchaudio.functional import resample

from common.paths import files_below
from modalities.audio.signal.features import LogMel, levelled
from modalities.audio.signal.onsets import onset_strength

SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au"}
PEAK = 0.98  # largest absolute sample that is written
SILENT = 1e-4  # root mean square below which a clip counts as silence: -80 dB
BLOCK_SECONDS = 20.0  # length of the blocks in which a file is read


def sound_files(root: Path) -> list[Path]:
    """All sound files below a folder, as in `files_below`."""
    return files_below(root, SUFFIXES, "sound file")


def clips(
    file: Path, features: LogMel, cut: Literal["time", "onset"] = "time", shortest: float = 0.5
) -> Iterator[Tensor]:
    """Clips [features.samples] of a file, in order, at the model's sample rate and the common level.

    Channels are averaged and silent clips are skipped. A last clip, or a whole file, that is shorter is padded with
    silence; a last clip below the least length is left out. Only a few seconds are in memory at once.

    Args:
        file: any format of libsndfile.
        features: length and sample rate of the clips.
        cut: "time" cuts clips back to back, "onset" starts each at the first onset after the end of the previous one.
        shortest: least length of a last clip, as a share of a full clip; the first clip of a file may be shorter.

    Raises:
        ValueError: if the file cannot be read, is truncated, or holds nothing but silence.
    """
    with _open(file) as sound:
        rate = sound.samplerate
        length = round(features.samples * rate / features.sample_rate)
        starts = (
            _onset_starts(sound, file, features, length) if cut == "onset" else range(0, max(sound.frames, 1), length)
        )
        count = 0
        for start in starts:
            sound.seek(min(start, sound.frames))
            native = torch.from_numpy(_read(sound, length, file)).mean(1)
            if len(native) < shortest * length and start > 0:
                continue
            clip = resample(native, rate, features.sample_rate)[: features.samples]
            if clip.square().mean().sqrt() < SILENT:
                continue
            count += 1
            yield torch.nn.functional.pad(levelled(clip), (0, features.samples - len(clip)))
        if not count:
            raise ValueError(f"{file} holds nothing but silence: remove it")


def read_sound(file: Path, sample_rate: int) -> Tensor:
    """A whole file as a waveform [T] at a sample rate, channels averaged, at the common level.

    Raises:
        ValueError: if the file cannot be read, is truncated, or holds nothing but silence.
    """
    with _open(file) as sound:
        blocks, length = [], round(BLOCK_SECONDS * sound.samplerate)
        for _ in range(0, max(sound.frames, 1), length):
            blocks.append(torch.from_numpy(_read(sound, length, file)).mean(1))
        whole = resample(torch.cat(blocks), sound.samplerate, sample_rate)
    if whole.square().mean().sqrt() < SILENT:
        raise ValueError(f"{file} holds nothing but silence")
    return levelled(whole)


def write_sound(waveform: Tensor, path: Path, sample_rate: int) -> None:
    """Writes a waveform [T] as a 16-bit file at the common level, or lower if its peaks would clip.

    Raises:
        ValueError: for a suffix that libsndfile cannot write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = levelled(waveform.detach().float().cpu())
    sound = sound * (PEAK / sound.abs().amax().clamp_min(PEAK))
    try:
        soundfile.write(path, sound.numpy(), sample_rate)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: sound is written as .wav, .flac or .ogg, or into a folder ({error})") from None


def _open(file: Path) -> soundfile.SoundFile:
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        if not file.exists():
            raise FileNotFoundError(f"{file} does not exist") from None
        raise ValueError(f"{file} cannot be read as sound ({error}): remove or replace it") from None
    missing = _missing_bytes(file)
    if missing:
        sound.close()
        raise ValueError(f"{file} is truncated: {missing} bytes are missing. Remove or replace it")
    return sound


def _read(sound: soundfile.SoundFile, length: int, file: Path) -> np.ndarray:
    """The next `length` frames, or those that are left, [frames, channels]."""
    expected = min(length, sound.frames - sound.tell())
    try:
        block: np.ndarray = sound.read(expected, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(f"{file} is damaged ({error}): remove or replace it") from None
    if len(block) < expected:
        raise ValueError(f"{file} is truncated: {expected - len(block)} frames are missing. Remove or replace it")
    return block


def _missing_bytes(file: Path) -> int:
    """Bytes that the header of a WAV file declares beyond the end of the file; libsndfile ignores the difference."""
    with file.open("rb") as handle:
        head = handle.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return 0
        size = file.stat().st_size
        while len(chunk := handle.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                # Streaming writers store the largest length in place of an unknown one.
                return 0 if length >= 0xFFFFFF00 else max(0, handle.tell() + length - size)
            handle.seek(length + length % 2, 1)
    return 0


def _onset_starts(sound: soundfile.SoundFile, file: Path, features: LogMel, length: int) -> Iterator[int]:
    """First frames, at the file's sample rate, of clips that begin at onsets and do not overlap."""
    step = round(BLOCK_SECONDS * sound.samplerate)
    onsets: list[int] = []
    for start in range(0, sound.frames, step):
        sound.seek(start)
        block = torch.from_numpy(_read(sound, step, file)).mean(1)
        log_mel = features.log_mel(resample(block, sound.samplerate, features.sample_rate))
        if log_mel.shape[-1] < 2:  # the last block may be too short to rise from frame to frame
            continue
        strength = onset_strength(log_mel[None, None])[0]
        padded = torch.nn.functional.pad(strength, (1, 1))
        peaks = (strength >= padded[:-2]) & (strength > padded[2:]) & (strength > strength.mean() + strength.std())
        ratio = features.hop * sound.samplerate / features.sample_rate
        onsets += [start + round(max(0, position - 1) * ratio) for position in peaks.nonzero()[:, 0].tolist()]
    earliest = 0
    if not onsets:
        onsets = [0]
    for onset in onsets:
        if onset >= earliest:
            yield onset
            earliest = onset + length
