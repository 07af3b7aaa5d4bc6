"""The speed of trainings: the suite's, hand-written loops and other trainers, in turn."""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.benchmark.page import store
from common.benchmark.trials import Contender, Spread, measured, printed_object, printed_rates, ran, rows_of

OURS = "the suite"
PLAIN = "plain loop of the same modules"
HAND_WRITTEN = "hand-written loop"
TOLERANCE = 1e-4  # of losses in 32 bits
PEERS = Path(".venv/peers/bin/python")  # made by `make peers`


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
        size: option of the data for the size of a batch.
        varying: whether examples differ in length, so that batches that mix lengths compete as well.
        peers: folder of MNIST for the loops and trainers of `scripts/peers`, which then compete as well.
    """

    script: str
    config: str
    options: tuple[str, ...] = ()
    batches: int | None = None
    epochs: int = 4
    root: Path | None = None
    size: str = "batch_size"
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
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        checkpoint = begun(work, Path(folder) / "base")
        differences = differences_of_losses(work, checkpoint, Path(folder) / "losses")
        row = measured(_contenders(work, checkpoint, Path(folder), compiled), rounds)
    rates, size = row["rates"], _batch_size(work)
    if size is not None:
        pairs = zip(rates[OURS], rates[PLAIN], strict=True)
        above = Spread.of([1000 * size * (1 / ours - 1 / plain) for ours, plain in pairs])
        row["milliseconds_above_plain"] = asdict(above)
    row["difference_of_losses"] = differences
    store("training", name, row)
    return row


def begun(work: Work, root: Path) -> Path:
    """A checkpoint of a work's first step."""
    ran(fit(work, root, "--trainer.limit_train_batches", "1", epochs=1))
    (checkpoint,) = root.rglob("last.ckpt")
    return checkpoint


def differences_of_losses(work: Work, checkpoint: Path, root: Path) -> dict[str, float]:
    """The largest relative difference of the losses of 20 steps from the same weights, with the same batches and noise.

    Of the suite's training, as it logs them, to each hand-written loop: none is fast by computing something else.

    Raises:
        RuntimeError: if they differ by more than 1e-4, or one of them has another number of losses.
    """
    more = ["--weights", str(checkpoint), "--trainer.max_steps", "20", "--trainer.log_every_n_steps", "1"]
    ran(fit(work, root, *more, epochs=20))
    (metrics,) = root.rglob("metrics.csv")
    ours, record = rows_of(metrics, "train/loss"), root / "record.pt"
    plain = [sys.executable, "-m", "common.benchmark.plain_loop", str(checkpoint), "--losses", "20"]
    commands = {PLAIN: [*plain, "--record", str(record)]}
    if work.peers is not None:
        commands[HAND_WRITTEN] = [sys.executable, "scripts/peers/mlp_loop.py", str(work.peers), "--check", str(record)]
    differences = {}
    for name, command in commands.items():
        theirs = printed_object(command)
        if len(ours) != len(theirs):
            raise RuntimeError(f"{work.config}: {len(ours)} losses of the suite and {len(theirs)} of the {name}")
        relative = [abs(own - other) / abs(other) for own, other in zip(ours, theirs, strict=True)]
        if not all(difference <= TOLERANCE for difference in relative):  # NaN is no agreement
            raise RuntimeError(f"{work.config}: the losses of the suite are not those of the {name}: {ours}, {theirs}")
        differences[name] = max(relative)
    return differences


def _batch_size(work: Work) -> int | None:
    """Examples of a batch; None where batches differ."""
    import yaml

    data = yaml.safe_load(Path(work.config).read_text())["data"]["init_args"]
    size = data.get("batch_size")
    return None if size is None else int(size)


def _contenders(work: Work, checkpoint: Path, folder: Path, compiled: bool) -> list[Contender]:
    batches = [] if work.batches is None else ["--batches", str(work.batches)]
    counted = ["--epochs", str(work.epochs), *batches]
    limit = [] if work.batches is None else ["--trainer.limit_train_batches", str(work.batches)]

    def ours(place: str, *more: str) -> Contender:
        command = fit(work, folder / place, *limit, *more, epochs=work.epochs)
        title = OURS + (", compiled" if more else "")
        return Contender(title, command, lambda text, seconds: _newest_rate(folder / place))

    plain = [sys.executable, "-m", "common.benchmark.plain_loop", str(checkpoint), *counted]
    found = [ours("ours"), Contender(PLAIN, plain, printed_rates)]
    if compiled:
        found.append(ours("compiled", "--model.compile", "true"))
    if work.varying:
        found.append(Contender("plain loop, batches not sorted by length", [*plain, "--unbucketed"], printed_rates))
    if work.peers is not None:
        root = str(work.peers)
        loop = [sys.executable, "scripts/peers/mlp_loop.py", root, *counted]
        commands = {HAND_WRITTEN: loop}
        if compiled:
            commands[HAND_WRITTEN + ", compiled, fused"] = [*loop, "--compile", "--fused"]
        commands["LightningModule, DataLoader"] = [sys.executable, "scripts/peers/mlp_lightning.py", root, *counted]
        if PEERS.exists():
            commands["pythae"] = [str(PEERS), "scripts/peers/mlp_pythae.py", root, *counted]
            commands["Pyro"] = [str(PEERS), "scripts/peers/mlp_pyro.py", root, *counted]
        found += [Contender(name, command, printed_rates) for name, command in commands.items()]
    return found


def fit(work: Work, root: Path, *more: str, epochs: int) -> Sequence[str]:
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
