"""Tabular DataModules: rows whose cells are known or not, and what an experiment hides of them."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.data.datamodule import ConditionalDataModule
from common.data.splits import random_split
from common.data.table import Table
from modalities.tabular.columns import Column, Schema, encode_table, fit_columns, read_schema
from modalities.tabular.data.files import read_table
from modalities.tabular.data.masks import Mechanism, hide, shown_part
from modalities.tabular.data.tables import scikit_table, synthetic

Protocol = Literal["rows", "cells"]


class TabularData(ConditionalDataModule):
    """Base of the tabular DataModules; a subclass supplies `frame`.

    `mechanism` and `rate` decide which cells the experiment hides. No training ever sees them; the test fills them in.
    A row of the data is x, every cell whose truth is known, and the field `observed`, what a model may look at, NaN
    elsewhere. In training x is what is observed, and of that a random part of each row is shown to the prior.

    With `protocol: rows` validation and test have rows of their own. With `protocol: cells` (MIWAE's) the model trains
    on the incomplete table itself and is tested on its hidden cells; validation predicts observed cells that are held
    out of training.

    Args:
        batch_size: rows a batch and process.
        mechanism: "mcar" hides cells completely at random, "mar" by other columns, "mnar" by their own value.
        rate: share of cells to hide.
        protocol: "rows" or "cells".
        statistics: columns are scaled by their "observed" training cells, or by "all" cells as MIWAE does.
        shares: shares of validation and test rows.
        held_out: share of the observed cells for validation (`protocol: cells`).
        schema: YAML with the kinds of columns, where the guess is to be overruled.
        seed: of splits, masks and shuffling.
    """

    def __init__(
        self,
        batch_size: int = 64,
        mechanism: Mechanism = "mcar",
        rate: float = 0.5,
        protocol: Protocol = "rows",
        statistics: Literal["observed", "all"] = "observed",
        shares: tuple[float, float] = (0.1, 0.2),
        held_out: float = 0.1,
        schema: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        self.mechanism, self.rate, self.protocol = mechanism, rate, protocol
        self.statistics = statistics
        self.shares = shares
        self.held_out = held_out
        self.schema_file = schema

    def frame(self) -> pd.DataFrame:
        """The table, empty cells as NaN."""
        raise NotImplementedError

    def schema(self) -> Schema:
        """Kinds of columns that overrule the guess."""
        return {} if self.schema_file is None else read_schema(self.schema_file)

    def targets(self) -> list[str]:
        """Columns that validation and test always hide."""
        return []

    @cached_property
    def _prepared(self) -> tuple[list[Column], Table]:
        frame = self.frame()
        if len(frame) < 10:
            raise ValueError(f"a table of {len(frame)} rows is too small to be split: give at least 10")
        kinds = fit_columns(frame, self.schema())
        splits = random_split(len(frame), self.shares, self.seed)
        hidden = hide(encode_table(frame, kinds).astype(float), self.mechanism, self.rate, self.seed)
        incomplete = frame.mask(hidden)
        seen = frame if self.statistics == "all" else incomplete
        train = None if self.protocol == "cells" or self.statistics == "all" else splits["train"].numpy()
        columns = fit_columns(seen, _as_schema(kinds), train)
        x = torch.from_numpy(encode_table(frame, columns))
        observed = x.masked_fill(torch.from_numpy(hidden), float("nan"))
        if self.protocol == "rows":
            rows = torch.cat([splits["val"], splits["test"]])
            for name in self.targets():
                observed[rows, [column.name for column in columns].index(name)] = float("nan")
            return columns, Table(x, {OBSERVED: observed}, {}, splits)
        generator = torch.Generator().manual_seed(self.seed)
        training = observed.masked_fill(torch.rand(x.shape, generator=generator) < self.held_out, float("nan"))
        both = {OBSERVED: torch.cat([training, observed])}
        rows = torch.arange(len(x))
        return columns, Table(torch.cat([observed, x]), both, {}, {"train": rows, "val": rows, "test": rows + len(x)})

    def load(self) -> Table:
        """Reads the table, hides cells, and scales the rest."""
        return self._prepared[1]

    @property
    def columns(self) -> list[Column]:
        """The table's columns: what the model is built from."""
        _ = self.table
        return self._prepared[0]

    def training_cells(self) -> Tensor:
        """Observed cells of the training rows [N, F], NaN elsewhere: what the linear start is fitted to."""
        return self.table.fields[OBSERVED][self.table.splits["train"]]

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Known cells as mask; in training only observed ones, and a random share of each row's is shown."""
        x = batch.condition[OBSERVED] if training else batch.x
        known = ~x.isnan()
        condition = batch.condition
        if training:
            condition = {**condition, OBSERVED: shown_part(x)}
        return batch.replace(x=x.nan_to_num(), mask=known, condition=condition)


def _as_schema(columns: list[Column]) -> dict[str, Any]:
    return {
        c.name: {"kind": c.kind, "family": c.family, **({"values": list(c.values)} if c.discrete else {})}
        for c in columns
    }


class ScikitTable(TabularData):
    """Base of scikit-learn's tables; options as in `TabularData`, the target is left out."""

    name: str

    def frame(self) -> pd.DataFrame:
        """Reads the installed package's file."""
        return scikit_table(self.name)

    def schema(self) -> Schema:
        """All columns are continuous, as in MIWAE's protocol, unless a file says otherwise."""
        return super().schema() or dict.fromkeys(scikit_table(self.name).columns, "continuous")


class BreastCancer(ScikitTable):
    """Breast cancer Wisconsin: 569 rows, 30 measurements of cell nuclei."""

    name = "breast_cancer"


class Wine(ScikitTable):
    """178 wines, 13 chemical measurements."""

    name = "wine"


class Diabetes(ScikitTable):
    """442 patients, 10 measurements."""

    name = "diabetes"


class Iris(ScikitTable):
    """150 flowers, 4 lengths."""

    name = "iris"


class Synthetic(TabularData):
    """2,000 rows of every kind of column, made of two latent numbers, with 10 % of the cells empty from the start."""

    def frame(self) -> pd.DataFrame:
        """Draws the table."""
        return synthetic(missing=0.1, seed=1)


class TableFile(TabularData):
    """A person's own table, CSV or Parquet, with or without empty cells.

    Args:
        root: the file.
        target: columns that validation and test always hide: the model is judged as their predictor.
        drop: columns that are no data, such as identifiers.
        schema: YAML that maps column names to kinds (continuous, positive, count, ordinal, binary, categorical), or to
            mappings with `kind`, `family` and, in order, `values`. Other columns are guessed from dtypes and values.
        batch_size: as in `TabularData`.
        mechanism: as in `TabularData`.
        rate: as in `TabularData`.
        protocol: as in `TabularData`.
        statistics: as in `TabularData`.
        shares: as in `TabularData`.
        held_out: as in `TabularData`.
        seed: as in `TabularData`.
    """

    def __init__(
        self,
        root: Path,
        target: list[str] | None = None,
        drop: list[str] | None = None,
        schema: Path | None = None,
        batch_size: int = 64,
        mechanism: Mechanism = "mcar",
        rate: float = 0.3,
        protocol: Protocol = "rows",
        statistics: Literal["observed", "all"] = "observed",
        shares: tuple[float, float] = (0.1, 0.2),
        held_out: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, mechanism, rate, protocol, statistics, shares, held_out, schema, seed)
        self.root = Path(root)
        self.target = target or []
        self.drop = drop or []

    def frame(self) -> pd.DataFrame:
        """Reads the file."""
        table = read_table(self.root)
        unknown = [name for name in [*self.target, *self.drop] if name not in table.columns]
        if unknown:
            names = ", ".join(map(str, table.columns))
            raise ValueError(f"{self.root} has no column {', '.join(unknown)}; it has: {names}")
        return table.drop(columns=self.drop)

    def targets(self) -> list[str]:
        """Columns that validation and test always hide."""
        return self.target
