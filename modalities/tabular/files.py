"""Table files that a tabular model reads and writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.data.splits import split_column
from common.lazy import pd
from common.model.files import Columns, FileFormat, examples
from common.table_files import Dialect
from modalities.tabular.columns import Column, encode_table
from modalities.tabular.data.table_files import read_table, write_rows
from modalities.tabular.model import TabularCVAE

EXACT = 2**53  # a float64 below is every whole number exactly; NaN and infinity are not below


class TableFormat(FileFormat[TabularCVAE]):
    """Rows of a table: CSV, TSV, JSONL, Parquet or Excel.

    Of what the training learned it uses `na_values`, `left_out` and `renamed`, as in `TabularData`.
    """

    suffix = ".csv"

    def read(self, model: TabularCVAE, path: Path) -> Tensor:
        """Rows as x [N, F], NaN where a cell is empty; columns that the training left out are left out."""
        table = read_table(path, Dialect(na_values=self.learned.get("na_values") or ()))
        table = table.rename(columns=self.learned.get("renamed") or {})
        known = [column.name for column in model.columns]
        rest, _ = split_column(table, path)
        left_out = {*(self.learned.get("left_out") or ()), *(name for name in table.columns if name not in rest)}
        table = table[[name for name in table.columns if name in known or name not in left_out]]
        return torch.from_numpy(encode_table(table, model.columns, str(path)))

    def read_batch(self, model: TabularCVAE, paths: list[Path], condition: Fields) -> Batch:
        """As in the base class; a row has no condition but its own cells.

        Raises:
            ValueError: if there is another condition.
        """
        if condition:
            raise ValueError("the condition of a row is its own known cells: leave out --condition")
        return super().read_batch(model, paths, condition)

    def write(self, model: TabularCVAE, samples: Tensor, path: Path) -> None:
        """Writes rows [..., F] with the names and units of the table."""
        write_rows(as_frame(model, examples(samples, 1)), path)

    def rows(self, model: TabularCVAE, path: Path, x: Tensor) -> Columns:
        """The number of each row, from 1; the header does not count."""
        return {"row": list(range(1, len(x) + 1))}

    def scores(self, model: TabularCVAE, path: Path, batch: Batch, nll: Tensor) -> Columns:
        """The NLL of a row's observed cells, and their number."""
        observed = torch.ones_like(batch.x, dtype=torch.bool) if batch.mask is None else batch.mask
        return {**super().scores(model, path, batch, nll), "observed_cells": observed.sum(1).tolist()}


def as_frame(model: TabularCVAE, x: Tensor) -> pd.DataFrame:
    """Rows [N, F] as a DataFrame with the names and units of the table; whole numbers are integers."""
    values = x.double().cpu().numpy()
    table = {}
    for i, column in enumerate(model.columns):
        table[column.name] = cells_of(column, values[:, i])
    return pd.DataFrame(table)


def cells_of(column: Column, values: np.ndarray) -> np.ndarray:
    """Values [N] of a column, none of them missing, in the units of the table; whole numbers are integers."""
    cells = column.present(values)
    return cells.astype(int) if column.whole and (abs(cells) < EXACT).all() else cells
