"""Table files that a tabular model reads and writes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from common.batch import Batch
from common.lazy import pd
from common.model.files import Columns, FileFormat, examples
from modalities.tabular.columns import encode_table
from modalities.tabular.data.table_files import read_table, write_rows
from modalities.tabular.model import TabularCVAE

EXACT = 2**53  # a float64 below is every whole number exactly; NaN and infinity are not below


class TableFormat(FileFormat[TabularCVAE]):
    """Rows of a CSV or Parquet file."""

    suffix = ".csv"

    def read(self, model: TabularCVAE, path: Path) -> Tensor:
        """Rows as x [N, F], NaN where a cell is empty."""
        return torch.from_numpy(encode_table(read_table(path), model.columns, str(path)))

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
        cells = column.present(values[:, i])
        table[column.name] = cells.astype(int) if column.whole and (abs(cells) < EXACT).all() else cells
    return pd.DataFrame(table)
