"""A checkpoint with all that scripts need: model, file format and report."""

import importlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from common.evaluation.report import Report
from common.model.files import FileFormat
from common.training.checkpoint import model_of, read_checkpoint
from common.training.module import ConditionalELBO

Part = TypeVar("Part", FileFormat, Report)


@dataclass(frozen=True)
class Restored:
    """A checkpoint with all that scripts need.

    Attributes:
        model: the model, in evaluation mode.
        parts: class paths by name: `files`, the modality's file format, and `report`.
    """

    model: ConditionalELBO
    parts: dict[str, str]

    @cached_property
    def files(self) -> FileFormat:
        """How examples are read from files and written to them."""
        return self._part("files", FileFormat)

    @cached_property
    def report(self) -> Report:
        """The figures and media that only the modality has."""
        return self._part("report", Report)

    def _part(self, name: str, base: type[Part]) -> Part:
        """An instance of the class that the checkpoint names, or of the base where a plain `Trainer` wrote it.

        Raises:
            TypeError: if the class is of another kind.
        """
        if name not in self.parts:
            return base()
        module, _, attribute = self.parts[name].rpartition(".")
        cls = getattr(importlib.import_module(module), attribute)
        if not (isinstance(cls, type) and issubclass(cls, base)):
            raise TypeError(f"{self.parts[name]} is no {base.__name__}: refused to build it from a checkpoint")
        return cls()


def restore(path: Path, map_location: Any = "cpu") -> Restored:
    """Model, file format and report of a checkpoint.

    Raises:
        ValueError: as `rebuild`.
    """
    checkpoint = read_checkpoint(path, map_location)
    model = model_of(checkpoint, ConditionalELBO, path, map_location, {})
    return Restored(model, {name: checkpoint[name] for name in ("files", "report") if name in checkpoint})
