"""Comparison tables: their specifications, and the cells (runs) that they need.

A specification is a YAML file: data and base configuration, rows that differ from it, columns, budgets with their
seeds, and published rows. `runner` runs its cells, and `rendering` renders the table.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from jsonargparse import ArgumentParser

from common.configurable import guarded_names
from common.data.from_config import data_from_options

FOLDER = "{folder}"  # placeholders in a row's own command
SEED = "{seed}"
EVALUATION = "model.evaluation"
MOST, TAG = 120, 64  # letters of a group and of a tag that W&B takes
# An option's value as YAML reads it. `Any` would build the object that a `class_path` names.
Plain = bool | int | float | str | list | dict | None


@dataclass(frozen=True)
class MetricColumn:
    """One figure of every run.

    Attributes:
        metric: name in results.json (`test/nll`), or `run/seconds` and `run/parameters`.
        title: heading; the metric's name where none is given.
        better: which direction is better; with none, no best value is marked.
        digits: decimal places.
        difference: in place of the figure, its paired difference from that of the first row of the group.
        brief: whether the column is part of the table in brief.
    """

    metric: str
    title: str = ""
    better: Literal["lower", "higher", "none"] = "none"
    digits: int = 2
    difference: bool = False
    brief: bool = False


@dataclass(frozen=True)
class Row:
    """How a row differs from the table's base.

    Attributes:
        configs: configurations added after the table's.
        set: dotted options, as on the command line of the training script.
        script: training script; None takes the table's.
        base: configurations in place of the table's and the budget's.
        budgets: name of a budget -> dotted options of this row alone.
        command: a command to run instead of a training, for baselines; None takes the table's, if it has one.
            `{folder}` and `{seed}` are filled in, and it must write `{folder}/results.json`.
        fill: name -> what stands for `{name}` in the command.
        group: rows are compared only with rows of the same group.
        seeds: name of a budget -> seeds in place of the budget's, for rows that cost much.
    """

    configs: list[str] = field(default_factory=list)
    set: dict[str, Plain] = field(default_factory=dict)
    script: str | None = None
    base: list[str] | None = None
    budgets: dict[str, dict[str, Plain]] = field(default_factory=dict)
    command: list[str] | None = None
    fill: dict[str, str] = field(default_factory=dict)
    group: str = ""
    seeds: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """A row of published figures.

    Attributes:
        values: metric -> figure.
        source: paper or page, and table.
        status: verified (read in the source), recalled (not checked), or measured (by us, with the authors' outputs).
        differences: how its protocol differs from ours.
    """

    values: dict[str, float]
    source: str
    status: Literal["verified", "recalled", "measured"]
    differences: str = ""


@dataclass(frozen=True)
class Budget:
    """Seeds and options of a table's runs, which determine its cost.

    Attributes:
        seeds: one run of each row for every seed.
        configs: configurations added after the table's.
        set: dotted options for every trained row.
    """

    seeds: list[int] = field(default_factory=lambda: [0])
    configs: list[str] = field(default_factory=list)
    set: dict[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A comparison table.

    Attributes:
        title: what is compared.
        script: training script of the rows.
        configs: base configurations.
        rows: title -> differences from the base.
        columns: the figures to show.
        budgets: name -> seeds and options.
        set: dotted options for every trained row.
        command: the command of rows without one, in a table without a script.
        published: title -> published figures.
        notes: what a reader needs to know.
    """

    title: str
    rows: dict[str, Row]
    columns: list[MetricColumn]
    budgets: dict[str, Budget]
    script: str = ""
    configs: list[str] = field(default_factory=list)
    set: dict[str, Plain] = field(default_factory=dict)
    command: list[str] | None = None
    published: dict[str, Published] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True)
class Cell:
    """One run of a table: a row under one seed.

    Attributes:
        row: title of the row.
        seed: seed of the run.
        command: its command line, without the interpreter.
        key: hash of what determines its outcome, except data, code and seed.
        folder: where it writes results.json.
        data: options that rebuild its data, for the fingerprint; None for a row with its own command.
        training: hash of what determines its weights: of the key, all but how they are tested.
    """

    row: str
    seed: int
    command: tuple[str, ...]
    key: str
    folder: Path
    data: tuple[str, ...] | None
    training: str = ""

    def __str__(self) -> str:
        return f"{self.row}, seed {self.seed}"


@cache
def data_fingerprint(data: tuple[str, ...] | None) -> str | None:
    """Fingerprint of the data that a cell's options describe; None for a row with its own command."""
    return None if data is None else str(data_from_options(data).fingerprint)


def read_table(path: Path) -> Table:
    """A table's specification from its file; see `read_specification`."""
    return read_specification(Table, path, "table")


T = TypeVar("T")


def read_specification(cls: type[T], path: Path, kind: str) -> T:
    """A dataclass from its YAML file.

    Args:
        cls: the dataclass.
        path: the file.
        kind: what the file specifies, for error messages.

    Raises:
        ValueError: if the file is missing, a field is unknown or of the wrong type; the message names it.
    """
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise ValueError(f"there is no {kind} {path}; in {path.parent}: {known}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls)
    try:
        with guarded_names():
            return cls(**parser.instantiate(parser.parse_path(str(path))).as_dict())
    except Exception as error:  # jsonargparse raises its own error with the field in its text
        raise ValueError(f"{path}: {error}") from error


def cells(table: Table, budget: str, root: Path) -> list[Cell]:
    """Every run that a table needs, seed by seed, so that complete tables of fewer seeds come first.

    Args:
        table: the specification.
        budget: name of one of its budgets.
        root: folder of runs; tables that share it run their common cells once.

    Raises:
        ValueError: if there is no such budget, or two rows share a name, or a configuration file is missing.
    """
    if budget not in table.budgets:
        raise ValueError(f"no budget {budget!r}; there are: {', '.join(table.budgets)}")
    slugs = [slug(title) for title in table.rows]
    if len(set(slugs)) < len(slugs):
        raise ValueError(f"titles of rows must differ in their letters and digits: {', '.join(table.rows)}")
    of_rows = {title: row.seeds.get(budget, table.budgets[budget].seeds) for title, row in table.rows.items()}
    return [
        _cell(table, title, table.rows[title], budget, seed, root)
        for seed in sorted({seed for seeds in of_rows.values() for seed in seeds})
        for title, seeds in of_rows.items() if seed in seeds
    ]  # fmt: skip


def _cell(table: Table, title: str, row: Row, budget: str, seed: int, root: Path) -> Cell:
    chosen = table.budgets[budget]
    own = row.command or table.command
    if own is not None:
        if row.set or row.configs or row.budgets:
            raise ValueError(f"row {title!r} runs a command, which takes no set, configs or budgets: leave them out")
        filled = [_filled(word, title, row.fill) for word in own]
        key = _hash({"command": filled})
        folder = _folder(root, title, f"{key}-s{seed}")
        command = [word.replace(FOLDER, str(folder)).replace(SEED, str(seed)) for word in filled]
        return Cell(title, seed, tuple(command), key, folder, None)
    configs = [*([*table.configs, *chosen.configs] if row.base is None else row.base), *row.configs]
    options = {**table.set, **chosen.set, **row.set, **row.budgets.get(budget, {})}
    script = row.script or table.script
    contents = [_read(config) for config in configs]
    key = _hash({"script": script, "config": contents, "set": options})
    training = _hash({"script": script, "config": [_trained(content) for content in contents],
                      "set": {name: value for name, value in options.items() if not _of_tests(name)}})  # fmt: skip
    # A training's folder is root / modality / name / id.
    folder = _folder(root / Path(script).stem.removeprefix("train_"), title, f"{key}-s{seed}")
    command = [script, "fit", *(word for config in configs for word in ("--config", config))]
    command += as_options(options)
    command += ["--seed_everything", str(seed), "--run.root", str(root), "--run.name", folder.parent.name]
    command += ["--run.id", folder.name, "--run.title", title]
    command += ["--wandb.group", table.title[:MOST], "--wandb.tags", json.dumps([title[:TAG], budget])]
    data = [word for content in contents if "data" in content for word in ("--data", json.dumps(content["data"]))]
    return Cell(title, seed, tuple(command), key, folder, tuple(data + as_options(options, "data.")), training)


def _filled(word: str, title: str, fill: dict[str, str]) -> str:
    """A word of a row's command with what the row fills in; folder and seed are left for later."""
    for name in re.findall(r"{(\w+)}", word):
        if f"{{{name}}}" not in (FOLDER, SEED):
            if name not in fill:
                raise ValueError(f"row {title!r} does not say what {{{name}}} is in its command: add it to its `fill`")
            word = word.replace(f"{{{name}}}", fill[name])
    return word


def _folder(parent: Path, title: str, identity: str) -> Path:
    """The folder of a run, under the title of the first table that needed it."""
    return min(parent.glob(f"*/{identity}"), default=parent / slug(title) / identity)


def _read(config: str) -> dict[str, Any]:
    """The model, data and training of a configuration."""
    if not Path(config).is_file():
        raise ValueError(f"there is no configuration {config}")
    content: dict[str, Any] = yaml.safe_load(Path(config).read_text()) or {}
    content.pop("run", None)
    return content


def _of_tests(option: str) -> bool:
    """Whether an option decides how a run is tested alone. The seed of evaluation is that of validation as well."""
    return option.startswith(f"{EVALUATION}.") and option != f"{EVALUATION}.seed"


def _trained(content: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what decides how a run is tested alone."""
    model = content.get("model", {})
    kept = {name: value for name, value in model.get("evaluation", {}).items() if not _of_tests(f"{EVALUATION}.{name}")}
    return {**content, "model": {**model, "evaluation": kept}}


def as_options(options: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted options as arguments of a command line."""
    return [
        f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in options.items()
        if name.startswith(prefix)
    ]


def slug(title: str) -> str:
    """A title as the name of a folder."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in title.lower()).split()) or "row"


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
