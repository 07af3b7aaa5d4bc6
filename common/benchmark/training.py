"""The speed of trainings: the suite's, hand-written loops and other trainers, in turn."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.benchmark.page import ROWS, write_page
from common.benchmark.trials import Contender, Spread, interleaved, machine, printed_rates, ratios, rows_of
from common.training.tracking import git_revision

OURS = "the suite"
PLAIN = "plain loop of the same modules"
PYTHAE = Path(".venv/peers/bin/python")  # made by `make peers`


@dataclass(frozen=True)
class Work:
    """A training whose speed is measured.

    Attributes:
        script: the training script.
        config: its configuration.
        options: further options.
        batches: batches of an epoch; None takes all.
        epochs: epochs of a run, the first of which is not counted.
        root: folder of its data; None takes the usual one.
        varying: whether examples differ in length, so that batches that mix lengths compete as well.
        peers: folder of MNIST for the loops and trainers of `scripts/peers`, which then compete as well.
    """

    script: str
    config: str
    options: tuple[str, ...] = ()
    batches: int | None = None
    epochs: int = 4
    root: Path | None = None
    varying: bool = False
    peers: Path | None = None


def measure(name: str, work: Work, rounds: int, compiled: bool) -> dict[str, Any]:
    """Times a work, and writes its row.

    Args:
        name: of the row.
        work: what is timed.
        rounds: runs of each contender.
        compiled: whether compiled steps compete as well.

    Raises:
        RuntimeError: if a contender fails.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        contenders = _contenders(work, Path(folder), compiled)
        rates = interleaved(contenders, rounds)
    size, pairs = _batch_size(work), zip(rates[OURS], rates[PLAIN], strict=True)
    above = None if size is None else Spread.of([1000 * size * (1 / ours - 1 / plain) for ours, plain in pairs])
    row = {
        "rates": rates,
        "of": {other: asdict(ratio) for other, ratio in ratios(rates, OURS).items()},
        "milliseconds_above_plain": None if above is None else asdict(above),
        "rounds": rounds, "machine": {**machine(), "load": round(load, 1)}, "revision": git_revision(),
    }  # fmt: skip
    ROWS.mkdir(parents=True, exist_ok=True)
    (ROWS / f"training-{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    write_page()
    for contender, values in rates.items():
        print(f"{name}: {contender}: {statistics.median(values):,.0f} examples a second")
    return row


def _batch_size(work: Work) -> int | None:
    """Examples of a batch; None where batches differ."""
    import yaml

    data = yaml.safe_load(Path(work.config).read_text())["data"]["init_args"]
    size = data.get("batch_size")
    return None if size is None else int(size)


def _contenders(work: Work, folder: Path, compiled: bool) -> list[Contender]:
    batches = [] if work.batches is None else ["--batches", str(work.batches)]
    counted = ["--epochs", str(work.epochs), *batches]
    base = _fit(work, folder / "base", "--trainer.limit_train_batches", "1", epochs=1)
    subprocess.run(base, check=True, capture_output=True)
    (checkpoint,) = (folder / "base").rglob("last.ckpt")
    limit = [] if work.batches is None else ["--trainer.limit_train_batches", str(work.batches)]

    def ours(place: str, *more: str) -> Contender:
        command = _fit(work, folder / place, *limit, *more, epochs=work.epochs)
        return Contender(OURS + (", compiled" if more else ""), command, lambda text: _newest_rate(folder / place))

    plain = [sys.executable, "-m", "common.benchmark.plain_loop", str(checkpoint), *counted]
    found = [ours("ours"), Contender(PLAIN, plain, printed_rates)]
    if compiled:
        found.append(ours("compiled", "--model.compile", "true"))
    if work.varying:
        found.append(Contender("plain loop, batches not sorted by length", [*plain, "--unbucketed"], printed_rates))
    if work.peers is not None:
        root = str(work.peers)
        loop = [sys.executable, "scripts/peers/mlp_loop.py", root, *counted]
        commands = {"hand-written loop": loop}
        if compiled:
            commands["hand-written loop, compiled, fused"] = [*loop, "--compile", "--fused"]
        commands["LightningModule, DataLoader"] = [sys.executable, "scripts/peers/mlp_lightning.py", root, *counted]
        if PYTHAE.exists():
            commands["pythae"] = [str(PYTHAE), "scripts/peers/mlp_pythae.py", root, *counted]
        found += [Contender(name, command, printed_rates) for name, command in commands.items()]
    return found


def _fit(work: Work, root: Path, *more: str, epochs: int) -> Sequence[str]:
    """The shipped configuration: progress, a row every 20 steps, W&B offline, guard and last.ckpt; no validation."""
    where = [] if work.root is None else ["--data.root", str(work.root)]
    return [
        sys.executable, work.script, "fit", "--config", work.config, *work.options, *where,
        "--run.root", str(root), "--run.test", "false", "--trainer.limit_val_batches", "0",
        "--samples.every_n_epochs", "0", "--trainer.max_epochs", str(epochs), *more,
    ]  # fmt: skip


def _newest_rate(root: Path) -> float:
    """Examples a second of the epochs of the newest run, without the first; compiling takes a part of that."""
    newest = max(root.rglob("metrics.csv"), key=lambda path: path.stat().st_mtime)
    return statistics.median(rows_of(newest, "train/examples_per_second")[1:])
