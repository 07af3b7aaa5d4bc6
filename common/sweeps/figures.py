"""Figures of a sweep, by Optuna."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common.paths import written_whole
from common.sweeps.extra import optuna
from common.sweeps.storage import SPECIFICATION, State, study_of


def figures(folder: Path) -> list[tuple[str, Any]]:
    """Title and plotly figure of what there is to see in a sweep's folder.

    History and slices take one finished trial, parallel coordinates and importance two with different figures.

    Raises:
        ValueError: if the folder holds no sweep.
    """
    from optuna import visualization

    study = study_of(folder)
    values = {trial.value for trial in study.get_trials(deepcopy=False, states=[State.COMPLETE])}
    metric = json.loads((folder / SPECIFICATION).read_text())["metric"].partition(" ")[2]
    # Of the whole space: Optuna's default, PED-ANOVA, asks what matters among the best trials alone.
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    plots: dict[str, Callable[[], Any]] = {}
    if values:
        plots["History"] = lambda: visualization.plot_optimization_history(study, target_name=metric)
    if len(values) > 1:
        importances = visualization.plot_param_importances
        plots["Importance of the options"] = lambda: importances(study, evaluator=evaluator, target_name=metric)
        plots["Parallel coordinates"] = lambda: visualization.plot_parallel_coordinate(study, target_name=metric)
    if values:
        plots["Each option against the figure"] = lambda: visualization.plot_slice(study, target_name=metric)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return [(title, plot()) for title, plot in plots.items()]


def write_page(folder: Path, out: Path) -> None:
    """Writes the figures as one page, which needs no network.

    Raises:
        ValueError: if no trial has finished.
    """
    drawn = figures(folder)
    if not drawn:
        raise ValueError(f"no trial of {folder} has finished: there is nothing to draw")
    parts = [
        figure.update_layout(title=title).to_html(full_html=False, include_plotlyjs=number == 0)
        for number, (title, figure) in enumerate(drawn)
    ]
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Sweep {folder.name}</title><h1>{folder.name}</h1>'
    )
    with written_whole(out) as partial:
        partial.write_text("\n".join([head, *parts, "</html>"]))
