"""A long training whose memory, open files and threads have to stay flat, and what guards and checkpoints cost.

    python -m tests.soak.steps --steps 20000 --minutes 60      docs/reliability/steps.json, from WORK/samples.csv
    python -m tests.soak.steps --cost --repetitions 12         docs/reliability/cost.json

The configuration is that of the digits, on a part of their data. A training that has been stopped goes on from its
checkpoint, in a new process, whose first samples are not those of one that runs on: the row then says so.
"""

import argparse
import csv
import gc
import os
import statistics
import tempfile
import time
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

import common.training.module
from common.process_memory import resident_memory_mb
from common.training.monitors import NonFiniteGuard
from common.training.saving import BestCheckpoint, LastCheckpoint
from common.training.tracking.provenance import git_revision
from scripts.train_image import main as train_image
from tests.soak.table import write_row

EVERY = 50  # steps between samples
COLUMNS = ("step", "memory_mb", "files", "threads", "seconds", "process")


class Resources(Callback):
    """Appends memory, open files and threads to a CSV as a training goes on.

    Args:
        file: the CSV.
        minutes: after which the training is stopped.
    """

    def __init__(self, file: str, minutes: float = 60.0) -> None:
        self.file, self.end, self.begun = Path(file), time.monotonic() + 60 * minutes, time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """A sample every few steps; files and threads that are open for a moment, in a save, are none of its own."""
        if time.monotonic() > self.end:
            trainer.should_stop = True
        if trainer.global_step % EVERY:
            return
        files, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        row = (trainer.global_step, round(resident_memory_mb(), 1), files, threads,
               round(time.monotonic() - self.begun, 1), os.getpid())  # fmt: skip
        with self.file.open("a", newline="") as file:
            csv.writer(file).writerow(row)


def long_training(steps: int, minutes: float, work: Path) -> None:
    """Trains, or goes on, and writes the row."""
    work.mkdir(parents=True, exist_ok=True)
    samples = work / "samples.csv"
    if not samples.exists():
        samples.write_text(",".join(COLUMNS) + "\n")
    last = next(iter(work.glob("image/*/long/checkpoints/last.ckpt")), None)
    callback = (
        f'[{{"class_path": "tests.soak.steps.Resources", "init_args": {{"file": "{samples}", "minutes": {minutes}}}}}]'
    )
    words = ["fit", "--config", "configs/image/digits.yaml", "--subset.examples", "64", "--trainer.max_epochs", "-1",
             "--trainer.max_steps", str(steps), "--trainer.callbacks", callback, "--run.test", "false",
             "--run.save_minutes", "0.5", "--wandb.mode", "disabled", "--trainer.enable_progress_bar", "false",
             "--trainer.check_val_every_n_epoch", "20"]  # fmt: skip
    place = ["--ckpt_path", str(last)] if last else ["--run.root", str(work), "--run.id", "long"]
    train_image([*words, *place])
    with samples.open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    write_row("steps", row_of(rows, steps))


def row_of(rows: list[dict[str, float]], wanted: int) -> dict[str, Any]:
    """Means of the quarters of a training."""
    reached = int(max(row["step"] for row in rows))

    def quarter(number: int) -> dict[str, float]:
        part = [row for row in rows if (number - 1) * reached / 4 < row["step"] <= number * reached / 4]
        return {name: round(statistics.fmean(row[name] for row in part), 2) for name in COLUMNS[1:4]}

    second, last = quarter(2), quarter(4)
    change = {name: round(100 * (last[name] / second[name] - 1), 2) for name in second}
    return {
        "steps": reached, "wanted": wanted, "second_quarter": second, "last_quarter": last, "change_percent": change,
        "flat": all(abs(part) <= 2 for part in change.values()), "samples": len(rows),
        "processes": len({row["process"] for row in rows}), "revision": git_revision(),
        "threads_of_torch": torch.get_num_threads(), "seconds": round(sum(
            max(row["seconds"] for row in rows if row["process"] == process) for process in {r["process"] for r in rows}
        ), 1),
    }  # fmt: skip


@contextmanager
def without_guards() -> Any:
    """Trainings without checks of numbers, saves and seeds of steps."""

    def nothing(*arguments: Any, **options: Any) -> None:
        pass

    with ExitStack() as stack:
        for cls, names in (
            (NonFiniteGuard, ("on_train_batch_start", "on_before_backward", "on_validation_end", "on_train_end")),
            (LastCheckpoint, ("save",)),
            (BestCheckpoint, ("on_validation_end",)),
        ):
            for name in names:
                stack.enter_context(mock.patch.object(cls, name, nothing))
        stack.enter_context(mock.patch.object(common.training.module, "seed_step", nothing))
        yield


def cost(repetitions: int, epochs: int, minutes: float) -> None:
    """Trains with and without them in turn, and writes the row."""
    end = time.monotonic() + 60 * minutes
    times: list[dict[str, tuple[float, float]]] = []
    steps = 0

    def training() -> tuple[float, float]:
        """Seconds of a clock and of the processor, from the first step on."""
        nonlocal steps
        gc.collect()
        clock = Clock()
        begin = clock.start(LastCheckpoint.on_train_start)
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(LastCheckpoint, "on_train_start", begin):
            cli = train_image([
                "fit", "--config", "configs/image/digits.yaml", "--trainer.max_epochs", str(epochs), "--run.root",
                folder, "--run.test", "false", "--wandb.mode", "disabled", "--trainer.enable_progress_bar", "false",
                "--samples.every_n_epochs", "1000",
            ])  # fmt: skip
            steps = cli.trainer.global_step
            return time.monotonic() - clock.begun, time.process_time() - clock.begun_of_processor

    training()  # caches are warm from here on
    for number in range(repetitions):
        if time.monotonic() > end:
            break
        pair: dict[str, tuple[float, float]] = {}
        for kind in ("with", "without") if number % 2 else ("without", "with"):
            with nullcontext() if kind == "with" else without_guards():
                pair[kind] = training()
        times.append(pair)
        print(number, pair, flush=True)
    write_row("cost", {
        "repetitions": len(times), "steps": steps, "clock": compared(times, 0), "processor": compared(times, 1),
        "revision": git_revision(), "threads_of_torch": torch.get_num_threads(), "load": round(os.getloadavg()[1], 1),
    })  # fmt: skip


def compared(times: list[dict[str, tuple[float, float]]], which: int) -> dict[str, Any]:
    """Median seconds, and by how many percent they and the pairs differ."""
    medians = {kind: statistics.median(pair[kind][which] for pair in times) for kind in ("with", "without")}
    pairs = [100 * (pair["with"][which] / pair["without"][which] - 1) for pair in times]
    quarters = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
    return {
        "percent": round(100 * (medians["with"] / medians["without"] - 1), 2),
        "quartiles": [round(quarters[0], 2), round(quarters[2], 2)],
        "seconds": {kind: round(value, 3) for kind, value in medians.items()},
        "pairs": [{kind: round(value[which], 3) for kind, value in pair.items()} for pair in times],
    }


class Clock:
    """Begins when a training does."""

    begun = begun_of_processor = 0.0

    def start(self, method: Any) -> Any:
        """The method, which begins the clock."""

        def started(*arguments: Any) -> Any:
            result = method(*arguments)
            self.begun, self.begun_of_processor = time.monotonic(), time.process_time()
            return result

        return started


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--cost", action="store_true", help="measures the cost instead")
    parser.add_argument("--repetitions", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=2, help="of each training whose time is taken")
    parser.add_argument("--work", type=Path, default=Path("runs/soak/steps"))
    arguments = parser.parse_args()
    if arguments.cost:
        cost(arguments.repetitions, arguments.epochs, arguments.minutes)
    else:
        long_training(arguments.steps, arguments.minutes, arguments.work)


if __name__ == "__main__":
    main()
