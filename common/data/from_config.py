"""DataModules from the configuration of a run or from command-line options."""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

from common.command_line import one_line
from common.configurable import check_classes, check_trusted, guarded_names
from common.data.datamodule import ConditionalDataModule
from common.data.subset import Subset
from common.data.terms import Terms


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    parser.add_argument("--subset", type=Subset, default=Subset())
    return parser


def data_from_options(options: Sequence[str]) -> ConditionalDataModule:
    """The DataModule that `--data...` options describe, without a subset."""
    parser = _parser()
    with guarded_names():
        parsed = parser.parse_args(list(options))
        check_classes(parsed.as_dict())
        return parser.instantiate(parsed).data


def data_from_configuration(
    configuration: Path | Mapping[str, Any], terms: Terms | None = None
) -> ConditionalDataModule:
    """The DataModule of a run's configuration, with the subset that it is trained on.

    Args:
        configuration: the configuration, or its file.
        terms: terms of a checkpoint, in which the data are read; None learns them from the data.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it configures no data.
    """
    content: Any = configuration
    if isinstance(configuration, Path):
        if not configuration.exists():
            raise FileNotFoundError(f"{configuration} does not exist: name the configuration of the data with --config")
        try:
            content = yaml.safe_load(configuration.read_text())
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"{configuration} is no YAML: {error}") from error
    source = configuration if isinstance(configuration, Path) else "the configuration of the checkpoint"
    if not isinstance(content, Mapping) or not content.get("data"):
        raise ValueError(f"{source} configures no data: it needs a section `data` with a class_path")
    sections = {name: content[name] for name in ("data", "subset") if name in content}
    if content is configuration:  # that of a checkpoint, which may be a stranger's
        check_trusted(sections)
    parser = _parser()
    try:
        with guarded_names():
            parsed = parser.parse_object(sections)
            check_classes(parsed.as_dict())
            parts: Any = parser.instantiate(parsed)
    except (ArgumentError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{source}: {one_line(error)}") from error
    if terms is not None:
        parts.data.adopt(terms)
    try:
        parts.subset.take_from(parts.data)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return parts.data
