"""Tabular DataModules: rows with missing cells, of which an experiment hides more."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import Split, everything, given_split, random_split, split_column, spread
from common.data.terms import name_map
from common.lazy import pd
from common.table_files import Dialect
from modalities.tabular.columns import Column, encode_table, extended
from modalities.tabular.data.faults import fitted, suspicions
from modalities.tabular.data.masks import Mechanism, hide, randomly_masked
from modalities.tabular.data.table_files import read_table
from modalities.tabular.data.tables import scikit_table, synthetic
from modalities.tabular.schema import Schema, read_schema, schema_of

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
    learned = ("attributes", "columns", "left_out", "na_values", "renamed")
    source = "the table"  # for messages

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
        for name, value in [("rate", rate), ("held_out", held_out), *(("shares", share) for share in shares or [None])]:
            if not isinstance(value, int | float) or not math.isfinite(value):  # YAML's null passes every type
                raise ValueError(f"data.{name} is {value!r}, and no number")
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

    def dropped(self) -> list[str]:
        """Columns of the file that are no data."""
        return []

    @cached_property
    def _prepared(self) -> tuple[list[Column], Examples, list[str]]:
        """The columns, the examples, and the names of what was left out.

        Raises:
            ValueError: naming the table and, where there is one, the schema.
        """
        try:
            return self._prepare()
        except ValueError as error:
            said, schema = str(error), "" if self.schema_file is None else str(self.schema_file)
            if self.source not in said and not (schema and schema in said) and self.source != TabularData.source:
                said = f"{self.source}: {said}"
            raise ValueError(said if schema in said else f"{said}. The schema is {schema}") from error

    def _prepare(self) -> tuple[list[Column], Examples, list[str]]:
        frame, notes, left_out = self.frame(), [], self.dropped()
        notes += frame.attrs.get("notes", [])
        notes += [f"left out: {', '.join(left_out)}"] if left_out else []
        chosen = [*self.schema(), *self.targets()]
        rest, given = (frame, None) if "split" in chosen else split_column(frame, Path(self.source))
        if given is not None:
            name = next(str(name) for name in frame.columns if name not in rest.columns)
            use = (
                "says which rows are trained and tested" if self.protocol == "rows" else "is left out (protocol cells)"
            )
            notes.append(f"column {name} {use}")
            left_out = [*left_out, name]
        rows = spread(len(frame), self.limit)
        frame = rest.iloc[rows]
        origin = self._origin(frame, rows)
        if self.protocol == "cells" and self.targets():
            raise ValueError("data.target hides columns of test rows: it needs data.protocol rows")
        splits = self._splits(frame, None if given is None else [given[row] for row in rows])
        known: list[Column] | None = self.known("columns")
        if known is not None:
            remembered = [name for name in self.known("left_out") or [] if name in frame.columns]
            if remembered and not (self.terms is not None and self.terms.extend):
                frame, left_out = frame.drop(columns=remembered), [*left_out, *remembered]
                notes.append(f"left out, as in the training of the checkpoint: {', '.join(remembered)}")
            frame, kinds = self._in_known_columns(frame, known)
        else:
            kinds = fitted(frame, self.schema(), self.source)
            notes += suspicions(frame, kinds)
        cells = encode_table(frame, kinds, self.source).astype(float)
        hidden = hide(cells, self.mechanism, self.rate, self.seed)
        incomplete = frame.mask(hidden)
        scaled_by = frame if self.statistics == "all" else incomplete
        train = None if self.protocol == "cells" or self.statistics == "all" else splits["train"].numpy()
        columns = kinds if known is not None else fitted(scaled_by, schema_of(kinds), self.source, train)
        x = torch.from_numpy(encode_table(frame, columns, self.source))
        observed = x.masked_fill(torch.from_numpy(hidden), float("nan"))
        if self.protocol == "rows":
            evaluated = torch.cat([splits["val"], splits["test"]])
            for name in self.targets():
                observed[evaluated, [column.name for column in columns].index(name)] = float("nan")
            return columns, Examples(x, {OBSERVED: observed}, {}, splits, origin=origin, notes=notes), left_out
        generator = torch.Generator().manual_seed(self.seed)
        training = observed.masked_fill(torch.rand(x.shape, generator=generator) < self.held_out, float("nan"))
        both = {OBSERVED: torch.cat([training, observed])}
        every = torch.arange(len(x))
        examples = Examples(
            torch.cat([observed, x]),
            both,
            {},
            {"train": every, "val": every, "test": every + len(x)},
            origin={name: 2 * list(places) for name, places in origin.items()},
            notes=notes,
        )
        return columns, examples, left_out

    def _splits(self, frame: pd.DataFrame, given: list[Split] | None) -> dict[Split, torch.Tensor]:
        """Rows of each split; rows with the same cells stay together where the table names no split for them."""
        if self.scores_all:
            return everything(len(frame))
        if given is not None and self.protocol == "rows":
            names = ["\t".join(map(str, row)) for row in frame.itertuples(index=False)]
            return given_split(given, names, self.shares)
        if len(frame) < 10:
            raise ValueError(f"a table of {len(frame)} rows is too small to be split: give at least 10")
        return random_split(len(frame), self.shares, self.seed)

    def _origin(self, frame: pd.DataFrame, rows: list[int]) -> dict[str, list[int]]:
        """The number of each row from 1, and its line in a file of text; of a sheet, the number of the row in it."""
        places = {str(frame.index.name): frame.index.tolist()} if frame.index.name in ("line", "row") else {}
        return {"row": [row + 1 for row in rows], **places}

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
            own = {column.name: column for column in fitted(frame, self.schema(), self.source)}
            kept = [extended(column, own[column.name]) for column in known if column.name in own]
            columns = kept + [own[name] for name in further]
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

    @property
    def left_out(self) -> list[str]:
        """Columns of the file that are no data; `impute.py` passes them through."""
        return list(dict.fromkeys([*(self.known("left_out") or []), *self._prepared[2]]))

    @property
    def na_values(self) -> list[str]:
        """Further cells that count as empty."""
        return list(self.known("na_values") or [])

    @property
    def renamed(self) -> dict[str, str]:
        """Other names of columns, by those in the file."""
        return {**(self.known("renamed") or {}), **self.column_names}

    def repeated(self, split: Split) -> int:
        """How many rows of a split are in train as well; with `protocol: cells` all are, by intention."""
        return 0 if self.protocol == "cells" else super().repeated(split)

    def details(self) -> list[str]:
        """What was read and left out; kind of each column and its empty cells; how many cells are hidden."""
        x, observed = self.examples.x, self.examples.fields[OBSERVED]
        empty = x.isnan().float().mean(0).tolist()
        kinds: dict[str, list[str]] = {}
        for column, share in zip(self.columns, empty, strict=True):
            name = f"{column.name} ({share:.0%} empty)" if share else column.name
            kinds.setdefault(column.kind, []).append(name)
        hidden = (observed.isnan() & ~x.isnan()).sum() / (~x.isnan()).sum().clamp_min(1)
        lines = [f"{kind} columns: {', '.join(names)}" for kind, names in kinds.items()]
        lines = [*super().details(), *lines]
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


class OwnTable(TabularData):
    """Base of tables that a person chooses, with kinds of columns that are guessed; a subclass supplies `read`.

    A column `split` of train, val and test is no data, but divides the rows.

    Args:
        target: columns that validation and test always hide: the model is evaluated as their predictor.
        drop: columns to leave out, such as identifiers; `impute.py` passes them through as they are.
        index: column that names the rows; it is left out likewise.
        schema: YAML file that maps column names to kinds (continuous, nonnegative, positive, count, ordinal, binary,
            categorical), or to mappings with `kind`, `family` and, in order, `values`. The kinds of other columns
            are inferred.
        rate: share of cells to hide.
        base: as in `TabularData`.
    """

    def __init__(
        self,
        target: list[str] | None = None,
        drop: list[str] | None = None,
        index: str | None = None,
        schema: Path | None = None,
        rate: float = 0.3,
        **base: Any,
    ) -> None:
        super().__init__(rate=rate, schema=schema, **base)
        self.target = target or []
        self.drop = drop or []
        self.index = index

    def read(self) -> pd.DataFrame:
        """The table with all of its columns, and NaN for empty cells."""
        raise NotImplementedError

    def dropped(self) -> list[str]:
        """Columns of the table that are no data."""
        return list(dict.fromkeys([*([self.index] if self.index else []), *self.drop]))

    def frame(self) -> pd.DataFrame:
        """The columns that are data."""
        table = self.read()
        named = {"target": self.target, "drop": self.drop, "index": [self.index] if self.index else []}
        for option, names in {**named, "map": list(self.column_names)}.items():
            unknown = [name for name in names if name not in table.columns]
            if unknown:
                present = ", ".join(map(str, table.columns))
                raise ValueError(f"data.{option}: {self.source} has no column {', '.join(unknown)}; it has: {present}")
        notes = table.attrs.get("notes", [])
        table = table.drop(columns=self.dropped()).rename(columns=self.column_names)
        table.attrs["notes"] = notes
        return table

    def targets(self) -> list[str]:
        """Columns that validation and test always hide."""
        return [self.column_names.get(name, name) for name in self.target]


class TableFile(OwnTable):
    """Your own table, CSV, TSV, JSONL, Parquet, Excel or a data set that `datasets` has saved, with or without gaps.

    Args:
        root: the file, or the folder of the saved data set.
        dialect: how the file is written, and which cells count as empty; the checkpoint remembers the latter.
        base: as in `OwnTable`.
    """

    def __init__(self, root: Path, dialect: Dialect = Dialect(), **base: Any) -> None:  # noqa: B008, which is frozen
        super().__init__(**base)
        self.root = Path(root)
        self.source = str(root)
        self.dialect = dialect

    @property
    def sources(self) -> list[Path]:
        """The table and the schema."""
        return [self.root, *([] if self.schema_file is None else [Path(self.schema_file)])]

    @property
    def na_values(self) -> list[str]:
        """Further cells that count as empty, here or in the training of the checkpoint."""
        return list(dict.fromkeys([*(self.known("na_values") or []), *map(str, self.dialect.na_values)]))

    def read(self) -> pd.DataFrame:
        """Reads the file."""
        return read_table(self.root, replace(self.dialect, na_values=self.na_values))
