"""Report of a tabular model: test figures beyond those of all modalities, pictures and completed rows."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.data.splits import some_rows
from common.eval_mode import eval_mode
from common.evaluation.columns import Columns
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media, render
from common.evaluation.report import Report
from common.lazy import pd
from common.results import Measurement
from modalities.tabular.columns import Column
from modalities.tabular.data import TabularData
from modalities.tabular.evaluation.judges import generated_figures
from modalities.tabular.evaluation.metrics import imputation_metrics
from modalities.tabular.files import TableFormat, as_frame, cells_of
from modalities.tabular.imputation.filled import Filled, by_importance, decoded, in_table_units
from modalities.tabular.imputation.sampling import (
    Imputation,
    impute_blocks,
    impute_rows,
    interval_factor,
    masked_log_likelihood,
    with_intervals,
)
from modalities.tabular.model import TabularCVAE

COVERAGE = 0.9  # nominal coverage of the intervals
PROPOSALS = 100
DRAWS = 200
LIKELIHOOD_SAMPLES = 200
CALIBRATION_ROWS = 300  # most validation rows whose hidden cells set the width of the intervals
SHOWN_ROWS = 20
CELL_COLUMNS = ("truth", "imputed", "low", "high")


class TabularReport(Report[TabularCVAE, TabularData]):
    """Errors on hidden cells, coverage and width of intervals, log-likelihood of hidden cells; control; pictures."""

    files = TableFormat()

    def figures(
        self, model: TabularCVAE, data: TabularData, evaluation: Evaluation, table: Columns
    ) -> dict[str, Measurement]:
        """`test/mse`, `nrmse`, `pfc`, `coverage`, `width`, `masked_log_likelihood` and so on, of hidden test cells.

        Intervals are widened by one factor so that they cover the hidden cells of the validation rows.
        """
        rows = data.examples.splits["test"]
        x, observed = data.examples.x[rows], data.examples.fields[OBSERVED][rows]
        start, factor = time.perf_counter(), float(model.widening)
        with eval_mode(model):
            blocks = impute_blocks([model], observed.to(model.device), PROPOSALS, DRAWS, evaluation.seed)
            imputation, *ends = with_intervals(blocks, COVERAGE, model.columns, factor)
        seconds = time.perf_counter() - start
        points = (decoded(part.cpu().double().numpy(), model.columns) for part in (imputation.point, *ends))
        point, low, high = points
        how = by_importance(LIKELIHOOD_SAMPLES, model.condition.reads_observed)
        filled = Filled(point, low, high, lambda _, cells: _log_likelihoods(model, data, cells, evaluation.seed), how)
        truth = decoded(x.double().numpy(), model.columns)
        hidden = (observed.isnan() & ~x.isnan()).numpy()
        figures = imputation_metrics(filled, truth, hidden, model.columns, COVERAGE)
        calibrated = min(CALIBRATION_ROWS, len(data.examples.splits["val"]))
        how = "widening that covers the hidden cells of validation rows"
        figures["interval_factor"] = Measurement(factor, None, calibrated, "ratio", how)
        how = f"{PROPOSALS} samples of z, {DRAWS} imputations of {len(rows)} rows"
        figures["imputation_seconds"] = Measurement(seconds, None, len(rows), "s", how)
        if model.condition.reads_observed and evaluation.gain_examples:
            figures["condition_gain"] = _gain(model, data, evaluation)
        named = {f"test/{name}": figure for name, figure in figures.items()}
        return named | generated_figures(model, data, evaluation, self.judge_steps)

    def media(self, model: TabularCVAE, batch: Batch) -> Media:
        """Imputed against true cells with intervals, a map of completed rows, and the rows themselves."""
        with eval_mode(model):
            return _media(model, batch)

    def after_validation(self, model: TabularCVAE, data: TabularData) -> None:
        """Sets the factor by which 90 % intervals cover the hidden cells of some validation rows."""
        with eval_mode(model):
            model.widening.fill_(_widening(model, data))


def _gain(model: TabularCVAE, data: TabularData, evaluation: Evaluation) -> Measurement:
    """log p(hidden | observed) - log p(hidden), both of the same model: what the observed cells are worth in nats."""
    batch: Batch = data.some("test", evaluation.gain_examples).to(model.device)
    observed = batch.condition[OBSERVED]
    assert batch.mask is not None
    unconditional = batch.replace(
        condition={**batch.condition, OBSERVED: torch.full_like(observed, float("nan"))},
        mask=batch.mask & observed.isnan(),
    )
    parts = (batch, unconditional)
    with eval_mode(model):
        given, alone = (evaluation.estimate(model, part, evaluation.gain_samples).log_likelihood for part in parts)
    how = f"{evaluation.estimator(evaluation.gain_samples)}, against the same model told nothing"
    return Measurement.mean((given - alone).cpu(), "nats", how)


def _widening(model: TabularCVAE, data: TabularData) -> float:
    """The widening factor for `Imputation.interval`, from hidden validation cells."""
    rows = data.examples.splits["val"]
    rows = rows[some_rows(len(rows), CALIBRATION_ROWS, model.evaluation.seed)]
    x, observed = data.examples.x[rows].to(model.device), data.examples.fields[OBSERVED][rows].to(model.device)
    numbers = torch.tensor([not column.discrete for column in model.columns], device=model.device)
    cells = observed.isnan() & ~x.isnan() & numbers
    if not cells.any():
        return 1.0
    draws = impute_rows([model], observed, PROPOSALS, DRAWS, model.evaluation.seed).draws
    return interval_factor(draws, x.nan_to_num(), cells, COVERAGE)


def _log_likelihoods(model: TabularCVAE, data: TabularData, cells: np.ndarray, seed: int) -> np.ndarray:
    batch: Batch = data.batch("test", len(cells)).to(model.device)
    nats = masked_log_likelihood(model, batch, LIKELIHOOD_SAMPLES, seed)
    return in_table_units(nats.cpu().double().numpy(), cells, model.columns)


def _media(model: TabularCVAE, batch: Batch) -> Media:
    assert batch.mask is not None
    observed = batch.condition[OBSERVED]
    imputation = impute_rows([model], observed, PROPOSALS, DRAWS, model.evaluation.seed)
    truth = batch.shown(float("nan")).x
    cells = _cells(model, truth, observed, imputation)
    rows = slice(0, SHOWN_ROWS)
    frame = as_frame(model, imputation.point[rows])
    marks = observed[rows].isnan().cpu().numpy()
    text = frame.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value))
    media = Media({"scatter": _scatter(model, cells), "completed": _heat_map(model, truth, observed, imputation.point)})
    media.tables = {"completed": text.where(~marks, "[" + text + "]"), "cells": cells}
    intervals = f"with {COVERAGE:.0%} intervals, hidden cells of {len(observed)} validation rows"
    media.captions = {
        "scatter": f"imputed against true numbers {intervals}",
        "completed": "validation rows with their imputed cells in brackets",
        "cells": f"imputed and true cells {intervals}",
    }
    return media


def _cells(model: TabularCVAE, truth: Tensor, observed: Tensor, imputation: Imputation) -> pd.DataFrame:
    """A row for each hidden cell whose truth is known, in the units of the table; intervals are those of numbers."""
    ends = imputation.interval(COVERAGE, model.columns, float(model.widening))
    parts = dict(zip(CELL_COLUMNS, (truth, imputation.point, *ends), strict=True))
    hidden = (observed.isnan() & ~truth.isnan()).cpu().numpy()
    blocks = []
    for number, column in enumerate(model.columns):
        rows = hidden[:, number].nonzero()[0]
        block: dict[str, Any] = {"row": rows + 1, "column": column.name}
        for name, part in parts.items():
            known = name in ("truth", "imputed") or _has_intervals(column)
            block[name] = cells_of(column, part[rows, number].double().cpu().numpy()) if known else ""
        blocks.append(pd.DataFrame(block).astype(object))
    return pd.concat(blocks, ignore_index=True)


def _has_intervals(column: Column) -> bool:
    """Whether a column's cells are numbers that are neither codes nor dates."""
    return not column.discrete and not column.date


def _scatter(model: TabularCVAE, cells: pd.DataFrame) -> Image.Image:
    """True against imputed with intervals, in the units of the table, a panel for each of up to 12 columns."""
    names = [column.name for column in model.columns if _has_intervals(column)]
    names = [name for name in names if (cells["column"] == name).any()][:12]
    columns = min(4, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(2.6 * columns, 0.5 + 2.4 * rows), dpi=100, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel, name in zip(panels.flat, names, strict=False):
        true, point, low, high = (cells.loc[cells["column"] == name, part].astype(float) for part in CELL_COLUMNS)
        bars = np.clip(np.stack([point - low, high - point]), 0, None)
        panel.errorbar(true, point, bars, fmt=".", markersize=4, elinewidth=0.6, alpha=0.6)
        panel.axline((float(true.iloc[0]), float(true.iloc[0])), slope=1, color="grey", linewidth=0.8)
        panel.set_title(name, fontsize=8)
        panel.tick_params(labelsize=7)
    for panel in panels.flat[len(names) :]:
        panel.axis("off")
    figure.suptitle(f"hidden cells: imputed with {COVERAGE:.0%} intervals against the truth", fontsize=9)
    figure.supxlabel("true", fontsize=8)
    figure.supylabel("imputed", fontsize=8)
    return render(figure)


def _heat_map(model: TabularCVAE, truth: Tensor, observed: Tensor, point: Tensor) -> Image.Image:
    """Observed, completed and true rows, in the standardised units of the features."""
    layout = model.features
    parts = {"observed": observed, "completed": point, "true": truth}
    figure = Figure(figsize=(11, 5), dpi=100, layout="constrained")
    for panel, (name, cells) in zip(figure.subplots(1, 3), parts.items(), strict=True):
        values, known = (part[:SHOWN_ROWS].cpu() for part in layout(cells))
        values = values.masked_fill(~known, float("nan"))
        image = panel.imshow(values.numpy(), vmin=-2.5, vmax=2.5, cmap="RdBu_r", aspect="auto", interpolation="nearest")
        panel.set_facecolor("lightgrey")
        panel.set_yticks(range(0, SHOWN_ROWS, 5), [str(row) for row in range(1, SHOWN_ROWS + 1, 5)])
        starts = [own.start for own in layout.slices()]
        panel.set_xticks(starts, [column.name for column in model.columns], rotation=90, fontsize=6)
        panel.set_title(name, fontsize=9)
    figure.supylabel("row", fontsize=9)
    figure.suptitle("validation rows as the model is shown them, completed, and true; hidden cells grey", fontsize=10)
    figure.colorbar(image, label="standard deviations from the mean")
    return render(figure)
