"""The runs of a page: which folders they are, what they are called, and what could be read of them."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from common.dashboard.curves import Curve, read_curves
from common.dashboard.media import media_of
from common.evaluation.media_files import MediaFile
from common.results import TESTS, Results
from common.training.run_report import set_options

MARKS = ("config.yaml", "metrics.csv", "results.json")  # a folder with one of these is a run
T = TypeVar("T")


@dataclass
class Run:
    """One run, with what could be read of it.

    Attributes:
        folder: its folder.
        label: what it is called on the page.
        results: its figures; None where there are none.
        curves: metric -> its values in training.
        options: the set options by dotted name; None where they are not known.
        media: what is in `samples/`.
    """

    folder: Path
    label: str
    results: Results | None = None
    curves: dict[str, Curve] = field(default_factory=dict)
    options: dict[str, Any] | None = None
    media: list[MediaFile] = field(default_factory=list)

    @property
    def modality(self) -> str:
        """Modality of its model; of a run without results, the name of the folder that all of its kind are in."""
        return self.results.run.modality if self.results else self.folder.absolute().parent.parent.name


class Problems:
    """What could not be read, in one line each; the page and the terminal say it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, path: Path, error: BaseException | str, missing: str) -> None:
        """Notes a file, what is wrong with it, and what the page therefore lacks."""
        reason = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        line = " ".join(f"{path}: {reason}".split())
        self.lines.append(f"{line[:300]}; not shown: {missing}")

    def attempt(self, path: Path, missing: str, read: Callable[[], T], otherwise: T) -> T:
        """What `read` returns, or `otherwise` if the file is damaged: one damaged file costs no page."""
        try:
            return read()
        except Exception as error:  # a reader may meet anything in a damaged file
            self.add(path, error, missing)
            return otherwise


def run_folders(paths: Iterable[Path]) -> list[Path]:
    """The folders of runs at or below some folders, without what lies inside of a run.

    Raises:
        ValueError: if a path is no folder, or has no run; the message names it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            problem = "is not a folder" if path.exists() else "does not exist"
            raise ValueError(f"{path} {problem}: name the folder of a run, or one that holds runs (see --run.root)")
        below = []
        for place, folders, files in os.walk(path):
            folders.sort()
            if any(name in files for name in MARKS):
                folders.clear()
                below.append(Path(place))
            folders[:] = [name for name in folders if name != TESTS and not name.startswith(".")]
        if not below:
            raise ValueError(f"no run below {path}: a run's folder has {', '.join(MARKS[:-1])} or {MARKS[-1]}")
        found |= {folder.resolve(): folder for folder in below}
    return list(found.values())


def read_runs(folders: Sequence[Path], problems: Problems, titles: dict[str, str] | None = None) -> list[Run]:
    """Reads runs, oldest first; what is damaged is noted and left out.

    Args:
        folders: their folders.
        problems: receives what could not be read.
        titles: id of a run -> what a table calls it.
    """
    runs = [_read_run(folder, problems) for folder in folders]
    runs.sort(key=lambda run: run.results.run.started if run.results else run.folder.name)
    for run, label in zip(runs, _labels(runs, titles or {}), strict=True):
        run.label = label
    return runs


def _read_run(folder: Path, problems: Problems) -> Run:
    run = Run(folder, folder.name)
    path = folder / "results.json"
    if path.exists():
        run.results = problems.attempt(path, "the final figures", lambda: Results.read(path), None)
    else:
        problems.add(path, "is not there: the run is in training, or was not tested", "the final figures")
    metrics = folder / "metrics.csv"
    if metrics.exists():
        run.curves = problems.attempt(metrics, "the curves", lambda: read_curves(metrics), {})
    configuration = folder / "config.yaml"
    if configuration.exists():
        missing = "what differs in its options"
        count = len(problems.lines)
        run.options = problems.attempt(configuration, missing, lambda: set_options([folder]), None)
        if run.options is None and len(problems.lines) == count:
            problems.add(configuration, "is damaged", missing)
    samples = folder / "samples"
    if samples.is_dir():
        run.media = problems.attempt(samples, "pictures, tables and sounds", lambda: media_of(samples), [])
    return run


# What stands in a label, in the order of its parts; the first choice that tells a run from the others is taken.
PARTS = (("name",), ("name", "seed"), ("name", "modality"), ("name", "modality", "seed"), ("name", "id"), ("folder",))


def _labels(runs: Sequence[Run], titles: dict[str, str]) -> list[str]:
    """What runs are called: their names, with as much else as tells them apart."""
    words = [_words(run, titles) for run in runs]
    labels = [""] * len(runs)
    open_runs = set(range(len(runs)))
    for parts in PARTS:
        tried = {n: " · ".join(words[n][part] for part in parts if words[n].get(part)) for n in open_runs}
        counts = Counter(tried.values())
        for number, label in tried.items():
            labels[number] = label
            if counts[label] == 1:
                open_runs.discard(number)
    return labels


def _words(run: Run, titles: dict[str, str]) -> dict[str, str]:
    words = {"name": run.folder.absolute().parent.name, "modality": run.modality, "id": run.folder.name}
    if run.results is not None:
        info = run.results.run
        words |= {"name": titles.get(info.id, info.name), "seed": f"seed {info.seed}", "id": info.id}
    return words | {"folder": str(run.folder)}
