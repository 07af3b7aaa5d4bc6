"""Trainings that are killed at random moments and in the middle of a save, go on, and have to end as if nothing was.

    python -m tests.soak.kills --runs 100 --minutes 60 --seed 0 --work runs/soak/kills

A run is determined by the seed and its number. WORK/seed-S.jsonl has a line for each run, and a later call goes on
after the last one; docs/reliability/kills.json is written from all lines.
"""

import copy
import functools
import itertools
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
import zlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from common.training.tracking.provenance import git_revision
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs, differences, leftovers, results_of
from tests.soak.arguments import soak_arguments
from tests.soak.table import write_row

VARIANTS = {
    "plain": [],
    "validation within epochs": ["--trainer.val_check_interval", "2"],
    "accumulated gradients": ["--trainer.accumulate_grad_batches", "2"],
}
SMALL_BATCHES = {"text": ["--data.batch_tokens", "100"]}  # so that an epoch has several
PLACES = {"disk": Path(tempfile.gettempdir()), "memory": Path("/dev/shm")}
AIMED = 5  # one of so many runs has its first kill within a save


@dataclass
class Case:
    """What becomes of one run.

    Attributes:
        number: of the run.
        modality: of its model.
        variant: of its options.
        place: file system of its folder.
        minutes: between two saves within an epoch; 0 saves at every step.
        kills: for each, in which phase it came: starting, training, save, test, or ended where it came too late.
        differences: from the run that was never stopped.
        git: revision of the code.
        seconds: that it took.
    """

    number: int
    modality: str
    variant: str
    place: str
    minutes: float
    kills: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    git: str = ""
    seconds: float = 0.0


class Dying:
    """A file whose process dies as soon as so many bytes are written to it.

    Args:
        file: what is written to.
        left: number of bytes.
    """

    def __init__(self, file: Any, left: int) -> None:
        self.file, self.left = file, left

    def write(self, data: Any) -> int:
        """Writes, or writes a part and dies."""
        view = memoryview(data).cast("B")
        if len(view) >= self.left:
            self.file.write(view[: self.left])
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= len(view)
        return int(self.file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def die_in_a_save(choice: random.Random, saves: int) -> None:
    """Arranges that this process dies in one of its next saves: while bytes are written, or before or after renaming.

    Args:
        choice: chooses the save and the moment.
        saves: number of saves to choose from.
    """
    count, victim = itertools.count(), choice.randrange(saves)
    moment = choice.choice(["bytes", "bytes", "bytes", "written", "renamed"])
    share = choice.random()
    save, sync, replace = torch.save, os.fsync, Path.replace
    dying = False

    def saved(content: Any, file: Any, **options: Any) -> None:
        nonlocal dying
        dying = next(count) == victim
        size = sum(t.numel() * t.element_size() for t in content.get("state_dict", {}).values())
        save(content, Dying(file, 1 + int(share * size)) if dying and moment == "bytes" else file, **options)

    def synced(number: int) -> None:
        if dying and moment == "written":
            os.kill(os.getpid(), signal.SIGKILL)
        sync(number)

    def replaced(self: Path, target: Any) -> Path:
        result = replace(self, target)
        if dying and moment == "renamed":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    for place, name, new in ((torch, "save", saved), (os, "fsync", synced), (Path, "replace", replaced)):
        mock.patch.object(place, name, new).start()


def phase(folder: Path | None) -> str:
    """Where a killed run was, from what it left."""
    if folder is None or not (folder / "checkpoints").exists():
        return "starting"
    if any(".ckpt." in path.name for path in leftovers(folder)):
        return "save"
    if any((folder / "samples").glob("test-*")) or (folder / "examples.npz").exists():
        return "test"
    return "training"


def attempt(number: int, seed: int, whole: "References") -> Case:
    """One run: killed up to five times, gone on with to its end, compared."""
    choice = random.Random(f"{seed}.{number}")
    own, variant = OWN[number % len(OWN)], choice.choice(list(VARIANTS))
    case = Case(number, own.modality, variant, list(PLACES)[number // len(OWN) % 2], choice.choice([0.0, 10.0]))
    case.git, begun = git_revision(), time.monotonic()
    runs, seconds = whole.runs(case), whole.seconds(case)
    run_id, words = f"run-{number}", ["--run.save_minutes", str(case.minutes)]
    try:
        for kill in range(choice.randint(1, 5)):
            aimed = number % AIMED == 0 and kill == 0
            moment, saves = choice.uniform(0, seconds), choice.randint(1, 6)
            words_of_save = ["--run.save_minutes", "0"] if aimed else words

            def work(aimed: bool = aimed, saves: int = saves, options: list[str] = words_of_save) -> None:
                if aimed:
                    die_in_a_save(choice, saves)
                runs.fit_or_go_on(run_id, *options)

            process = runs.in_a_process(work)
            process.join(60 if aimed else moment)
            ended = not process.is_alive() and process.exitcode != -signal.SIGKILL
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
                process.join()
            folder = runs.folder(run_id)
            case.kills.append("ended" if ended else "save" if aimed else phase(folder))
            if ended and process.exitcode:
                case.differences.append(f"ended with status {process.exitcode} before kill {kill + 1}")
            if ended:
                break
        last = runs.in_a_process(lambda: runs.fit_or_go_on(run_id, *words))
        last.join(120)
        if last.is_alive():
            last.kill()
            last.join()
        if last.exitcode != 0:
            case.differences.append(f"went on and ended with status {last.exitcode}")
        folder = runs.folder(run_id)
        if folder is None:
            case.differences.append("no run folder")
        else:
            case.differences += differences(runs.whole, folder) + results_of(runs.whole, folder)
            case.differences += [f"left behind: {path.name}" for path in leftovers(folder)]
            if not case.differences:
                shutil.rmtree(folder)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]  # without paths, which the row would show
        case.differences.append(
            f"{type(error).__name__} in {place.name}, line {place.lineno} of {Path(place.filename).name}"
        )
    case.seconds = round(time.monotonic() - begun, 1)
    return case


class References:
    """Runs that were never stopped, one for each modality and variant, made when first needed.

    Args:
        name: of the folder on each file system.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: dict[tuple[str, str], tuple[Runs, float]] = {}

    def _made(self, case: Case) -> tuple[Runs, float]:
        key = (case.modality, case.variant)
        if key not in self.made:
            own = next(own for own in OWN if own.modality == case.modality)
            root = PLACES["disk"] / self.name / f"{case.modality}-{list(VARIANTS).index(case.variant)}"
            shutil.rmtree(root, ignore_errors=True)
            further = [*SMALL_BATCHES.get(case.modality, []), *VARIANTS[case.variant]]
            runs = Runs(own, root, "--averaging", "0.9", "--run.test", "true", *further)
            for run_id in ("whole", "timed"):  # the first one also fills the cache
                begun = time.monotonic()
                process = runs.in_a_process(functools.partial(runs.fit, run_id))
                process.join(300)
                assert process.exitcode == 0, f"the run that is not stopped fails: {key}"
            runs.whole = runs.folder("whole")
            self.made[key] = runs, time.monotonic() - begun
        return self.made[key]

    def runs(self, case: Case) -> Runs:
        """The runs of a case's kind, in its place; `whole` is the one that was never stopped."""
        there = copy.copy(self._made(case)[0])
        there.root = PLACES[case.place] / self.name / "runs"
        shutil.rmtree(there.root / "runs", ignore_errors=True)
        return there

    def seconds(self, case: Case) -> float:
        """What that one took."""
        return self._made(case)[1]


def summary(cases: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The row of the table."""
    kills = Counter(kill for case in cases for kill in case["kills"])
    return {
        "runs": len(cases),
        "equal": sum(not case["differences"] for case in cases),
        "modalities": dict(Counter(case["modality"] for case in cases)),
        "places": dict(Counter(case["place"] for case in cases)),
        "kills": sum(count for name, count in kills.items() if name != "ended"),
        "kills_by_phase": dict(sorted(kills.items())),
        "seed": seed,
        "revisions": sorted({case["git"] for case in cases}),
        "seconds": round(sum(case["seconds"] for case in cases), 1),
        "unequal": [case for case in cases if case["differences"]],
    }


def main() -> None:
    """Runs what is missing, and writes the row."""
    arguments = soak_arguments(__doc__, "runs/soak/kills", minutes=60, runs=100)
    end = time.monotonic() + 60 * arguments.minutes
    name = f"kills-{zlib.crc32(str(arguments.work.resolve()).encode()):08x}"
    whole = References(name)
    if arguments.case is not None:
        print(json.dumps(asdict(attempt(arguments.case, arguments.seed, whole)), indent=1))
        return
    lines = arguments.work / f"seed-{arguments.seed}.jsonl"
    cases = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    while len(cases) < arguments.runs and time.monotonic() < end:
        cases.append(asdict(attempt(len(cases), arguments.seed, whole)))
        with lines.open("a") as file:
            file.write(json.dumps(cases[-1]) + "\n")
        said = "; ".join(cases[-1]["differences"]) or "equal"
        print(len(cases), cases[-1]["modality"], cases[-1]["kills"], cases[-1]["seconds"], said, flush=True)
    for place in PLACES.values():
        if not any(case["differences"] for case in cases):
            shutil.rmtree(place / name, ignore_errors=True)
    write_row("kills", summary(cases, arguments.seed))


if __name__ == "__main__":
    main()
