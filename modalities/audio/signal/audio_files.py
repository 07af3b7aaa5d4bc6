"""Sound files: cutting them into clips, reading them whole, and writing them at the common level."""

import io
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Literal

import soundfile
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.data.folders import Found, files_below
from common.paths import written_whole
from common.table_files.limits import most_bytes, too_large
from modalities.audio.signal.decoding import BLOCK_SECONDS, CONVERT, SILENT, Sound
from modalities.audio.signal.features import LogMel, levelled
from modalities.audio.signal.onsets import onset_strength
from modalities.audio.signal.resampling import resample

SUFFIXES = {
    ".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd",
    ".caf",
}  # fmt: skip
WRITTEN = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au", ".caf", ".w64")  # what `write_sound` writes
UNREADABLE = {".m4a", ".m4b", ".mp4", ".aac", ".wma", ".amr", ".webm", ".ape", ".wv", ".mka", ".ra"}
SAMPLE = 4  # bytes
PEAK = 0.98  # largest absolute sample that is written
CANCEL = "channels cancel each other, so that the louder one was taken"
READING = 2  # raise it when the same file gives other clips


def sound_files(root: Path) -> Found:
    """All sound files below a folder, as in `files_below`.

    Raises:
        FileNotFoundError: as there; where there are files of formats that are not decoded, it says what to do.
    """
    try:
        return files_below(root, SUFFIXES, "sound file")
    except FileNotFoundError as error:
        if any(f" {suffix}" in str(error).partition("passed over")[2] for suffix in UNREADABLE):
            raise FileNotFoundError(f"{error}: {CONVERT}") from None
        raise


def reading_notes(found: Found) -> list[str]:
    """What was passed over below a folder, and what to do about sound that is not decoded."""
    unread = sorted(UNREADABLE & found.passed_over.keys())
    return [*found.notes(), *([f"{', '.join(unread)} is not decoded: {CONVERT}"] if unread else [])]


def clips(
    file: Path | Sound, features: LogMel, cut: Literal["time", "onset"] = "time", shortest: float = 0.5
) -> Iterator[Tensor]:
    """Clips [features.samples] of a file, in order, at the model's sample rate and the common level.

    Channels are averaged, the mean of a clip is taken from it, and silent clips are skipped. A last clip, or a whole
    file, that is shorter is padded with silence; a last clip below the least length is left out. Only a few seconds are
    in memory at once.

    Args:
        file: any format of libsndfile.
        features: length and sample rate of the clips.
        cut: "time" cuts clips back to back, "onset" starts each at the first onset after the end of the previous one.
        shortest: least length of a last clip, as a share of a full clip; the first clip of a file may be shorter.

    Raises:
        ValueError: if the file cannot be read, is truncated, or holds nothing but silence.
    """
    with file if isinstance(file, Sound) else Sound(file) as sound:
        length = max(1, round(features.samples * sound.rate / features.sample_rate))
        starts: Iterator[int] = count(0, length)
        if cut == "onset":
            starts = iter(_onset_starts(sound, features, length))
            sound.rewind()
        found = 0
        for start in starts:
            sound.skip(start - sound.position)
            native = sound.read(length)
            if len(native) == 0 or (len(native) < shortest * length and start > 0):
                break
            clip = resample(native, sound.rate, features.sample_rate)[: features.samples]
            if clip.square().mean().sqrt() < SILENT:
                continue
            found += 1
            yield torch.nn.functional.pad(levelled(clip), (0, features.samples - len(clip)))
        if not found:
            raise ValueError(f"{sound.file} holds nothing but silence: remove it")


def read_sound(file: Path, sample_rate: int) -> Tensor:
    """A whole file as a waveform [T] at a sample rate, channels averaged, at the common level.

    Raises:
        ValueError: if the file cannot be read, is truncated, or holds nothing but silence.
    """
    with Sound(file) as sound:
        # In blocks, each with a second of its neighbours: a whole second begins with a sample at any rate.
        pieces, length, rate = [], round(BLOCK_SECONDS) * sound.rate, sound.rate
        before, block = torch.zeros(0), sound.read(length)
        limit = most_bytes(file)
        while len(block):
            if SAMPLE * sound.position * sample_rate / rate > limit:
                raise too_large(file, "is a sound of", limit)
            after = sound.read(length)
            piece = resample(torch.cat([before, block, after[:rate]]), rate, sample_rate)
            start = sample_rate if len(before) else 0
            pieces.append(piece[start : start - (-len(block) * sample_rate // rate)])
            before, block = block[-rate:], after
        whole = torch.cat(pieces)
        if sound.one_channel:
            rank_zero_warn(f"{file}: its {CANCEL}", category=UserWarning)
    if whole.square().mean().sqrt() < SILENT:
        raise ValueError(f"{file} holds nothing but silence")
    return levelled(whole)


def decoded_seconds(file: Path) -> float:
    """How long the sound of a file is, by decoding it to its end."""
    with Sound(file) as sound:
        sound.skip(2**62)
        return sound.position / sound.rate


def write_sound(waveform: Tensor, path: Path, sample_rate: int) -> None:
    """Writes a waveform [T] as a 16-bit file at the common level, or lower if its peaks would clip.

    Raises:
        ValueError: for a suffix that libsndfile cannot write.
    """
    sound = levelled(waveform.detach().float().cpu())
    sound = sound * (PEAK / sound.abs().amax().clamp_min(PEAK))
    encoded = io.BytesIO()  # libsndfile's errors of a disk say no more than "System error"
    try:
        soundfile.write(encoded, sound.numpy(), sample_rate, format=path.suffix[1:])
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: sound is written as {', '.join(WRITTEN)}, or into a folder ({error})") from None
    with written_whole(path) as partial:
        partial.write_bytes(encoded.getbuffer())


def _onset_starts(sound: Sound, features: LogMel, length: int) -> list[int]:
    """First frames, at the file's sample rate, of clips that begin at onsets and do not overlap."""
    step = round(BLOCK_SECONDS * sound.rate)
    onsets: list[int] = []
    while len(block := sound.read(step)):
        log_mel = features.log_mel(resample(block, sound.rate, features.sample_rate))
        if log_mel.shape[-1] < 2:  # the last block may be too short to rise from frame to frame
            continue
        strength = onset_strength(log_mel[None, None])[0]
        padded = torch.nn.functional.pad(strength, (1, 1))
        peaks = (strength >= padded[:-2]) & (strength > padded[2:]) & (strength > strength.mean() + strength.std())
        ratio, start = features.hop * sound.rate / features.sample_rate, sound.position - len(block)
        onsets += [start + round(max(0, position - 1) * ratio) for position in peaks.nonzero()[:, 0].tolist()]
    starts: list[int] = []
    for onset in onsets or [0]:
        if not starts or onset >= starts[-1] + length:
            starts.append(onset)
    return starts
