"""Tabular DataModules: rows with missing cells, of which an experiment hides more."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import everything, random_split, spread
from common.data.terms import name_map
from common.lazy import pd
from modalities.tabular.columns import Column, Schema, encode_table, extended, fit_columns, read_schema, schema_of
from modalities.tabular.data.masks import Mechanism, hide, randomly_masked
from modalities.tabular.data.table_files import read_table
from modalities.tabular.data.tables import scikit_table, synthetic

EvaluationProtocol = Literal["rows", "cells"]


class TabularData(ConditionalDataModule):
    """Base of the tabular DataModules; a subclass supplies `frame`.

    `mechanism` and `rate` decide which cells the experiment hides. They are never used in training; the test imputes
    them. An example is x, all cells with a known true value, and the field `observed`, the cells that a model may
    condition on, NaN elsewhere. In training x is the observed cells, and a random part of each row is the condition.

    With `protocol: rows` validation and test have rows of their own. With `protocol: cells` (MIWAE's) the model trains
    on the incomplete table itself and is tested on its hidden cells; validation predicts observed cells that are held
    out of training.

    Args:
        batch_size: rows per batch and process.
        mechanism: "mcar" hides cells completely at random, "mar" depending on other columns, "mnar" depending on their
            own value, "none" hides no cell.
        rate: share of cells to hide.
        protocol: "rows" tests on rows that training does not contain, "cells" on hidden cells of the training rows.
        statistics: columns are scaled by their "observed" training cells, or by "all" cells as MIWAE does.
        shares: shares of validation and test rows.
        held_out: share of the observed cells for validation (`protocol: cells`).
        schema: YAML file with kinds of columns that replace the inferred ones.
        seed: seed of splits, masks and shuffling.
        map: other names for columns, `old=new` or a list of these.
        limit: most rows to read, spread over all, for a trial; None reads all.
    """

    limits_itself = True
    learned = ("attributes", "columns")

    def __init__(
        self,
        batch_size: int = 64,
        mechanism: Mechanism = "mcar",
        rate: float = 0.5,
        protocol: EvaluationProtocol = "rows",
        statistics: Literal["observed", "all"] = "observed",
        shares: tuple[float, float] = (0.1, 0.2),
        held_out: float = 0.1,
        schema: Path | None = None,
        seed: int = 0,
        map: list[str] | str | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, limit=limit)
        self.column_names = name_map(map)  # columns, not conditions, have the names of a table
        self.mechanism, self.rate, self.protocol = mechanism, rate, protocol
        self.statistics = statistics
        self.shares = shares
        self.held_out = held_out
        self.schema_file = schema

    def frame(self) -> pd.DataFrame:
        """The table, with NaN for empty cells."""
        raise NotImplementedError

    def schema(self) -> Schema:
        """Kinds of columns that replace the inferred ones."""
        return {} if self.schema_file is None else read_schema(self.schema_file)

    def targets(self) -> list[str]:
        """Columns that validation and test always hide."""
        return []

    @cached_property
    def _prepared(self) -> tuple[list[Column], Examples]:
        frame = self.frame()
        frame = frame.iloc[spread(len(frame), self.limit)]
        if self.protocol == "cells" and self.targets():
            raise ValueError("data.target hides columns of test rows: it needs data.protocol rows")
        if self.scores_all:
            splits = everything(len(frame))
        elif len(frame) < 10:
            raise ValueError(f"a table of {len(frame)} rows is too small to be split: give at least 10")
        else:
            splits = random_split(len(frame), self.shares, self.seed)
        known: list[Column] | None = self.known("columns")
        if known is not None:
            frame, kinds = self._in_known_columns(frame, known)
        else:
            kinds = fit_columns(frame, self.schema())
        hidden = hide(encode_table(frame, kinds).astype(float), self.mechanism, self.rate, self.seed)
        incomplete = frame.mask(hidden)
        scaled_by = frame if self.statistics == "all" else incomplete
        train = None if self.protocol == "cells" or self.statistics == "all" else splits["train"].numpy()
        columns = kinds if known is not None else fit_columns(scaled_by, schema_of(kinds), train)
        x = torch.from_numpy(encode_table(frame, columns))
        observed = x.masked_fill(torch.from_numpy(hidden), float("nan"))
        if self.protocol == "rows":
            rows = torch.cat([splits["val"], splits["test"]])
            for name in self.targets():
                observed[rows, [column.name for column in columns].index(name)] = float("nan")
            return columns, Examples(x, {OBSERVED: observed}, {}, splits, origin={"row": range(1, len(x) + 1)})
        generator = torch.Generator().manual_seed(self.seed)
        training = observed.masked_fill(torch.rand(x.shape, generator=generator) < self.held_out, float("nan"))
        both = {OBSERVED: torch.cat([training, observed])}
        rows = torch.arange(len(x))
        return columns, Examples(
            torch.cat([observed, x]),
            both,
            {},
            {"train": rows, "val": rows, "test": rows + len(x)},
            origin={"row": 2 * list(range(1, len(x) + 1))},
        )

    def _in_known_columns(self, frame: pd.DataFrame, known: list[Column]) -> tuple[pd.DataFrame, list[Column]]:
        """The table in the columns that a checkpoint's model knows, by name, and these columns.

        For a training that starts from its weights, further columns and values are added to the known ones.

        Raises:
            ValueError: for a missing or an additional column; the message lists the names on both sides.
        """
        names, present = [column.name for column in known], [str(name) for name in frame.columns]
        missing = [name for name in names if name not in present]
        further = [name for name in present if name not in names]
        if self.terms is not None and self.terms.extend:
            fitted = {column.name: column for column in fit_columns(frame, self.schema())}
            kept = [extended(column, fitted[column.name]) for column in known if column.name in fitted]
            columns = kept + [fitted[name] for name in further]
            return frame.set_axis(present, axis=1)[[column.name for column in columns]], columns
        if missing or further:
            raise ValueError(
                f"the table lacks {', '.join(missing) or 'no column'} and has {', '.join(further) or 'none'} besides: "
                f"the checkpoint's model knows {', '.join(names)}. Rename columns with --data.map OLD=NEW, leave some "
                "out with --data.drop '[NAME]', or train from its weights: fit --weights CKPT"
            )
        return frame.set_axis(present, axis=1)[names], list(known)

    def load(self) -> Examples:
        """Reads the table, hides cells, and scales the rest."""
        return self._prepared[1]

    @property
    def columns(self) -> list[Column]:
        """The table's columns, from which the model is built."""
        _ = self.whole
        return self._prepared[0]

    def details(self) -> list[str]:
        """Kind of each column and its empty cells; how many cells are hidden."""
        x, observed = self.examples.x, self.examples.fields[OBSERVED]
        empty = x.isnan().float().mean(0).tolist()
        kinds: dict[str, list[str]] = {}
        for column, share in zip(self.columns, empty, strict=True):
            name = f"{column.name} ({share:.0%} empty)" if share else column.name
            kinds.setdefault(column.kind, []).append(name)
        hidden = (observed.isnan() & ~x.isnan()).sum() / (~x.isnan()).sum().clamp_min(1)
        lines = [f"{kind} columns: {', '.join(names)}" for kind, names in kinds.items()]
        return [*lines, f"{hidden:.0%} of the known cells are hidden ({self.mechanism}), for the test to impute"]

    def transform(self, batch: Batch, training: bool) -> Batch:
        """Rows with a mask of known cells; in training, of observed ones, a random part of which is the condition."""
        x = batch.condition[OBSERVED] if training else batch.x
        known = ~x.isnan()
        condition = batch.condition
        if training:
            condition = {**condition, OBSERVED: randomly_masked(x)}
        return batch.replace(x=x.nan_to_num(), mask=known, condition=condition)


class ScikitTable(TabularData):
    """Base of scikit-learn's tables without their targets; options as in `TabularData`."""

    name: str

    def frame(self) -> pd.DataFrame:
        """Reads the installed package's file."""
        return scikit_table(self.name)

    def schema(self) -> Schema:
        """All columns are continuous, as in MIWAE's protocol, but for those of which a file says otherwise."""
        return {**dict.fromkeys(scikit_table(self.name).columns, "continuous"), **super().schema()}


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
    """2,000 rows with all kinds of columns, generated from two latent variables; 10 % of the cells are empty."""

    def frame(self) -> pd.DataFrame:
        """Draws the table."""
        return synthetic(missing=0.1, seed=1)


class TableFile(TabularData):
    """Your own table, CSV or Parquet, with or without empty cells.

    Args:
        root: the file.
        target: columns that validation and test always hide: the model is evaluated as their predictor.
        drop: columns to leave out, such as identifiers.
        schema: YAML file that maps column names to kinds (continuous, positive, count, ordinal, binary, categorical),
            or to mappings with `kind`, `family` and, in order, `values`. The kinds of other columns are inferred.
        rate: share of cells to hide.
        base: as in `TabularData`.
    """

    def __init__(
        self,
        root: Path,
        target: list[str] | None = None,
        drop: list[str] | None = None,
        schema: Path | None = None,
        rate: float = 0.3,
        **base: Any,
    ) -> None:
        super().__init__(rate=rate, schema=schema, **base)
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
        table = table.drop(columns=self.drop)
        unknown = [name for name in self.column_names if name not in table.columns]
        if unknown:
            names = ", ".join(map(str, table.columns))
            raise ValueError(f"data.map: {self.root} has no column {', '.join(unknown)}; it has: {names}")
        return table.rename(columns=self.column_names)

    def targets(self) -> list[str]:
        """Columns that validation and test always hide."""
        return [self.column_names.get(name, name) for name in self.target]
