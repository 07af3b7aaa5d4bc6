"""DataModules from the configuration of a run or from command-line options."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule

from common.data.datamodule import ConditionalDataModule
from common.data.subset import Subset


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    parser.add_argument("--subset", type=Subset, default=Subset())
    return parser


def data_from_options(options: Sequence[str]) -> ConditionalDataModule:
    """The DataModule that `--data...` options describe, without a subset."""
    parser = _parser()
    return parser.instantiate(parser.parse_args(list(options))).data


def data_of_run(checkpoint: Path, config: Path | None = None) -> ConditionalDataModule:
    """The DataModule of a run, with the subset that it was trained on.

    Args:
        checkpoint: a checkpoint inside its run folder.
        config: the run's configuration; None takes the one in the run folder.

    Raises:
        FileNotFoundError: if the run has no config.yaml.
    """
    config = config or checkpoint.resolve().parent.parent / "config.yaml"
    if not config.exists():
        raise FileNotFoundError(f"{config} does not exist: name the run's configuration with --config")
    content = yaml.safe_load(config.read_text())
    parser = _parser()
    parts: Any = parser.instantiate(
        parser.parse_object({name: content[name] for name in ("data", "subset") if name in content})
    )
    parts.subset.take_from(parts.data)
    return parts.data
