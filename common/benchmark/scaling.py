"""The speed of two processes, each on a core of its own, that train one model, or one model each.

    python -m common.benchmark.scaling [--apart] --root FOLDER scripts/train_image.py fit --config ...

Prints a list of one number, as JSON: the examples a second of both. Each has batches of the same size in both cases, so
that the ratio is the efficiency of weak scaling: what is lost to the exchange of gradients and to waiting.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from common.benchmark.trials import rows_of

PROCESSES = 2
DDP = ["--config", "configs/trainer/ddp.yaml", "--trainer.accelerator", "cpu", "--trainer.devices", str(PROCESSES)]
ALONE = ["--trainer.accelerator", "cpu", "--trainer.devices", "1"]


def rate(words: list[str], root: Path, apart: bool) -> float:
    """Examples a second of two pinned processes: the median of the epochs, without the first.

    Args:
        words: script and options of a training.
        root: folder of the runs.
        apart: whether each process trains a model of its own.

    Raises:
        RuntimeError: if a training fails, or there are fewer cores.
    """
    cores = sorted(os.sched_getaffinity(0))[:PROCESSES]
    if len(cores) < PROCESSES:
        raise RuntimeError(f"scaling is measured on {PROCESSES} cores; this process has {len(cores)}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for number, core in enumerate(cores):
        command, environment = [sys.executable, *words], {**os.environ, "OMP_NUM_THREADS": "1"}
        if apart:
            command += [*ALONE, "--run.root", str(root / str(number))]
        else:  # what torchrun gives its processes, which it cannot pin
            command += [*DDP, "--run.root", str(root)]
            environment |= {
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": f"{os.getpid()}",
                "RANK": str(number), "LOCAL_RANK": str(number), "GROUP_RANK": "0",
                "WORLD_SIZE": str(PROCESSES), "LOCAL_WORLD_SIZE": str(PROCESSES),
            }  # fmt: skip
        pin = partial(os.sched_setaffinity, 0, {core})
        started.append(subprocess.Popen(command, env=environment, preexec_fn=pin))
    statuses = [process.wait() for process in started]
    if any(statuses):
        raise RuntimeError(f"a training fails: {' '.join(words)}")
    metrics = sorted(root.rglob("metrics.csv"))
    return sum(statistics.median(rows_of(path, "train/examples_per_second")[1:]) for path in metrics)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apart", action="store_true", help="each process trains a model of its own")
    parser.add_argument("--root", type=Path, required=True, help="folder of the runs")
    parser.add_argument("words", nargs=argparse.REMAINDER, help="script and options of a training")
    given = parser.parse_args()
    root = given.root / str(os.getpid())
    print(json.dumps([rate(given.words, root, given.apart)]))


if __name__ == "__main__":
    main()
