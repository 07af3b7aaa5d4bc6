"""The imputation benchmark: tables x masks x methods, as MIWAE measures it."""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common.lazy import pd
from common.results import Measurement, Results
from common.training.baseline_run import baseline_run
from modalities.tabular.columns import Column, encode_table
from modalities.tabular.data.masks import Mechanism, hide
from modalities.tabular.data.tables import CONTINUOUS, LABELLED, TABLES, scikit_table
from modalities.tabular.evaluation.baselines import METHODS
from modalities.tabular.evaluation.metrics import downstream_accuracy, imputation_metrics
from modalities.tabular.imputation.filled import decoded
from modalities.tabular.schema import fit_columns, schema_of


def run_protocol(
    name: str,
    methods: Sequence[str],
    masks: Iterable[int],
    mechanism: Mechanism = "mcar",
    rate: float = 0.5,
) -> dict[str, dict[str, Measurement]]:
    """Figures of each method on a table: means over masks with their standard errors.

    The table is standardised with the statistics of all its cells (as MIWAE does), then cells are hidden; a method gets
    the incomplete table alone, and is scored on its hidden cells.

    Args:
        name: a key of `TABLES`.
        methods: keys of `METHODS`.
        masks: seeds of the masks, and of the methods.
        mechanism: how cells are hidden.
        rate: share of cells to hide.
    """
    table = TABLES[name]()
    columns = fit_columns(table, {str(n): "continuous" for n in table.columns} if name in CONTINUOUS else None)
    table = standardised(table, columns)
    truth = decoded(encode_table(table, columns := refit(table, columns)).astype(float), columns)
    values: dict[str, dict[str, list[Measurement]]] = defaultdict(lambda: defaultdict(list))
    work = [(mask, method) for mask in masks for method in methods]
    for mask, method in (bar := tqdm(work, desc=name, unit="run", leave=False, disable=None)):
        bar.set_postfix_str(f"mask {mask}, {method}")
        hidden = hide(truth, mechanism, rate, mask)
        start = time.perf_counter(), _processor_time()
        filled = METHODS[method](table.mask(hidden), columns, mask)
        wall, processor = time.perf_counter() - start[0], _processor_time() - start[1]
        figures = imputation_metrics(filled, truth, hidden, columns)
        if name in LABELLED:
            labels = scikit_table(name, target=True)["target"].to_numpy()
            figures["accuracy"] = downstream_accuracy(filled.point, labels, mask)
            figures["complete_accuracy"] = downstream_accuracy(truth, labels, mask)
        threads = f"{torch.get_num_threads()} threads of torch"
        figures["seconds"] = Measurement(wall, None, 1, "s", f"wall clock, {threads}")
        figures["cpu_seconds"] = Measurement(processor, None, 1, "s", f"processor time, {threads}")
        for figure, measurement in figures.items():
            values[method][figure].append(measurement)
    return {
        method: {figure: over_masks(measured) for figure, measured in row.items()} for method, row in values.items()
    }


def _processor_time() -> float:
    """Seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def standardised(table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The table with its continuous columns z-scored."""
    changed = {c.name: (table[c.name].astype(float) - c.location) / c.scale for c in columns if c.kind == "continuous"}
    return table.assign(**changed)


def refit(table: pd.DataFrame, columns: Sequence[Column]) -> list[Column]:
    """Columns of the same kinds with the statistics of another table."""
    return fit_columns(table, schema_of(columns))


def over_masks(measured: Sequence[Measurement]) -> Measurement:
    """Mean over masks with its standard error; a single mask keeps the error over its cells."""
    if len(measured) == 1:
        return measured[0]
    values = np.array([measurement.value for measurement in measured])
    stderr = float(values.std(ddof=1) / len(values) ** 0.5)
    text = f"{measured[0].estimator}; mean and standard error over {len(values)} masks"
    return Measurement(float(values.mean()), stderr, len(values), measured[0].unit, text)


def results(
    rows: Mapping[str, Mapping[str, Measurement]], name: str, seed: int, started: datetime, options: Mapping[str, Any]
) -> Results:
    """Results of one method: figures of each table (`test/<table>/<figure>`) and their means over the tables.

    Args:
        rows: table -> figure -> measurement.
        name: name of the method.
        seed: seed of the first mask.
        started: start time of the first table.
        options: other settings that determine the figures.
    """
    metrics = {f"test/{table}/{figure}": value for table, row in rows.items() for figure, value in row.items()}
    for figure in dict.fromkeys(figure for row in rows.values() for figure in row):
        measured = [row[figure] for row in rows.values() if figure in row]
        text = f"mean over {len(measured)} tables: {measured[0].estimator}"
        mean = sum(each.value for each in measured) / len(measured)
        metrics[f"test/{figure}"] = Measurement(mean, None, sum(each.n for each in measured), measured[0].unit, text)
    digest = hashlib.sha256()
    for table in rows:
        digest.update(pd.util.hash_pandas_object(TABLES[table]()).to_numpy().tobytes())
    options = {"tables": list(rows), **options}
    run = baseline_run(name, "tabular", seed, started, options, digest.hexdigest()[:16])
    return Results(run, metrics)
