"""Per-example scores as a table."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from common.lazy import pd


def write_scores(predictions: list[dict[str, Tensor]], path: Path) -> Path:
    """Writes what `predict_step` returned as CSV, one row per example, sorted by index."""
    columns = {name: torch.cat([part[name].cpu() for part in predictions]) for name in predictions[0]}
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()}).sort_values("index")
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path
