"""Scores of every example as a table that says where each comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical
from common.data.datamodule import ConditionalDataModule
from common.lazy import pd
from common.paths import written_whole

SCORES = ("elbo", "reconstruction", "kl")  # in nats


def write_scores(predictions: list[dict[str, Tensor]], data: ConditionalDataModule, path: Path) -> Path:
    """Writes what `predict_step` returned as CSV, one row per example, in the order of the data.

    The columns say where an example comes from (file, line, row ...), its split where the data have splits, its
    condition by name, and its scores; units are in their names.

    Args:
        predictions: columns by name, of all processes.
        data: the scored data.
        path: the file.
    """
    columns = {name: torch.cat([part[name].cpu() for part in predictions]) for name in predictions[0]}
    positions = columns.pop("index")
    order = positions.argsort()
    rows = data.scored[positions[order]]
    table: dict[str, object] = {"index": rows.numpy()}
    for name, values in data.examples.origin.items():
        table[name] = [values[row] for row in rows.tolist()]
    if not data.scores_all or len(data.examples.splits["val"]):
        table["split"] = split_names(data)[rows.numpy()]
    for name, attribute in data.attributes.items():
        table[name] = named(attribute, data.examples.fields[name][rows])
    for name, column in columns.items():
        table[f"{name}_nats" if name in SCORES else name] = column[order].numpy()
    if "seconds" in table:
        table["elbo_nats_per_second"] = np.asarray(table["elbo_nats"]) / np.asarray(table["seconds"])
    with written_whole(path) as partial:
        pd.DataFrame(table).to_csv(partial, index=False)
    return path


def split_names(data: ConditionalDataModule) -> np.ndarray:
    """The split of each example [N]."""
    names = np.full(len(data.examples.x), "", dtype=object)
    for name, rows in data.examples.splits.items():
        names[rows.numpy()] = name
    return names


def named(attribute: Attribute, values: Tensor) -> list[object]:
    """Raw values as a person writes them; None where missing."""
    missing = attribute.missing(values).tolist()
    if isinstance(attribute, Categorical):
        texts = [attribute.values[value] for value in values.tolist()]
        return [None if gone else text for text, gone in zip(texts, missing, strict=True)]
    return [None if gone else value for value, gone in zip(values.tolist(), missing, strict=True)]
