"""Sound files decoded from the beginning to the end, whatever their header says of the length."""

import re
from pathlib import Path
from types import TracebackType

import soundfile
import torch
from torch import Tensor

from modalities.audio.signal.containers import UNKNOWN, Span, SpanFile, spans
from modalities.audio.signal.resampling import RATES

SILENT = 1e-4  # root mean square below which a sound counts as silence: -80 dB
CANCELLED = 0.02  # level of the mean of channels against that of the loudest one below which they cancel: -34 dB
ENDLESS = 2**62  # libsndfile's number of frames where it does not know it
SLACK = 2304  # frames that an MP3 may lack: its first two MPEG frames may need bits of frames before them
BLOCK_SECONDS = 20.0  # length of the blocks in which a file is read
BLOCK_SAMPLES = 2**24  # most samples of a block, of all channels
CHANNELS = 128  # more are no recording's, but a header's that lies
CONVERT = "convert it to WAV or FLAC (ffmpeg -i in.m4a out.wav)"  # what is left for formats that libsndfile lacks

# Lengths in libsndfile's log that lie beyond the end of the file: of W64, RF64, AIFF and AU.
_BEYOND = re.compile(r"^ *(?:riff|Riff size|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)


class _Stream(soundfile.SoundFile):
    """A file that is read on: soundfile seeks after every block otherwise, which fails where the length is unknown."""

    def seekable(self) -> bool:
        """No."""
        return False


class Sound:
    """A sound file, decoded block by block.

    Attributes:
        file: the file.
        rate: its sample rate, Hz.
        position: frames that were read.
        one_channel: whether channels cancelled each other in what was read, so that the louder one stands for them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it cannot be read, is truncated, holds no sound, or has samples that are no
            numbers; from the constructor or while it is read.
    """

    _stream: _Stream
    _source: SpanFile | None

    def __init__(self, file: Path) -> None:
        if not file.exists():
            raise FileNotFoundError(f"{file} does not exist")
        if file.is_dir():
            raise ValueError(f"{file} is a folder: name a sound file")
        self.file, self.one_channel = file, False
        self._spans: list[Span | None] = [*spans(file)] or [None]
        self.rewind()
        self.rate: int = self._stream.samplerate
        if (channels := self._stream.channels) > CHANNELS:
            self.close()
            raise ValueError(
                f"{file} declares {channels:,} channels, more than {CHANNELS}: correct its header, or remove it"
            )
        if not RATES[0] <= self.rate <= RATES[1]:
            self.close()
            raise ValueError(
                f"{file} declares {self.rate:,} Hz; sound has {RATES[0]:,} to {RATES[1]:,}: correct its header, or "
                "remove it"
            )

    def __enter__(self) -> "Sound":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
        if self._source is not None:
            self._source.close()

    def rewind(self) -> None:
        """Begins anew."""
        self.position, self._part = 0, 0
        self._open()

    def read(self, length: int) -> Tensor:
        """The next frames as one channel [n] without its mean; n is below `length` at the end alone."""
        blocks, missing = [], length
        while missing and len(block := self._block(min(missing, self._longest))):
            blocks.append(block)
            missing -= len(block)
        if not blocks:
            if self.position == 0:
                raise ValueError(f"{self.file} holds no sound: it has no samples. Remove or replace it")
            return torch.zeros(0)
        wave, cancel = as_one_channel(torch.cat(blocks))
        self.one_channel = self.one_channel or cancel
        return wave

    def skip(self, frames: int) -> None:
        """Reads on without a result."""
        while frames > 0 and (count := len(self._block(min(frames, self._longest)))):
            frames -= count

    @property
    def _longest(self) -> int:
        """Frames of a block: soundfile makes room for all of them, whatever the file holds."""
        return max(1, min(round(BLOCK_SECONDS * self.rate), BLOCK_SAMPLES // self._stream.channels))

    def _block(self, length: int) -> Tensor:
        """The next frames [n, channels]; none at the end."""
        try:
            block = torch.from_numpy(self._stream.read(length, dtype="float32", always_2d=True))
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise ValueError(f"{self.file} is damaged ({error}): remove or replace it") from None
        if not block.isfinite().all():
            first = int((~block.isfinite()).any(1).nonzero()[0])
            raise ValueError(
                f"{self.file} holds samples that are no numbers (NaN or infinite), the first at "
                f"{(self.position + first) / self.rate:.3f} s: remove or replace it"
            )
        self.position += len(block)
        self._decoded += len(block)
        if len(block):
            return block
        mpeg = "MPEG" in self._stream.subtype
        missing = 0 if self._stream.frames > ENDLESS else self._stream.frames - self._decoded
        if missing > SLACK * mpeg:
            raise ValueError(f"{self.file} is truncated: {missing} frames are missing. Remove or replace it")
        if self._part + 1 == len(self._spans):
            return block
        self._part += 1
        before = self._stream.samplerate, self._stream.channels
        self._open()
        if before != (self._stream.samplerate, self._stream.channels):
            raise ValueError(f"{self.file} changes its sample rate or channels: split it, or write it anew")
        return self._block(length)

    def _open(self) -> None:
        """Opens the current span."""
        if "_stream" in self.__dict__:
            self.close()
        span = self._spans[self._part]
        self._source = None if span is None else SpanFile(self.file, span)
        try:
            self._stream = _Stream(self._source or self.file)
        except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
            why = getattr(error, "error_string", str(error)).rstrip(".")
            if why.startswith("File does not exist"):  # what libsndfile says of anything called .mp3
                why = "Format not recognised"
            raise ValueError(f"{self.file} cannot be read as sound ({why}): {CONVERT}, or remove it") from None
        self._decoded = 0
        for declared, actual in _BEYOND.findall(self._stream.extra_info):
            if int(actual) < int(declared) < UNKNOWN:
                self.close()
                raise ValueError(
                    f"{self.file} is truncated: {int(declared) - int(actual)} bytes are missing. Remove or replace it"
                )


def as_one_channel(block: Tensor) -> tuple[Tensor, bool]:
    """The mean of channels [n, channels] as [n], without its own mean, which is no sound but would count as level.

    Where the channels cancel each other, as those of a microphone with inverted poles do, it is the louder channel.

    Returns:
        The sound, and whether channels cancel.
    """
    wave = block.mean(1)
    wave = wave - wave.mean()
    if block.shape[1] == 1:
        return wave, False
    channels = block - block.mean(0)
    level = channels.square().mean(0).sqrt()
    loudest = int(level.argmax())
    if level[loudest] < SILENT or wave.square().mean().sqrt() >= CANCELLED * level[loudest]:
        return wave, False
    return channels[:, loudest], True
