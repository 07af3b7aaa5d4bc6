"""Real tunes, few of them, rendered once for all tests of audio; and a judge that trains in seconds."""

import numpy as np
import pytest
import soundfile

from modalities.audio.data import Tunes
from modalities.audio.evaluation.judge import AudioJudge


@pytest.fixture(scope="package", autouse=True)
def _audio_cache(tmp_path_factory):
    """A cache of the tests' own, and judges of few steps, for the tests of audio alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_CACHE", str(tmp_path_factory.mktemp("audio-cache")))
        patch.setattr(AudioJudge.fit, "__defaults__", (60, 32, 0))
        yield


@pytest.fixture(scope="package")
def tunes():
    """Some of the embedded tunes on two instruments."""
    return Tunes(limit=240, clips=2, instruments=["piano", "flute"], shares=(0.15, 0.2), batch_size=16)


@pytest.fixture
def tone():
    """Writes a sound file: a tone of some Hz with a pulse of four a second."""

    def write(path, hertz=440.0, seconds=1.0, rate=8000, channels=1, gain=0.3):
        path.parent.mkdir(parents=True, exist_ok=True)
        time = np.arange(int(seconds * rate)) / rate
        wave = gain * np.sin(2 * np.pi * hertz * time) * (0.3 + 0.7 * (time * 4 % 1 < 0.5))
        soundfile.write(path, np.repeat(wave[:, None], channels, 1), rate)
        return path

    return write
