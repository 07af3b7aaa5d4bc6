"""Audio data: sources of clips, and the DataModules."""

from modalities.audio.data.datamodules import GTZAN, SPEECHCOMMANDS, AudioData, AudioFiles, RecordedAudio, Tunes

__all__ = ["GTZAN", "SPEECHCOMMANDS", "AudioData", "AudioFiles", "RecordedAudio", "Tunes"]
