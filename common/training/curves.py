"""Curves of a training as a picture, from its metrics.csv."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from common.evaluation.media import render
from common.lazy import pd

PANELS = {  # title -> columns of metrics.csv that are drawn together
    "ELBO, nats": ("train/elbo", "val/elbo"),
    "reconstruction, nats": ("train/reconstruction", "val/reconstruction"),
    "KL, nats": ("train/kl", "val/kl"),
    "loss": ("train/loss",),
    "active units": ("val/active_units",),
    "learning rate": ("train/learning_rate",),
}
STARTS = ("ELBO, nats", "reconstruction, nats", "loss")  # panels whose first values would flatten the rest


def curves_picture(metrics: Path) -> Image.Image | None:
    """ELBO, its terms, loss, active units and learning rate over optimiser steps; None where nothing was logged."""
    rows = pd.read_csv(metrics)
    drawn = {title: [name for name in names if name in rows] for title, names in PANELS.items()}
    drawn = {title: names for title, names in drawn.items() if any(rows[name].notna().any() for name in names)}
    if not drawn:
        return None
    figure = Figure(figsize=(10.5, 2.6 * -(-len(drawn) // 3)), dpi=100, layout="constrained")
    panels = figure.subplots(-(-len(drawn) // 3), min(3, len(drawn)), squeeze=False).flat
    for panel, (title, names) in zip(panels, drawn.items(), strict=False):
        for name in names:
            known = rows.loc[rows[name].notna(), ["step", name]]
            panel.plot(
                known["step"] + 1, known[name], label=name.partition("/")[0], marker="." if len(known) < 3 else ""
            )
        if title in STARTS:
            later = pd.concat([rows[name].dropna().iloc[len(rows[name].dropna()) // 10 :] for name in names])
            margin = 0.05 * (later.max() - later.min() or 1.0)
            panel.set_ylim(later.min() - margin, later.max() + margin)
        panel.set_title(title, fontsize=9, loc="left")
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            panel.legend(fontsize=7, labels=["training", "validation"])
    for panel in panels:
        panel.axis("off")
    figure.supxlabel("optimiser steps", fontsize=8)
    return render(figure)
