"""What a logger may take beside scalars. Loggers that take it have the method."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from common.evaluation.media_files import MediaFile
from common.results import Results


@runtime_checkable
class TakesMedia(Protocol):
    """A logger of pictures, tables and sounds."""

    def log_media(self, folder: Path, files: Sequence[MediaFile]) -> None:
        """Logs files of a folder, each at its step."""


@runtime_checkable
class TakesResults(Protocol):
    """A logger of the figures of a test."""

    def log_results(self, results: Results) -> None:
        """Logs the figures with their errors, and what identifies the run."""


@runtime_checkable
class TakesArtifacts(Protocol):
    """A logger of the files that a training leaves."""

    def log_artifacts(self, checkpoint: Path, data: Mapping[str, Any]) -> None:
        """Logs a checkpoint, and the fingerprint and the sizes of the data that it was trained on."""
