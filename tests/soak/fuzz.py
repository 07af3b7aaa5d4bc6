"""Mutated files against everything that reads files: what is refused has to be refused by a ValueError that names it.

    python -m tests.soak.fuzz --cases 10000 --minutes 60 --seed 0 --out FOLDER     goes on at the next case
    python -m tests.soak.fuzz --seed 0 --case 1234                                 one case, with its traceback

FOLDER/fuzz.json counts the attempts of each target, FOLDER/findings holds the files. A case is determined by the seed
and its number; isolated processes make a crash, a hang or a flood of memory a finding and not the end.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch
from PIL import Image
from tqdm import tqdm

from common.conditions.attributes import Categorical
from common.data.from_config import data_from_configuration
from common.process_memory import peak_memory_mb, resident_memory_mb, restart_peak_memory
from modalities.audio import AudioGenreCVAE, GenreEncoder
from modalities.audio.data import AudioFiles
from modalities.audio.files import SoundFormat
from modalities.audio.networks.convolutions import SpectrogramConv
from modalities.audio.signal.features import LogMel
from modalities.image import AttributeEncoder, ImageCVAE
from modalities.image.data import ImageFolder
from modalities.image.files import ImageFormat
from modalities.image.networks import MLP
from modalities.tabular import ObservedCellsEncoder, TabularCVAE
from modalities.tabular.columns import encode_table
from modalities.tabular.data import TableFile
from modalities.tabular.data.sources import source_of
from modalities.tabular.files import TableFormat
from modalities.tabular.schema import fit_columns
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.data import TextFiles
from modalities.text.files import TextFormat
from modalities.text.networks.architectures import Compact
from modalities.text.tokenizer import Tokenizer
from tests.soak.mutations import mutated
from tests.soak.valid_files import SENTENCES, valid_files, valid_images, valid_sounds

ALLOWED = (ValueError, FileNotFoundError, ImportError)  # and their message names the file
SECONDS = 20.0  # an attempt may take
GROWTH = 1024.0  # MB that an attempt may take
ADDRESSES = 4 * 2**30  # bytes of addresses that a worker may ask for
CASES = 500  # after which a worker is replaced
PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "pillow", "soundfile", "openpyxl", "pyyaml")
SHARES = (0.3, 0.3)
FEATURES = LogMel(sample_rate=8000, samples=2048, n_fft=256, hop=128, mels=8, high=4000.0)


@dataclass(frozen=True)
class Target:
    """What reads files.

    Attributes:
        name: of the target.
        files: names of the valid files whose mutations it reads.
        read: reads a file.
        place: folder of the file, below that of the worker.
    """

    name: str
    files: tuple[str, ...]
    read: Callable[[Path], object]
    place: str = "."

    def names(self, file: Path) -> list[str]:
        """What a message may call the file: its name, or the folder of a collection."""
        return [file.name, *([] if self.place == "." else [str(file.parent)])]


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `read`, `refused`, or the kind of a finding; and the message or the traceback."""

    target: str
    file: str
    kind: str
    message: str
    content: bytes

    @property
    def finding(self) -> bool:
        """Whether it should not be."""
        return self.kind not in ("read", "refused")


class Fuzz:
    """All targets, with models of their own, in a folder.

    Args:
        folder: an empty folder.
        seed: of all cases.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.files = valid_files()
        self.targets = self._targets()
        self._write_companions()

    def _write_companions(self) -> None:
        """What stands beside the mutated files; no two are alike."""
        noise = np.random.default_rng(1)
        for number, kind in enumerate("ab" * 8):
            for folder in ("images", "sounds"):
                (self.folder / folder / kind).mkdir(parents=True, exist_ok=True)
            pixels = noise.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(self.folder / "images" / kind / f"{number // 2}.png")
            wave = noise.normal(0, 0.1, 2048)
            soundfile.write(self.folder / "sounds" / kind / f"{number // 2}.wav", wave, 8000)
        (self.folder / "texts").mkdir()
        lines = "".join(f"a {sentence}\n" for sentence in SENTENCES)
        (self.folder / "texts" / "a.txt").write_text(lines)
        (self.folder / "companion.csv").write_bytes(self.files["table.csv"])

    def _targets(self) -> list[Target]:
        def named(*starts: str) -> tuple[str, ...]:
            return tuple(name for name in self.files if name.startswith(starts))

        images, sounds, texts, tables = (
            tuple(valid_images()),
            tuple(valid_sounds()),
            named("text."),
            named("table.", "german."),
        )
        root, (image, sound, text, table) = self.folder, _models(self.files)
        return [
            Target("image data", images, self._image_data, "images/a"),
            Target("image file", images, lambda file: ImageFormat().read_batch(image, [file], {})),
            Target(
                "image attributes",
                ("images.csv",),
                lambda file: ImageFolder(root / "images", file, size=8, shares=SHARES).whole,
            ),
            Target("sound data", sounds, self._sound_data, "sounds/a"),
            Target("sound file", sounds, lambda file: SoundFormat().read_batch(sound, [file], {})),
            Target("sound attributes", ("sounds.csv",), lambda file: self._sounds(attributes=file)),
            Target("text folder", named("lines."), lambda file: self._text(file.parent), "texts"),
            Target("text table", texts, self._text),
            Target("text file", (*texts, *named("lines.")), lambda file: TextFormat().read_batch(text, [file], {})),
            Target("table data", tables, lambda file: TableFile(file).whole),
            Target("table file", tables, lambda file: TableFormat().read_batch(table, [file], {})),
            Target("table to impute", tables, lambda file: _imputed(table, file)),
            Target("schema", ("schema.yaml",), lambda file: TableFile(root / "companion.csv", schema=file).whole),
            Target("configuration", ("data.yaml",), lambda file: data_from_configuration(file).whole),
        ]

    def _image_data(self, file: Path) -> None:
        """What is refused can be skipped."""
        try:
            _ = ImageFolder(self.folder / "images", size=8, shares=SHARES).whole
        except ValueError:
            _ = ImageFolder(self.folder / "images", size=8, shares=SHARES, faulty="skip").whole
            raise

    def _sounds(self, **options: Any) -> None:
        _ = AudioFiles(self.folder / "sounds", features=FEATURES, shares=SHARES, **options).whole

    def _sound_data(self, file: Path) -> None:
        """What is refused can be skipped."""
        try:
            self._sounds()
        except ValueError:
            self._sounds(faulty="skip")
            raise

    def _text(self, root: Path) -> None:
        _ = TextFiles(root, vocabulary=300, shares=SHARES).whole

    def case(self, number: int) -> tuple[Target, str, bytes]:
        """Target, name and content of a case."""
        chance = random.Random(f"{self.seed} {number}")
        target = self.targets[number % len(self.targets)]
        name = chance.choice(target.files)
        content = mutated(name, self.files, chance)
        if name == "data.yaml":  # after the mutation, which the folder must not change
            content = content.replace(b"companion.csv", str(self.folder / "companion.csv").encode())
        return target, name, content

    def attempt(self, number: int) -> Outcome:
        """Reads the file of a case."""
        target, name, content = self.case(number)
        file = self.folder / target.place / f"fuzzed{name[name.index('.') :]}"
        file.write_bytes(content)
        os.environ["SUITE_CACHE"] = str(self.folder / "cache")
        begun, base, measured = time.monotonic(), resident_memory_mb(), restart_peak_memory()
        outcome = partial(Outcome, target.name, name, content=content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.read(file)
            kind, message = "read", ""
        except ALLOWED as error:
            named = any(name in str(error) for name in target.names(file))
            # A configuration may name a wrong file or column, and the message that one.
            named = named or (isinstance(error, FileNotFoundError) and "does not exist" in str(error))
            named = named or (target.name == "configuration" and "companion.csv" in str(error))
            kind = "refused" if named else f"{type(error).__name__} without the file"
            message = str(error) if named else traceback.format_exc()
        except Exception as error:
            kind, message = type(error).__name__, traceback.format_exc()
        finally:
            file.unlink()
            shutil.rmtree(self.folder / "cache", ignore_errors=True)
        if (took := time.monotonic() - begun) > SECONDS:
            kind, message = "slow", f"{took:.0f} s"
        peak = peak_memory_mb(torch.device("cpu"))
        if measured and peak - base > GROWTH:
            kind, message = "memory", f"{peak - base:,.0f} MB"
        return outcome(kind=kind, message=message)


def _models(files: dict[str, bytes]) -> tuple[ImageCVAE, AudioGenreCVAE, TextStyleCVAE, TabularCVAE]:
    """Untrained models, as small as can be."""
    kinds = {"kind": Categorical("ab")}
    image = ImageCVAE(AttributeEncoder(kinds, dim=4), (3, 8, 8), latent_dim=2, architecture=MLP([8])).eval()
    architecture = SpectrogramConv(channels=4, width=8, depth=1)
    sound = AudioGenreCVAE(GenreEncoder(kinds, dim=4), FEATURES, latent_dim=4, architecture=architecture).eval()
    words = Tokenizer.train(SENTENCES, 300)
    compact = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    text = TextStyleCVAE(StyleEncoder(kinds, words, dim=4), words, 48, latent_dim=4, architecture=compact).eval()
    columns = fit_columns(pd.read_csv(io.BytesIO(files["table.csv"])))
    return image, sound, text, TabularCVAE(ObservedCellsEncoder(columns, 8), columns, latent_dim=2, hidden=8).eval()


def _imputed(model: TabularCVAE, file: Path) -> None:
    """What `impute.py` does, with zeros in place of imputed cells."""
    source = source_of(file)
    known = [column.name for column in model.columns]
    table = source.table[[name for name in source.table.columns if name in known]]
    x = torch.from_numpy(encode_table(table, model.columns, str(file)))
    filled = file.with_name(f"filled-{file.name}")
    filled.write_bytes(source.filled(model.columns, x.nan_to_num()))
    try:
        again = source_of(filled, source.dialect).table
    finally:
        filled.unlink()
    if again.shape != source.table.shape:
        raise AssertionError(f"{source.table.shape} became {again.shape}")


def _work(make: Callable[[], Fuzz], pipe: Connection) -> None:
    """Attempts the cases that come through the pipe, in a process of its own."""
    sink = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # decoders write there
        os.dup2(sink, descriptor)
    fuzz = make()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe.send(None)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(fuzz.attempt(pipe.recv()))


class Worker:
    """A process that attempts cases, and is replaced where one is its end.

    Args:
        folder: of the process.
        seed: of all cases.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.number: int | None = None
        self.start()

    def start(self) -> None:
        """Starts the process."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.pipe, other = multiprocessing.Pipe()
        make = partial(Fuzz, self.folder, self.seed)
        self.process = multiprocessing.get_context("spawn").Process(target=_work, args=(make, other), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()
        self.done = 0

    def give(self, number: int) -> None:
        """Gives it a case."""
        if self.done == CASES:
            self.stop()
            self.start()
        self.number, self.deadline = number, time.monotonic() + SECONDS + 5
        self.pipe.send(number)

    def ended(self) -> str | Outcome | None:
        """What became of its case: an outcome, how the process ended, or None as long as it is at work."""
        if self.pipe.poll():
            self.done += 1
            try:
                return self.pipe.recv()
            except (EOFError, ConnectionResetError):
                self.process.join()
                code = self.process.exitcode
                self.start()
                return f"crash {code}"
        if time.monotonic() > self.deadline:
            self.stop()
            self.start()
            return "hang"
        return None

    def stop(self) -> None:
        """Ends the process, which ends by itself where it waits for a case."""
        self.pipe.close()
        self.process.join(2)
        self.process.kill()
        self.process.join()


def fuzz(out: Path, seed: int, cases: int, minutes: float, workers: int = 1) -> dict[str, Any]:
    """Attempts cases up to a number of them or minutes, and returns the content of fuzz.json.

    Args:
        out: folder of the report and the findings; cases that it has are not attempted again.
        seed: of all cases.
        cases: number of all cases.
        minutes: after which it ends.
        workers: processes.
    """
    file, begun = out / "fuzz.json", time.monotonic()
    (out / "findings").mkdir(parents=True, exist_ok=True)
    report = (
        json.loads(file.read_text()) if file.exists() else {"seed": seed, "cases": 0, "seconds": 0.0, "targets": {}}
    )
    if report["seed"] != seed:
        raise ValueError(f"{file} is of seed {report['seed']}: name another folder with --out")
    report["versions"] = {"python": sys.version.split()[0], **{name: version(name) for name in PACKAGES}}
    before, first = report["seconds"], report["cases"]
    with tempfile.TemporaryDirectory() as folder:
        planned = Fuzz(Path(folder) / "plan", seed)
        team = [Worker(Path(folder) / f"{number}", seed) for number in range(workers)]
        try:
            for outcome in tqdm(
                _outcomes(planned, team, first, cases, begun + 60 * minutes), "fuzzing", cases, initial=first
            ):
                _count(report, out, outcome)
                report["seconds"] = round(before + time.monotonic() - begun, 1)
                if report["cases"] % 50 == 0:
                    file.write_text(json.dumps(report, indent=1))
        finally:
            for worker in team:
                worker.stop()
    file.write_text(json.dumps(report, indent=1))
    return report


def _outcomes(planned: Fuzz, team: list[Worker], first: int, cases: int, deadline: float) -> Iterator[Outcome]:
    """Outcomes in the order of their cases."""
    ready: dict[int, Outcome] = {}
    given = wanted = first
    while wanted < cases:
        for worker in team:
            if worker.number is None and given < cases and time.monotonic() < deadline:
                worker.give(given)
                given += 1
        busy = [worker for worker in team if worker.number is not None]
        if not busy:
            return
        wait([worker.pipe for worker in busy], timeout=1)
        for worker in busy:
            if (ended := worker.ended()) is not None and worker.number is not None:
                if isinstance(ended, str):
                    target, name, content = planned.case(worker.number)
                    ended = Outcome(target.name, name, ended, "", content)
                ready[worker.number], worker.number = ended, None
        while wanted in ready:
            yield ready.pop(wanted)
            wanted += 1


def _count(report: dict[str, Any], out: Path, outcome: Outcome) -> None:
    """Adds an outcome to the report, and stores a finding."""
    counts = report["targets"].setdefault(outcome.target, {"attempts": 0, "read": 0, "refused": 0, "findings": {}})
    counts["attempts"] += 1
    number, report["cases"] = report["cases"], report["cases"] + 1
    if not outcome.finding:
        counts[outcome.kind] += 1
        return
    counts["findings"][outcome.kind] = counts["findings"].get(outcome.kind, 0) + 1
    place = out / "findings" / f"{number:06d} {outcome.target} {outcome.kind} {outcome.file}".replace(" ", "_")
    place.write_bytes(outcome.content)
    place.with_name(f"{place.name}.log").write_text(outcome.message)


def main() -> int:
    """The command line; the status is 1 after a finding."""
    parser = argparse.ArgumentParser(
        prog="fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000, help="number of cases (default: 10,000)")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which it ends (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of all cases (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz"), help="folder to write (default: runs/fuzz)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--case", type=int, help="attempts this case alone, and shows what became of it")
    arguments = parser.parse_args()
    if arguments.case is not None:
        with tempfile.TemporaryDirectory() as folder:
            outcome = Fuzz(Path(folder), arguments.seed).attempt(arguments.case)
        print(f"{outcome.target}, {outcome.file}: {outcome.kind}\n{outcome.message}")
        return int(outcome.finding)
    report = fuzz(arguments.out, arguments.seed, arguments.cases, arguments.minutes, arguments.workers)
    for name, counts in report["targets"].items():
        findings = ", ".join(f"{number} {kind}" for kind, number in counts["findings"].items())
        print(f"{name}: {counts['attempts']} attempts, {counts['read']} read, {counts['refused']} refused; {findings}")
    return int(any(counts["findings"] for counts in report["targets"].values()))


if __name__ == "__main__":
    sys.exit(main())
