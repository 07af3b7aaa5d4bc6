"""What a person can do with a model on the page: from values of controls to files, without the page."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import OBSERVED, Categorical, Continuous, Fields
from common.eval_mode import eval_mode
from common.model.abilities import InfersConditions
from common.seeding import seeded
from common.table_files import suffix_of
from common.training.restore import Restored

KEPT = 3600  # seconds that files are kept
UNITS = 6  # of z that have a slider
PROBED = 64  # samples from which the units are chosen
NOT_GIVEN = "(not given)"

Fill = Callable[[Path, Path], Sequence[str]]  # fills the empty cells of a file into another one; notes, a line each


@dataclass(frozen=True)
class Session:
    """A model, and the folder that its files go to.

    Attributes:
        name: what a person calls the model.
        restored: the checkpoint.
        fill: fills the empty cells of tables; None for models that do not.
        room: where files are written; those of an hour ago are removed, and all at the end of the process.
    """

    name: str
    restored: Restored
    fill: Fill | None = None
    room: tempfile.TemporaryDirectory[str] = field(default_factory=partial(tempfile.TemporaryDirectory, prefix="demo-"))

    @property
    def suffix(self) -> str:
        """Of the files that are written: .png, .txt, .csv, or / for a folder of sounds."""
        return self.restored.files.suffix

    @property
    def categories(self) -> dict[str, list[str]]:
        """The values of each category that the model was trained on."""
        known = self.restored.model.condition.attributes
        return {
            name: [value for value in attribute.values if value not in attribute.untrained]
            for name, attribute in known.items()
            if isinstance(attribute, Categorical)
        }

    @property
    def numbers(self) -> dict[str, Continuous]:
        """The numbers of the condition."""
        known = self.restored.model.condition.attributes
        return {name: attribute for name, attribute in known.items() if isinstance(attribute, Continuous)}

    @property
    def texts(self) -> list[str]:
        """Names of the texts of the condition, such as a description."""
        condition = self.restored.model.condition
        return [name for name in condition.field_names if name not in (*condition.attributes, OBSERVED)]

    @property
    def cells(self) -> list[str]:
        """Names of the columns whose cells are the condition."""
        condition = self.restored.model.condition
        return [name for name in condition.names if name not in condition.field_names]

    @property
    def transfers(self) -> bool:
        """Whether an example can be given another condition."""
        return bool(self.categories or self.numbers or self.texts)

    @cached_property
    def units(self) -> Tensor:
        """The units of z that the recognition network uses most, the first one most: positions.

        By the variance of its means over the model's own samples. Source: Burda, Grosse and Salakhutdinov 2016,
        "Importance Weighted Autoencoders", section 5.2, there over the data.
        """
        model = self.restored.model
        first = {name: values[0] for name, values in self.categories.items()}
        fields = model.raw_fields(first | {name: number.mean for name, number in self.numbers.items()})
        with seeded(0), eval_mode(model):
            x = model.sample(fields, PROBED)[:, 0]
            rows = {name: field.expand(PROBED) for name, field in fields.items()}
            spread = model.posterior_mean(Batch(x, rows)).var(0)
        return spread.argsort(descending=True)[:UNITS]

    def generate(
        self,
        condition: Mapping[str, Any],
        number: int = 4,
        temperature: float = 1.0,
        guidance: float = 1.0,
        seed: int = 0,
        shifts: Sequence[float] = (),
    ) -> list[Path]:
        """Files of samples.

        Args:
            condition: values of the controls by name; those that are not given are left out.
            number: how many.
            temperature: scale of z around the prior's mean.
            guidance: as in `Generation.sample`.
            seed: of all noise.
            shifts: what is added to each of `units`, the same in every sample.

        Raises:
            ValueError: for a value that the model does not know.
        """
        model, fields = self.restored.model, self._fields(condition)
        with seeded(int(seed)):
            z = model.latents(fields, int(number), temperature)
            for unit, shift in zip(self.units if any(shifts) else [], shifts, strict=False):
                z[..., unit] += shift
            x = model.decoded(z, fields, guidance)[:, 0]
        return self._write(x)

    def transfer(
        self,
        example: Path | str,
        own: Mapping[str, Any],
        condition: Mapping[str, Any],
        guidance: float = 1.0,
        seed: int = 0,
    ) -> list[Path]:
        """The file of an example under another condition.

        Args:
            example: a file, or a text.
            own: the example's condition; an audio model infers what is not given.
            condition: the values that change.
            guidance: as in `Generation.transfer`.
            seed: of all noise.

        Raises:
            ValueError: if the example cannot be read, or no value of the condition is given.
        """
        model, changed = self.restored.model, self._fields(condition)
        if not changed:
            raise ValueError("choose a value that the example is to have")
        if isinstance(example, str):
            text = " ".join(example.split())
            if not text:
                raise ValueError("write a sentence first")
            example = self._place(".txt").with_name("your sentence")
            example.write_text(text + "\n", encoding="utf-8")
        try:
            batch = self.restored.files.read_batch(model, [example], self._fields(own))
        except ValueError as error:  # in which the file has a name that nobody gave it, and options are a script's
            raise ValueError(str(error).replace(str(example), example.name).partition(", or choose --")[0]) from error
        if isinstance(model, InfersConditions):
            batch = batch.replace(condition=model.infer_conditions(batch.x) | batch.condition)
        with seeded(int(seed)):
            return self._write(model.transfer(batch, changed, guidance))

    def imputed(self, table: Path) -> tuple[Path, Sequence[str]]:
        """The file of a table with its empty cells filled, and what should be known of it.

        Raises:
            ValueError: if the table does not match the model.
        """
        if self.fill is None:
            raise ValueError(f"{self.name} does not fill tables")
        target = self._place(suffix_of(table))
        return target, self.fill(table, target)

    def _fields(self, condition: Mapping[str, Any]) -> Fields:
        given = {name: value for name, value in condition.items() if value not in (None, "", NOT_GIVEN)}
        texts = {name: value if isinstance(value, str) else repr(float(value)) for name, value in given.items()}
        return self.restored.model.raw_fields(texts)

    def _write(self, x: Tensor) -> list[Path]:
        path = self._place(self.suffix)
        self.restored.files.write(self.restored.model, x, path)
        return sorted(path.iterdir()) if path.is_dir() else [path]

    def _place(self, suffix: str) -> Path:
        """A new file, or a new folder, to write."""
        for old in Path(self.room.name).iterdir():
            if time.time() - old.stat().st_mtime > KEPT:
                shutil.rmtree(old)
        folder = Path(tempfile.mkdtemp(dir=self.room.name))
        return folder / "sounds" if suffix == "/" else folder / f"{self.name}{suffix}"
