"""The imputation benchmark: tables x masks x methods, as MIWAE measures it."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from common.results import Measurement
from modalities.tabular.baselines import METHODS
from modalities.tabular.columns import Column, encode_table, fit_columns
from modalities.tabular.masks import Mechanism, hide
from modalities.tabular.metrics import decoded, imputation_metrics
from modalities.tabular.tables import CONTINUOUS, TABLES

# Mean squared error after z-scoring, 50 % MCAR, as published. Status: R recalled, V read, M measured with the authors'
# code; protocols as in MIWAE, apart from VAEAC (extra training mask, best epoch by IWAE on 15 % held out).
PUBLISHED = {
    "breast_cancer": {
        "MIWAE (Mattei and Frellsen 2019, recalled)": 0.280,
        "MIWAE (authors' notebook)": 0.2867,
        "MVAE (MIWAE paper, recalled)": 0.318,
        "missForest (MIWAE paper, recalled)": 0.291,
        "VAEAC (authors' code, 400 epochs, 50 imputations)": 0.381,
    },
    "iris": {"MIWAE (authors' notebook, upper end of .40-.52)": 0.52},
}


def run_protocol(
    name: str,
    methods: Sequence[str],
    masks: Iterable[int],
    mechanism: Mechanism = "mcar",
    rate: float = 0.5,
) -> dict[str, dict[str, Measurement]]:
    """A table's rows (methods) and figures: means over masks with their standard errors.

    The table is standardised with the statistics of all its cells (as MIWAE does), then cells are hidden; a method sees
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
    for mask, method in (bar := tqdm(work, desc=name, unit="run", leave=False)):
        bar.set_postfix_str(f"mask {mask}, {method}")
        hidden = hide(truth, mechanism, rate, mask)
        start = time.perf_counter(), time.process_time()
        filled = METHODS[method](table.mask(hidden), columns, mask)
        wall, processor = time.perf_counter() - start[0], time.process_time() - start[1]
        figures = imputation_metrics(filled, truth, hidden, columns)
        threads = f"{torch.get_num_threads()} threads of torch"
        figures["seconds"] = Measurement(wall, None, 1, "s", f"wall clock, {threads}")
        figures["CPU seconds"] = Measurement(processor, None, 1, "s", f"processor time, {threads}")
        for figure, measurement in figures.items():
            values[method][figure].append(measurement)
    return {
        method: {figure: over_masks(measured) for figure, measured in row.items()} for method, row in values.items()
    }


def standardised(table: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """The table with its continuous columns z-scored."""
    changed = {c.name: (table[c.name].astype(float) - c.location) / c.scale for c in columns if c.kind == "continuous"}
    return table.assign(**changed)


def refit(table: pd.DataFrame, columns: Sequence[Column]) -> list[Column]:
    """Columns of the same kinds with the statistics of another table."""
    return fit_columns(
        table,
        {
            c.name: {"kind": c.kind, "family": c.family, **({"values": list(c.values)} if c.discrete else {})}
            for c in columns
        },
    )


def over_masks(measured: Sequence[Measurement]) -> Measurement:
    """Mean over masks with its standard error."""
    values = np.array([measurement.value for measurement in measured])
    stderr = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    text = f"{measured[0].estimator}; mean and standard error over {len(values)} masks"
    return Measurement(float(values.mean()), stderr, len(values), measured[0].unit, text)


def published_rows(name: str) -> dict[str, dict[str, Measurement]]:
    """Rows of published figures on a table, beside ours under MIWAE's protocol."""
    note = "published: other masks; sources and status in modalities/tabular/protocol.py"
    return {
        row: {"mse": Measurement(value, None, 0, "variances", note)} for row, value in PUBLISHED.get(name, {}).items()
    }
