"""Sweeps: their specifications, in the syntax of W&B's sweeps, and the command lines of their trials.

The same file is read by `wandb sweep`: `program` is the training script, `command` has its configurations, and
`parameters` has what is searched. A parameter with one `value` is an option of the sweep alone, such as its budget.
"""

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from common.comparison.specification import Plain, as_options, read_specification

ARGS = "${args}"  # what W&B's agent and this suite replace by `--name=value` of each parameter
PROGRAM = "${program}"
OWN = ("run.root", "run.name", "run.id")  # options that the sweep decides


@dataclass(frozen=True)
class Metric:
    """What is searched for.

    Attributes:
        name: a column of metrics.csv that is measured in validation.
        goal: which direction is better.
    """

    name: str
    goal: Literal["maximize", "minimize"]


@dataclass(frozen=True)
class EarlyTerminate:
    """When a training without prospects is stopped. An iteration is a validation.

    Attributes:
        type: `hyperband`, as in W&B, or `median`, which W&B does not know.
        min_iter: validations that every training may have.
        max_iter: most validations of a training, for hyperband; None is that of the first one that has finished.
        eta: of the trainings that hyperband compares, one in so many goes on.
        s: number of hyperband's brackets, which W&B reads.
        strict: which W&B reads.
    """

    type: Literal["hyperband", "median"]
    min_iter: int = 1
    max_iter: int | None = None
    eta: int = 3
    s: int | None = None
    strict: bool | None = None


@dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
        program: training script.
        command: words of the command line, with `${program}`, `fit`, `--config` and `${args}`.
        method: how options are chosen: all combinations, at random, or by what earlier trials gave (TPE).
        metric: what is searched for.
        parameters: dotted option -> what is searched, or its one `value`.
        run_cap: most trials.
        early_terminate: when a training is stopped early.
        name: what the sweep is called.
        description: what it asks.
        project: project at W&B.
        entity: account or team at W&B.
    """

    program: str
    command: list[str]
    method: Literal["grid", "random", "bayes"]
    metric: Metric
    parameters: dict[str, dict[str, Plain]]
    run_cap: int | None = None
    early_terminate: EarlyTerminate | None = None
    name: str = ""
    description: str = ""
    project: str | None = None
    entity: str | None = None
    path: Path = field(default=Path(), repr=False)

    @property
    def modality(self) -> str:
        """The folder of its runs, after the training script."""
        return Path(self.program).stem.removeprefix("train_")

    @property
    def words(self) -> list[str]:
        """The command line after the script, with `${args}` in it."""
        return self.command[self.command.index(PROGRAM) + 1 :]

    @property
    def configs(self) -> list[str]:
        """The configurations."""
        words = self.words
        following = [after for word, after in itertools.pairwise(words) if word == "--config"]
        return following + [word.removeprefix("--config=") for word in words if word.startswith("--config=")]

    def command_line(self, options: Mapping[str, Any]) -> list[str]:
        """The training script and its arguments, where parameters have these values."""
        line = [self.program]
        for word in self.words:
            line += as_options(dict(options)) if word == ARGS else [word]
        return line

    def identity(self) -> dict[str, Any]:
        """What determines the outcome of its trials, by the name that a message gives it."""
        early = self.early_terminate
        content: dict[str, Any] = {"program": self.program, "method": self.method, "command": self.command}
        content |= {"metric": f"{self.metric.goal} {self.metric.name}"}
        content |= {
            "early_terminate": None if early is None else [early.type, early.min_iter, early.max_iter, early.eta]
        }
        content |= {f"parameters.{name}": entry for name, entry in self.parameters.items()}
        return content | {config: hashlib.sha256(Path(config).read_bytes()).hexdigest()[:12] for config in self.configs}


def read_sweep(path: Path) -> Sweep:
    """A sweep's specification from its file.

    Raises:
        ValueError: if the file is missing, a field is unknown or of the wrong type, or `command` is not understood; the
            message names it.
    """
    sweep = replace(read_specification(Sweep, path, "sweep"), path=path)
    # As W&B reads it: there 1e-4 is a text, which `space` refuses.
    sweep = replace(sweep, parameters=yaml.safe_load(path.read_text())["parameters"])
    if problem := _problem(sweep):
        raise ValueError(f"{path}: {problem}")
    return sweep


def _problem(sweep: Sweep) -> str | None:
    """What is wrong with a specification; None if nothing is."""
    command = sweep.command
    if command.count(PROGRAM) != 1 or command.count(ARGS) != 1 or sweep.words[:1] != ["fit"]:
        return f"command must have {PROGRAM}, fit, the configurations and {ARGS}, in this order"
    if strange := [word for word in sweep.words if "${" in word and word != ARGS]:
        return f"command: {strange[0]} is not understood, only {ARGS} is"
    if not Path(sweep.program).is_file():
        return f"program: there is no script {sweep.program}"
    if missing := [config for config in sweep.configs if not Path(config).is_file()]:
        return f"command: there is no configuration {missing[0]}"
    given = {word.partition("=")[0].removeprefix("--") for word in sweep.words} | sweep.parameters.keys()
    if own := [name for name in OWN if name in given]:
        return f"{own[0]} is decided by the sweep: leave it out"
    if not sweep.metric.name.startswith("val/"):
        return f"metric.name {sweep.metric.name}: options are chosen by a figure of validation, such as val/elbo"
    if sweep.run_cap is not None and sweep.run_cap < 1:
        return f"run_cap must be at least 1; got {sweep.run_cap}"
    return None
