"""A checkpoint with all that scripts need: model, file format and report."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from common.configurable import trusted
from common.data.datamodule import ConditionalDataModule
from common.data.from_config import data_from_configuration
from common.data.terms import Terms
from common.evaluation.report import Report
from common.model.files import FileFormat, OnLong, RowOptions
from common.training.checkpoint import model_of, read_checkpoint, terms_of
from common.training.module import ConditionalELBO

Part = TypeVar("Part", FileFormat, Report)


@dataclass(frozen=True)
class Restored:
    """A checkpoint with all that scripts need.

    Attributes:
        path: the checkpoint.
        model: the model, in evaluation mode.
        parts: class paths by name: `files`, the modality's file format, and `report`.
        terms: the terms in which the model knows its data.
        configuration: the configuration of its run; empty where a plain `Trainer` wrote the checkpoint.
    """

    path: Path
    model: ConditionalELBO
    parts: dict[str, str]
    terms: Terms | None
    configuration: dict[str, Any]

    def data(self, config: Path | None = None) -> ConditionalDataModule:
        """The data of the run, or those of another configuration, in the model's terms.

        Raises:
            ValueError: if the checkpoint has no configuration, or the data have what the model does not know.
        """
        if config is None and not self.configuration:
            raise ValueError(f"{self.path} does not say what it was trained on: name a configuration with --config")
        return data_from_configuration(self.configuration if config is None else config, self.terms)

    @cached_property
    def files(self) -> FileFormat:
        """How examples are read from files and written to them."""
        files = self._part("files", FileFormat)
        files.learned = {} if self.terms is None else self.terms.learned
        return files

    @cached_property
    def report(self) -> Report:
        """The figures and media that only the modality has."""
        return self._part("report", Report)

    def row_options(self, column: str | None, on_long: OnLong | None) -> RowOptions:
        """How files of texts are read: by the column that is named, or else that of the model's own data."""
        usual = self.configuration.get("data", {}).get("init_args", {}).get("text")
        return RowOptions(column, [usual] if usual else [], on_long or "error")

    def _part(self, name: str, base: type[Part]) -> Part:
        """An instance of the class that the checkpoint names, or of the base where a plain `Trainer` wrote it.

        Raises:
            TypeError: if the class is of another kind.
        """
        if name not in self.parts:
            return base()
        cls = trusted(self.parts[name])
        if not issubclass(cls, base):
            raise TypeError(f"{self.parts[name]} is no {base.__name__}: refused to build it from a checkpoint")
        return cls()


def restore(path: Path | str, map_location: Any = "cpu") -> Restored:
    """Model, file format and report of a checkpoint.

    Raises:
        ValueError: as `rebuild`.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path, map_location)
    model = model_of(checkpoint, ConditionalELBO, path, map_location, {})
    parts: dict[str, str] = {name: checkpoint[name] for name in ("files", "report") if name in checkpoint}
    return Restored(path, model, parts, terms_of(checkpoint), checkpoint.get("configuration", {}))
