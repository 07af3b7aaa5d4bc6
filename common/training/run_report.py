"""Results printed as tables: one run, or the mean and standard deviation of several."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.results import Group, Measurement, Results, Summary, aggregate, find

PREFERRED = ("test/nll", "test/kl", "test/control_accuracy", "test/judge_accuracy", "test/leakage")
COMMON = 5  # columns where no result has a preferred one
SECTIONS = ("model", "data", "subset", "trainer", "averaging", "weights")  # of a configuration: what tells runs apart
FILES = (
    ("results", "results.json"),
    ("metrics", "metrics.csv"),
    ("configuration", "config.yaml"),
    ("best checkpoint", "checkpoints/best.ckpt"),
    ("pictures", "samples"),
    ("W&B", "wandb"),
)


def print_run(folder: Path) -> None:
    """Prints a run's measurements and the paths of its files."""
    console = _console()
    path = folder / "results.json"
    if path.exists():
        results = Results.read(path)
        table = Table(title=f"{results.run.modality} / {results.run.name} / {results.run.id}", title_justify="left")
        for column in ("metric", "value", "± error", "unit", "n"):
            table.add_column(column, no_wrap=True)
        table.add_column("estimator")
        for name, figure in results.metrics.items():
            table.add_row(name, *_cells(figure))
        console.print(table)
        run = results.run
        console.print(
            f"trained {run.seconds:.0f} s on {run.device}, {run.parameters:,} parameters, peak memory "
            f"{run.peak_memory_mb:.0f} MB, data {run.data_fingerprint}, revision {run.git}"
        )
        for what, reason in results.failed.items():
            console.print(f"not measured: {what} ({reason})", soft_wrap=True, highlight=False)
    for label, name in FILES:
        if (folder / name).exists():
            console.print(f"{label:>16}  {folder / name}", soft_wrap=True, highlight=False)


def print_next(folder: Path, script: str, condition: str, suffix: str) -> None:
    """Prints the next commands to try with a run.

    Args:
        folder: its folder.
        script: its training script.
        condition: a condition that its model knows, `name=value`, or an empty text.
        suffix: suffix of what the modality writes.
    """
    checkpoint = folder / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():
        return
    asked = f" --condition {condition}" if condition else ""
    console = _console()
    console.print("next:")
    for words in (
        f"scripts/generate.py --ckpt {checkpoint}{asked} --out samples{suffix}",
        f"scripts/{script} predict --config {folder / 'config.yaml'} --ckpt_path {checkpoint}",
        f"scripts/report.py {folder} --out {folder / 'report'}",
    ):
        console.print(f"  python {words}", soft_wrap=True, highlight=False)


def _console() -> Console:
    """A console of the terminal's width; for a file or a pipe, wide enough for whole rows."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _cells(figure: Measurement) -> list[str]:
    error = "" if figure.stderr is None else f"{figure.stderr:.2g}"
    return [f"{figure.value:.4g}", error, figure.unit, str(figure.n), figure.estimator]


def print_report(root: Path, metrics: list[str] | None = None, whole: bool = False) -> None:
    """Prints the runs below a folder as a table, or everything about one run.

    Args:
        root: folder of runs, or the folder of one run.
        metrics: columns of the table; None prints a run's own folder whole, and chooses columns for other folders.
        whole: whether `root` is the folder of one run, to be printed whole whether or not it has results.

    Raises:
        ValueError: if there is no such folder, nothing in it to print, or no result with one of the metrics.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise ValueError(f"{root} {problem}: name the folder of one run, or one that holds runs (see --run.root)")
    if whole and not any((root / name).exists() for _, name in FILES):
        raise ValueError(f"{root} is not the folder of a run: name the one that holds config.yaml and results.json")
    if whole or (metrics is None and (root / "results.json").exists()):
        print_run(root)
    else:
        print_runs(root, metrics)


def print_runs(root: Path, metrics: list[str] | None = None) -> None:
    """Prints mean, standard deviation and number of runs of some metrics.

    Runs that differ in nothing but their seed are a row. Rows of the same name say what differs between them.

    Args:
        root: folder that holds runs at any depth.
        metrics: columns; None takes those of `PREFERRED` that exist, or else the first that all results have.

    Raises:
        ValueError: if there is no result, or none with one of the metrics.
    """
    found = find(root)
    if not found:
        raise ValueError(
            f"no results.json below {root}: a training writes one when it ends with its test (run.test), and "
            "train_<modality>.py test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt writes it later"
        )
    rows = aggregate(found.values())
    columns = default_metrics(rows.values()) if metrics is None else metrics
    known = sorted({metric for row in rows.values() for metric in row})
    unknown = [metric for metric in columns if metric not in known]
    if unknown:
        close = [match for metric in unknown for match in difflib.get_close_matches(metric, known, n=3)]
        listed = ", ".join(dict.fromkeys([*close, *known])) or "none"
        raise ValueError(f"no result has {', '.join(unknown)}; there are: {listed}")
    folders: dict[Group, list[Path]] = {}
    for folder, result in found.items():
        folders.setdefault(Group.of(result.run), []).append(folder)
    named: dict[tuple[str, str], list[Group]] = {}
    for group in rows:
        named.setdefault((group.modality, group.name), []).append(group)
    telling = any(len(groups) > 1 for groups in named.values())
    modalities = len({modality for modality, _ in named}) > 1
    table = Table(
        title="mean ± standard deviation over runs of one configuration and data (number of runs)", title_justify="left"
    )
    for column in ["run", "what differs"] if telling else ["run"]:
        table.add_column(column, overflow="fold")
    for metric in columns:
        table.add_column(metric)
    for (modality, name), groups in named.items():
        several = len(groups) > 1  # reading a configuration takes a while
        differing = differences({group: set_options(folders[group]) if several else None for group in groups})
        for group in groups:
            first = [f"{modality}/{name}" if modalities else name, *([differing[group]] if telling else [])]
            figures = [str(rows[group].get(metric, "-")) for metric in columns]
            table.add_row(*(Text(cell) for cell in [*first, *figures]))
    _console().print(table)


def default_metrics(rows: Iterable[Mapping[str, Summary]]) -> list[str]:
    """The columns of a table that was asked for none: they exist, whatever the results are.

    Args:
        rows: metric -> summary, for each row.
    """
    rows = [row for row in rows if row]
    every = list(dict.fromkeys(metric for row in rows for metric in row))
    preferred = [metric for metric in PREFERRED if metric in every]
    shared = [metric for metric in every if all(metric in row for row in rows)]
    return preferred or (shared or every)[:COMMON]


def differences(options: Mapping[Group, Mapping[str, Any] | None]) -> dict[Group, str]:
    """What tells groups of runs of one name apart, in words: options, and what no option explains.

    Where two groups with the same options have different data or hashes of their configuration, these are named.

    Args:
        options: the set options of each group by dotted name; None where they are not known.
    """
    known = [chosen for chosen in options.values() if chosen is not None]
    names = options_that_differ(known)
    data_names = [name for name in names if name.partition(".")[0] in ("data", "subset")]

    def alike(one: Group, other: Group, compared: list[str]) -> bool:
        first, second = options[one], options[other]
        return first is None or second is None or all(first.get(name) == second.get(name) for name in compared)

    pairs = [(one, other) for one in options for other in options]
    other_data = any(
        one.data_fingerprint != other.data_fingerprint and alike(one, other, data_names) for one, other in pairs
    )
    other_configuration = {
        one for one, other in pairs if one.config_hash != other.config_hash and alike(one, other, names)
    }
    labels = {}
    for group, chosen in options.items():
        parts = [] if chosen is None else [_text(name, chosen, known) for name in names]
        parts += [f"configuration {group.config_hash}"] if group in other_configuration else []
        parts += [f"data {group.data_fingerprint}"] if other_data else []
        labels[group] = ", ".join(part for part in parts if part)
    return labels


def options_that_differ(known: list[Mapping[str, Any]]) -> list[str]:
    """The dotted names of the options in which some configurations differ."""
    return [name for name in dict.fromkeys(name for chosen in known for name in chosen) if _differs(name, known)]


def _differs(name: str, known: list[Mapping[str, Any]]) -> bool:
    """Whether an option differs, and not only because one of the compared has a class that lacks it."""
    having = [chosen for chosen in known if name in chosen]
    unset = any(name not in chosen and _unset(name, chosen, known) for chosen in known)
    return unset or any(chosen[name] != having[0][name] for chosen in having)


def _unset(name: str, chosen: Mapping[str, Any], known: list[Mapping[str, Any]]) -> bool:
    """Whether an option that others set could have been set here too: they have the same classes above it."""
    return any(name in other and _classes(name, other) == _classes(name, chosen) for other in known)


def _classes(name: str, chosen: Mapping[str, Any]) -> list[Any]:
    parts = name.removesuffix(".class_path").split(".")
    return [chosen.get(".".join([*parts[:end], "class_path"])) for end in range(1, len(parts))]


def _text(name: str, chosen: Mapping[str, Any], known: list[Mapping[str, Any]]) -> str:
    """`option=value` as the command line takes it; empty where a class of this configuration lacks the option."""
    option = name.removesuffix(".class_path")
    if name not in chosen:
        return f"{option}=null" if _unset(name, chosen, known) else ""
    value = chosen[name]
    if option != name:
        paths = {str(other[name]) for other in known if name in other}
        if len({_last(path) for path in paths}) == len(paths):
            value = _last(str(value))
    return f"{option}={value if isinstance(value, str) else json.dumps(value, default=str)}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def set_options(folders: list[Path]) -> dict[str, Any] | None:
    """The set options of `SECTIONS`, from the first config.yaml in the folders of a group; None where there is none."""
    for folder in folders:
        path = folder / "config.yaml"
        if path.exists():
            try:
                content = yaml.safe_load(path.read_text())
            except (yaml.YAMLError, UnicodeDecodeError):
                continue  # a damaged file costs the row its explanation, not the reader the table
            if isinstance(content, dict):
                return dict(option for name in SECTIONS for option in _flat(content.get(name), name))
    return None


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The set options below one, by dotted name; those of the classes of a list by the class's name."""
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _flat(entry, name if key == "init_args" else f"{name}.{key}")
    elif (
        isinstance(value, list) and value and all(isinstance(entry, dict) and "class_path" in entry for entry in value)
    ):
        for entry in value:
            yield from _flat(entry, f"{name}.{_last(str(entry['class_path']))}")
    elif value is not None:
        yield name, value


def print_rows(title: str, rows: dict[str, dict[str, Measurement]]) -> None:
    """Prints a table with a row for each system and a column for each figure."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table("", *columns, title=title, title_justify="left")
    for name, row in rows.items():
        cells = [row.get(column) for column in columns]
        table.add_row(name, *("-" if cell is None else _with_error(cell) for cell in cells))
    _console().print(table)
    for estimator in dict.fromkeys(
        f"{name}: {figure.estimator}" for row in rows.values() for name, figure in row.items()
    ):
        _console().print(estimator, highlight=False, soft_wrap=True)


def _with_error(figure: Measurement) -> str:
    return f"{figure.value:.4g}" + (f" ± {figure.stderr:.2g}" if figure.stderr is not None else "")
