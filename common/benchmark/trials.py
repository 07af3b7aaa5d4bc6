"""Contenders that are measured in turn, so that what the machine does meanwhile meets all of them."""

import csv
import json
import os
import platform
import pty
import re
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from common.training.tracking.provenance import git_revision


@dataclass(frozen=True)
class Contender:
    """A command whose speed is measured.

    Attributes:
        name: of the contender.
        command: what is run.
        rate: the rate, from what the command prints on a terminal and the seconds that it takes.
        environment: further variables.
    """

    name: str
    command: Sequence[str]
    rate: Callable[[str, float], float]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        """Those of some values."""
        if len(values) < 2:
            return Spread(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, low, high)


def whole_command(text: str, seconds: float) -> float:
    """How often a command could run in a second."""
    return 1 / seconds


def printed_rates(text: str, seconds: float) -> float:
    """The median of the list of numbers that a command prints last, as JSON, maybe behind a progress bar.

    Raises:
        ValueError: if it prints none.
    """
    lists = re.findall(r"\[[-+.,\deE ]+\]", text)
    if not lists:
        raise ValueError(f"a contender has printed no rates: {text[-500:]}")
    return statistics.median(json.loads(lists[-1]))


def on_a_terminal(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command prints on a terminal, progress bars included.

    Raises:
        RuntimeError: if it fails, with the end of what it has printed.
    """
    ours, theirs = pty.openpty()
    parts: list[bytes] = []

    def read() -> None:
        while True:
            try:
                part = os.read(ours, 2**16)
            except OSError:  # how the end of a terminal is told
                return
            if not part:
                return
            parts.append(part)

    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env={**os.environ, **environment}
    )
    os.close(theirs)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    status = process.wait()
    reader.join(5)
    os.close(ours)
    text = b"".join(parts).decode(errors="replace")
    if status:
        raise RuntimeError(f"{' '.join(command)} ends with status {status}: {text[-2000:]}")
    return text


def interleaved(contenders: Sequence[Contender], rounds: int) -> dict[str, list[float]]:
    """The rates of each contender, one a round; the order turns round by round."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    with tqdm(total=rounds * len(contenders), desc="timing", unit="run", leave=False, disable=None) as bar:
        for number in range(rounds):
            first = number % len(contenders)
            for contender in [*contenders[first:], *contenders[:first]]:
                bar.set_postfix_str(contender.name)
                begun = time.perf_counter()
                text = on_a_terminal(contender.command, contender.environment)
                rates[contender.name].append(contender.rate(text, time.perf_counter() - begun))
                bar.update()
    return rates


def ratios(rates: Mapping[str, Sequence[float]], ours: str) -> dict[str, Spread]:
    """By how much one contender is faster than each other one: of the pairs of each round."""
    return {
        name: Spread.of([own / other for own, other in zip(rates[ours], values, strict=True)])
        for name, values in rates.items()
        if name != ours
    }


def rows_of(path: Path, column: str) -> list[float]:
    """The numbers of a column of a run's metrics.csv, without empty cells."""
    with path.open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    listed = Path("/proc/cpuinfo")  # of Linux
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "vectors": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }  # fmt: skip


def measured(contenders: Sequence[Contender], rounds: int) -> dict[str, Any]:
    """What a row of the page stores: the rates, the ratios to the first contender, and what they were measured on."""
    load = os.getloadavg()[0]
    rates = interleaved(contenders, rounds)
    return {
        "rates": rates,
        "of": {other: asdict(ratio) for other, ratio in ratios(rates, contenders[0].name).items()},
        "rounds": rounds,
        **provenance(load),
    }


def provenance(load: float | None = None) -> dict[str, Any]:
    """What figures were measured on, and which code."""
    other = {} if load is None else {"load": round(load, 1)}
    return {"machine": {**machine(), **other}, "revision": git_revision()}


def ran(command: Sequence[str]) -> str:
    """What a command prints.

    Raises:
        RuntimeError: if it fails, with the end of what it says of that.
    """
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} ends with status {result.returncode}: {result.stderr[-2000:]}")
    return result.stdout


def printed_object(command: Sequence[str]) -> Any:
    """What a command prints in its last line, as JSON."""
    return json.loads(ran(command).splitlines()[-1])
