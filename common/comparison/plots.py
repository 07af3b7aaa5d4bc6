"""Plots of studies."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from PIL import Image

from common.comparison.complexity import Cost
from common.comparison.results import Figure as Measured
from common.comparison.results import TableResults
from common.comparison.studies import CONTROL, Gain
from common.evaluation.media import render


def gains_plot(title: str, gains: dict[str, Gain]) -> Image.Image:
    """Gains with their intervals, best on top; the control in grey."""
    figure = Figure(figsize=(7, 1.2 + 0.45 * len(gains)), dpi=100, layout="constrained")
    axes = figure.subplots()
    for place, (row, gain) in enumerate(reversed(gains.items())):
        colour = "grey" if row == CONTROL else "tab:blue"
        reach = [[gain.mean - gain.low], [gain.high - gain.mean]]
        axes.barh(place, gain.mean, xerr=reach, color=colour, alpha=0.7, capsize=3)
    axes.set_yticks(range(len(gains)), list(reversed(gains)))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("nats of test NLL gained over no condition, 95 % interval")
    axes.set_title(title, fontsize=10)
    return render(figure)


def sizes_plot(title: str, sizes: Sequence[int], results: TableResults) -> Image.Image:
    """NLL and control accuracy against training examples of each combination, of unseen combinations as well."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    likelihood, control = figure.subplots(1, 2)
    lines = [
        (likelihood, "test/nll", "all test examples"),
        (likelihood, "test/unseen/nll", "combinations held out"),
        (control, "test/control_accuracy", "all combinations"),
        (control, "test/unseen/control_accuracy", "combinations held out"),
        (control, "test/judge_accuracy", "judge on real data"),
    ]
    rows = list(results.rows.values())
    for axes, metric, label in lines:
        points: list[tuple[int, Measured]] = [
            (size, row.figures[metric]) for size, row in zip(sizes, rows, strict=True) if metric in row.figures
        ]
        if points:
            x, measured = zip(*points, strict=True)
            style = "--" if metric == "test/judge_accuracy" else "o-"
            spread = [figure.spread or 0.0 for figure in measured]
            axes.errorbar(x, [figure.mean for figure in measured], spread, fmt=style, capsize=3, label=label)
    for axes, name in ((likelihood, "NLL, nats"), (control, "control accuracy")):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("training examples of each combination")
        axes.set_ylabel(name)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    figure.suptitle(title, fontsize=10)
    return render(figure)


def costs_plot(title: str, costs: Sequence[Cost]) -> Image.Image:
    """Costs relative to the unconditional model, and seconds against importance samples."""
    figure = Figure(figsize=(9, 3.6), dpi=100, layout="constrained")
    relative, evaluation = figure.subplots(1, 2)
    counts, base = [cost.conditions for cost in costs], costs[0]
    for name in ("parameters", "flops", "step", "peak_memory"):
        ratios = [getattr(cost, name) / getattr(base, name) for cost in costs]
        relative.plot(counts, ratios, "o-", label=name.replace("_", " ").replace("flops", "FLOPs"))
    relative.set_ylim(bottom=0)
    relative.set_xlabel("conditions")
    relative.set_ylabel("times the unconditional model")
    relative.legend(fontsize=8)
    for cost in costs:
        evaluation.plot(list(cost.evaluation), list(cost.evaluation.values()), "o-", label=f"{cost.conditions}")
    evaluation.set_xscale("log")
    evaluation.set_yscale("log")
    evaluation.set_xlabel("importance samples")
    evaluation.set_ylabel("seconds for the NLL of one example")
    evaluation.legend(title="conditions", fontsize=8)
    figure.suptitle(title, fontsize=10)
    return render(figure)
