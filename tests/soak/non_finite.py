"""NaN and infinities that are put into trainings at random steps: none may get into a checkpoint or end with status 0.

    python -m tests.soak.non_finite --runs 100 --minutes 20 --seed 0

WORK/seed-S.jsonl has a line for each run, and a later call goes on after the last one; docs/reliability/non_finite.json
is written from all lines.
"""

import json
import os
import random
import shutil
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor

from common.batch import Batch
from common.command_line import one_line
from common.training.checkpoint_io import numbers_of
from common.training.tracking.provenance import git_revision
from tests.scripts.own_data import OWN
from tests.scripts.resume import Runs
from tests.soak.arguments import soak_arguments
from tests.soak.table import write_row

PLACES = ("data", "validation data", "weight", "gradient", "loss", "average", "optimiser", "buffer")
VALUES = {"NaN": float("nan"), "infinity": float("inf"), "-infinity": float("-inf")}
SMALL_BATCHES = {"text": ["--data.batch_tokens", "100"]}
LASTING = ("loss", "gradient")  # in 16 bits a single one is left out, which is no fault


class Injection(Callback):
    """Puts a number that is not finite into a training.

    Args:
        place: one of PLACES.
        step: at which it is put in, from 0.
        value: one of VALUES.
        seed: chooses the element.
        lasting: whether it is put in again at every later step.
        record: file that is written when it is in.
    """

    def __init__(
        self, place: str, step: int, value: str = "NaN", seed: int = 0, lasting: bool = False, record: str | None = None
    ) -> None:
        self.place, self.step, self.value = place, step, VALUES[value]
        self.choice, self.lasting, self.record, self.done = random.Random(seed), lasting, record, False

    def _due(self, trainer: Trainer, place: str) -> bool:
        at = trainer.global_step
        return place == self.place and (at >= self.step if not self.done or self.lasting else False)

    def _into(self, tensors: list[Tensor]) -> None:
        """Replaces an element of one of the tensors."""
        tensors = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
        if tensors:
            tensor = self.choice.choice(tensors)
            self._at(tensor, torch.arange(tensor.numel()))

    def _into_data(self, batch: Batch) -> None:
        """Replaces a number that the model may read; words are none, and a hidden cell is not read."""
        if batch.x.is_floating_point():
            shown = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
            self._at(batch.x, shown.reshape(-1).nonzero()[:, 0])

    def _at(self, tensor: Tensor, places: Tensor) -> None:
        with torch.no_grad():
            tensor.view(-1)[places[self.choice.randrange(len(places))]] = self.value
        self._noted()

    def _noted(self) -> None:
        self.done = True
        if self.record is not None:
            Path(self.record).touch()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts it into the loss."""
        step = pl_module.training_step

        def training_step(*args: Any) -> Any:
            loss = step(*args)
            if self._due(trainer, "loss"):
                self._noted()
                return loss * self.value
            return loss

        pl_module.training_step = training_step  # type: ignore[method-assign]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Puts it into the data, a weight, a buffer, the average or the optimiser's state."""
        if self._due(trainer, "data"):
            self._into_data(batch)
        if self._due(trainer, "weight"):
            self._into(list(pl_module.parameters()))
        if self._due(trainer, "buffer"):
            self._into(list(pl_module.buffers()))
        if self._due(trainer, "optimiser"):
            states = trainer.optimizers[0].state.values()
            self._into([state for parts in states for state in parts.values() if isinstance(state, Tensor)])
        if self._due(trainer, "average"):
            averages = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]
            self._into([weight for callback in averages for weight in callback._average_model.module.parameters()])

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *rest: Any) -> None:
        """Puts it into the data of a validation."""
        if not trainer.sanity_checking and self._due(trainer, "validation data"):
            self._into_data(batch)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts it into a gradient, before a scaler looks at them."""
        if self._due(trainer, "gradient"):
            self._into([weight.grad for weight in pl_module.parameters() if weight.grad is not None])


class InBlocksOf16Bits(MixedPrecision):
    """16-mixed on a CPU, with a gradient scaler."""

    def __init__(self) -> None:
        super().__init__("16-mixed", "cpu", torch.amp.GradScaler("cpu"))


def broken(folder: Path) -> list[str]:
    """Which numbers in a run's checkpoints are not finite, but for bests of callbacks that nothing has reached yet."""
    found = []
    for path in folder.rglob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        parts = {name: part for name, part in content.items() if name not in ("loops", "callbacks", "configuration")}
        found += [
            f"{path.name}: {name}" for name, number in numbers_of(parts)
            if not torch.as_tensor(number).isfinite().all()
        ]  # fmt: skip
    return found


def attempt(number: int, seed: int, root: Path) -> dict[str, Any]:
    """One training with one injection: what became of it."""
    choice = random.Random(f"{seed}.{number}")
    own, place = OWN[number % len(OWN)], PLACES[number // len(OWN) % len(PLACES)]
    if own.modality == "text" and "data" in place:  # words are whole numbers
        place = choice.choice(("weight", "gradient", "optimiser"))
    value, step = choice.choice(list(VALUES)), choice.randrange(0, 8 if own.modality == "text" else 15)
    half = place in ("data", "weight", *LASTING) and choice.random() < 0.3
    step = step % 4 if half else step  # one or two steps that are left out at the end of a training are no fault
    folder = root / f"{number}"
    shutil.rmtree(folder, ignore_errors=True)
    mark, said = folder / "mark", folder / "said"
    words = ["--run.test", "true", "--averaging", "0.9", "--run.save_minutes", choice.choice(["0", "10"]),
             *SMALL_BATCHES.get(own.modality, [])]  # fmt: skip
    callback = {"place": place, "step": step, "value": value, "seed": number, "lasting": half, "record": str(mark)}
    injected = {"class_path": "tests.soak.non_finite.Injection", "init_args": callback}
    words += ["--trainer.callbacks", json.dumps([injected])]
    if half:
        words += ["--trainer.plugins", "tests.soak.non_finite.InBlocksOf16Bits"]
    runs = Runs(own, folder, *words)
    begun = time.monotonic()

    def work() -> None:
        try:
            runs.fit("run")
        except Exception as error:
            said.write_text(one_line(error))
            sys.exit(2)

    process = runs.in_a_process(work)
    process.join(120)
    if process.is_alive():
        process.kill()
        process.join()
    run, status = runs.folder("run"), process.exitcode
    last = None if run is None else run / "checkpoints" / "last.ckpt"
    result = {
        "number": number, "modality": own.modality, "place": place, "value": value, "step": step, "16 bits": half,
        "in": mark.exists(), "status": status, "said": said.read_text() if said.exists() else "",
        "not_finite": [] if run is None else broken(run),
        "saved_step": torch.load(last, weights_only=True)["global_step"] if last and last.exists() else None,
        "git": git_revision(), "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip
    if status and not result["not_finite"]:
        shutil.rmtree(folder)
    return result


def summary(cases: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The row of the table: of the trainings into which the number got."""
    cases = [case for case in cases if case["in"]]
    return {
        "runs": len(cases),
        "checkpoints_not_finite": sum(bool(case["not_finite"]) for case in cases),
        "exits_with_status_0": sum(case["status"] == 0 for case in cases),
        "statuses": dict(Counter(str(case["status"]) for case in cases)),
        "modalities": dict(Counter(case["modality"] for case in cases)),
        "places": dict(Counter(case["place"] for case in cases)),
        "in_16_bits": sum(case["16 bits"] for case in cases),
        "seed": seed,
        "revisions": sorted({case["git"] for case in cases}),
        "seconds": round(sum(case["seconds"] for case in cases), 1),
        "failures": [case for case in cases if case["not_finite"] or case["status"] == 0],
    }


def main() -> None:
    """Runs what is missing, and writes the row."""
    arguments = soak_arguments(__doc__, "runs/soak/non_finite", minutes=15, runs=96)
    end = time.monotonic() + 60 * arguments.minutes
    root = Path(tempfile.gettempdir()) / f"non-finite-{zlib.crc32(os.fspath(arguments.work.resolve()).encode()):08x}"
    if arguments.case is not None:
        print(json.dumps(attempt(arguments.case, arguments.seed, root), indent=1))
        return
    lines = arguments.work / f"seed-{arguments.seed}.jsonl"
    cases = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    while len(cases) < arguments.runs and time.monotonic() < end:
        cases.append(attempt(len(cases), arguments.seed, root))
        with lines.open("a") as file:
            file.write(json.dumps(cases[-1]) + "\n")
        print(json.dumps(cases[-1]), flush=True)
    write_row("non_finite", summary(cases, arguments.seed))


if __name__ == "__main__":
    main()
