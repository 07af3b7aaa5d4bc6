"""results.json: the record of one run that tables are made from. Never written by hand."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.clusters import by_group
from common.paths import written_whole

TESTS = "tests"  # folder in a run's folder, of tests on other data, of a part of them or of another checkpoint
EXAMPLES = "examples.npz"  # the figures of each test example, beside results.json


@dataclass(frozen=True)
class Measurement:
    """A figure with its standard error, sample count and estimator.

    Attributes:
        value: the figure.
        stderr: its standard error over examples; None where it is not a mean over examples.
        n: number of examples behind it.
        unit: nats, units, accuracy, ...
        estimator: how it was estimated, in words, with sample counts.
    """

    value: float
    stderr: float | None
    n: int
    unit: str
    estimator: str

    @property
    def finite(self) -> bool:
        """Whether value and standard error are finite."""
        return math.isfinite(self.value) and (self.stderr is None or math.isfinite(self.stderr))

    @staticmethod
    def mean(values: Tensor, unit: str, estimator: str, groups: Tensor | None = None) -> "Measurement":
        """Mean over examples [N] with its standard error; groups [N] of them are drawn as a whole."""
        values = values.double()
        apart = values if groups is None else torch.from_numpy(by_group(values.cpu().numpy(), groups.cpu().numpy()))
        stderr = (apart.std() / math.sqrt(len(apart))).item() if len(apart) > 1 else None
        how = estimator if len(apart) == len(values) else f"{estimator}, error of {len(apart)} groups"
        return Measurement(values.mean().item(), stderr, len(values), unit, how)

    @staticmethod
    def accuracy(correct: Tensor, estimator: str) -> "Measurement":
        """Share of correct answers among [N]."""
        return Measurement.mean(correct.to(torch.float64), "accuracy", estimator)


@dataclass(frozen=True)
class RunInfo:
    """The run that a result comes from.

    Attributes:
        id: its id, the name of its folder.
        name: name of the experiment.
        modality: modality of its model.
        seed: seed of the training.
        git: revision of the code.
        config_hash: hash of its configuration.
        data_fingerprint: hash of the data that were tested on.
        started: date and time of the command that tested.
        seconds: seconds of training.
        device: device of the test.
        peak_memory_mb: peak memory of the process.
        parameters: number of weights.
        checkpoint: the tested checkpoint.
        parent: the checkpoint whose weights the training started from.
        precision: precision of the trainer.
        processes: number of processes.
        threads: threads of each.
        versions: versions of Python and of the main packages.
    """

    id: str
    name: str
    modality: str
    seed: int
    git: str
    config_hash: str
    data_fingerprint: str
    started: str
    seconds: float
    device: str
    peak_memory_mb: float
    parameters: int
    checkpoint: str | None = None
    parent: str | None = None
    precision: str | None = None
    processes: int = 1
    threads: int | None = None
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """A run and its measurements.

    Attributes:
        run: the run.
        metrics: measurements by name (`test/nll`, ...).
        failed: reasons why others are missing, by kind of figure or by name.
    """

    run: RunInfo
    metrics: dict[str, Measurement]
    failed: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Writes results.json atomically: no reader sees half a file.

        A figure that is not finite, which JSON does not know, is missing there, and `failed` says why.
        """
        broken = {name: figure for name, figure in self.metrics.items() if not figure.finite}
        failed = {
            name: f"not finite: {figure.value}, standard error {figure.stderr} ({figure.estimator}, n = {figure.n})"
            for name, figure in broken.items()
        }
        metrics = {name: figure for name, figure in self.metrics.items() if name not in broken}
        content = asdict(replace(self, metrics=metrics, failed=self.failed | failed))
        with written_whole(path) as partial:
            partial.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")

    @staticmethod
    def read(path: Path) -> "Results":
        """Reads results.json.

        Raises:
            ValueError: if the file is damaged or lacks a field; the message names the file and the field.
        """
        try:
            raw: dict[str, Any] = json.loads(path.read_text())
            metrics = {name: Measurement(**metric) for name, metric in raw["metrics"].items()}
            return Results(RunInfo(**raw["run"]), metrics, raw.get("failed", {}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is not a valid results.json ({error}); repeat the run or delete it") from error


def find(root: Path) -> dict[Path, Results]:
    """Results by run folder, oldest run first, of every results.json below a folder.

    The results of further tests of a run, in its folder `tests`, are none of them.

    Raises:
        ValueError: if a results.json cannot be read.
    """
    paths = [path for path in sorted(root.rglob("results.json")) if path.parent.parent.name != TESTS]
    results = {path.parent: Results.read(path) for path in paths}
    return dict(sorted(results.items(), key=lambda item: item[1].run.started))


@dataclass(frozen=True)
class Group:
    """What runs have in common that differ in nothing but their seed; only over such runs is a mean taken."""

    modality: str
    name: str
    config_hash: str
    data_fingerprint: str

    @staticmethod
    def of(run: RunInfo) -> "Group":
        """The group of a run."""
        return Group(run.modality, run.name, run.config_hash, run.data_fingerprint)


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of a figure over runs.

    Attributes:
        mean: the mean.
        std: the sample standard deviation; 0 for one run.
        runs: number of runs.
        seeds: number of different seeds among them: fewer than runs where a run was repeated.
    """

    mean: float
    std: float
    runs: int
    seeds: int

    def __str__(self) -> str:
        if self.runs == 1:
            return f"{self.mean:.4g}"
        repeated = f" runs, {self.seeds} {'seed' if self.seeds == 1 else 'seeds'}" if self.seeds < self.runs else ""
        return f"{self.mean:.4g} ± {self.std:.2g} ({self.runs}{repeated})"


def aggregate(results: Iterable[Results]) -> dict[Group, dict[str, Summary]]:
    """Group -> metric -> summary over the runs of that group. Runs that share no more than a name are kept apart."""
    groups: dict[Group, list[Results]] = defaultdict(list)
    for result in results:
        groups[Group.of(result.run)].append(result)
    return {group: _summarise(runs) for group, runs in groups.items()}


def _summarise(runs: list[Results]) -> dict[str, Summary]:
    summaries = {}
    for metric in dict.fromkeys(metric for result in runs for metric in result.metrics):
        measured = [result for result in runs if metric in result.metrics]
        values = torch.tensor([result.metrics[metric].value for result in measured], dtype=torch.float64)
        std = values.std().item() if len(values) > 1 else 0.0
        seeds = len({result.run.seed for result in measured})
        summaries[metric] = Summary(values.mean().item(), std, len(values), seeds)
    return summaries
