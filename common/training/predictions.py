"""Per-example scores as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = LazyModule("pandas")


def write_scores(predictions: list[dict[str, Tensor]], path: Path) -> Path:
    """Writes what `predict_step` returned as CSV, one row per example, sorted by index."""
    columns = {name: torch.cat([part[name].cpu() for part in predictions]) for name in predictions[0]}
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()}).sort_values("index")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path
