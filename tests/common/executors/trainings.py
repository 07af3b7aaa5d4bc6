"""A training that takes no time, whose epochs and ends are kept, and the processes that run it."""

import time
from pathlib import Path

from common.comparison.specification import Cell

TRAINING = """
import json, os, signal, sys, time
from pathlib import Path

folder, epochs, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
last = folder / "checkpoints" / "last.ckpt"
last.parent.mkdir(exist_ok=True)
assert last.exists() == ("--ckpt_path" in sys.argv)
(folder / "processes").write_text(f"{os.getppid()} {os.getpid()}")
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
def note(what):
    with (folder / "journal").open("a") as file:
        file.write(f"{what}\\n")
for epoch in range(int(last.read_text()) if last.exists() else 0, epochs):
    time.sleep(seconds)
    note(epoch)
    last.write_text(str(epoch + 1))
    if stopped:
        note("stopped")
        sys.exit(143)
if epochs == 0:
    sys.exit("no epochs")
note("end")
run = dict(id=folder.name, name="row", modality="none", seed=0, git="abc", config_hash="hash",
           data_fingerprint="data", started="2026", seconds=1.5, device="cpu", peak_memory_mb=10.0, parameters=3)
(folder / "results.json").write_text(json.dumps(dict(run=run, metrics={})))
"""


def training_cells(folder: Path, epochs: dict[str, int], seconds: float) -> list[Cell]:
    """A cell for each row, which trains for so many epochs of so many seconds; without any it fails."""
    script = folder / "train.py"
    script.write_text(TRAINING)
    return [
        Cell(row, 0, (str(script), str(folder / row / "run"), str(count), str(seconds)), row, folder / row / "run", ())
        for row, count in epochs.items()
    ]


def journal(cell: Cell) -> list[str]:
    """The epochs that a cell has trained, and how its trainings have ended."""
    path = cell.folder / "journal"
    return path.read_text().split() if path.exists() else []


def processes(cell: Cell) -> tuple[int, int]:
    """The worker that runs a cell, and its training."""
    worker, training = (cell.folder / "processes").read_text().split()
    return int(worker), int(training)


def wait_for(condition, seconds: float = 120.0):
    """What a condition gives, as soon as it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found
