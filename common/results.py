"""results.json: the record of one run that tables are made from. Never written by hand."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.paths import written_whole

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

    @staticmethod
    def mean(values: Tensor, unit: str, estimator: str) -> "Measurement":
        """Mean over examples [N] with its standard error."""
        values = values.double()
        stderr = (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else None
        return Measurement(values.mean().item(), stderr, len(values), unit, estimator)

    @staticmethod
    def accuracy(correct: Tensor, estimator: str) -> "Measurement":
        """Share of correct answers among [N]."""
        return Measurement.mean(correct.to(torch.float64), "accuracy", estimator)


@dataclass(frozen=True)
class RunInfo:
    """The run that a result comes from."""

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


@dataclass(frozen=True)
class Results:
    """A run and its measurements by name (`test/nll`, ...)."""

    run: RunInfo
    metrics: dict[str, Measurement]

    def write(self, path: Path) -> None:
        """Writes results.json atomically: no reader sees half a file."""
        with written_whole(path) as partial:
            partial.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @staticmethod
    def read(path: Path) -> "Results":
        """Reads results.json.

        Raises:
            ValueError: if the file is damaged or lacks a field; the message names the file and the field.
        """
        try:
            raw: dict[str, Any] = json.loads(path.read_text())
            metrics = {name: Measurement(**metric) for name, metric in raw["metrics"].items()}
            return Results(RunInfo(**raw["run"]), metrics)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} is not a valid results.json ({error}); repeat the run or delete it") from error


def find(root: Path) -> list[Results]:
    """All results below a folder, oldest run first; an unreadable results.json raises ValueError."""
    results = [Results.read(path) for path in sorted(root.rglob("results.json"))]
    return sorted(results, key=lambda result: result.run.started)


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation of a figure over runs (seeds)."""

    mean: float
    std: float
    runs: int

    def __str__(self) -> str:
        return f"{self.mean:.4g} ± {self.std:.2g} ({self.runs})" if self.runs > 1 else f"{self.mean:.4g}"


def aggregate(results: Iterable[Results]) -> dict[str, dict[str, Summary]]:
    """Run name -> metric -> summary over the runs of that name."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        for metric, measurement in result.metrics.items():
            values[result.run.name][metric].append(measurement.value)
    return {name: {metric: _summarise(figures) for metric, figures in row.items()} for name, row in values.items()}


def _summarise(figures: list[float]) -> Summary:
    tensor = torch.tensor(figures, dtype=torch.float64)
    return Summary(tensor.mean().item(), tensor.std().item() if len(figures) > 1 else 0.0, len(figures))
