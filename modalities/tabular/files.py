"""Table files that a tabular model reads and writes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from common.lazy import pd
from common.model.files import FileFormat
from modalities.tabular.columns import encode_table
from modalities.tabular.data.table_files import read_table, write_rows
from modalities.tabular.model import TabularCVAE


class TableFormat(FileFormat[TabularCVAE]):
    """Rows of a CSV or Parquet file."""

    def read(self, model: TabularCVAE, path: Path) -> Tensor:
        """Rows as x [N, F], NaN where a cell is empty."""
        return torch.from_numpy(encode_table(read_table(path), model.columns, str(path)))

    def write(self, model: TabularCVAE, samples: Tensor, path: Path) -> None:
        """Writes rows [N, F] with the names and units of the table."""
        write_rows(as_frame(model, samples), path)


def as_frame(model: TabularCVAE, x: Tensor) -> pd.DataFrame:
    """Rows [N, F] as a DataFrame with the names and units of the table."""
    values = x.double().cpu().numpy()
    return pd.DataFrame({column.name: column.present(values[:, i]) for i, column in enumerate(model.columns)})
