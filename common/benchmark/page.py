"""docs/performance.md, whose table is made of docs/performance/*.json."""

import json
import statistics
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from common.benchmark.trials import provenance
from common.evaluation.media import render
from common.pages import with_block

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
ROWS = ROOT / "docs" / "performance"
KINDS = {  # of measurements, and the unit of their rates
    "training": "examples a second",
    "startup": "s",
    "generation": "s",
    "evaluation": "examples a second",
    "preparation": "s",
    "batches": "examples a second",
    "scaling": "examples a second",
}


def table(rows: dict[str, dict[str, Any]], unit: str) -> str:
    """Rates or seconds of each work, and ratios, in Markdown."""
    lines = [f"| work | contender | {'seconds' if unit == 's' else unit} | the first is faster by (quartiles) |"]
    lines += ["|---|---|---|---|"]
    for key, row in rows.items():
        name = f"{key}, {row['rounds']} rounds"
        for contender, rates in row["rates"].items():
            rate = statistics.median(rates)
            value = f"{1 / rate:.2f}" if unit == "s" else f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
            ratio = row["of"].get(contender)
            said = "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            lines.append(f"| {name} | {contender} | {value} | {said} |")
        if above := row.get("milliseconds_above_plain"):
            more = f"{above['median']:.2f} ms a step more ({above['low']:.2f} to {above['high']:.2f})"
            lines.append(f"| {name} | trainer, logs and guards above the plain loop | | {more} |")
        for contender, difference in row.get("difference_of_losses", {}).items():
            lines.append(f"| {name} | largest difference of 20 losses to the {contender} | | {difference:.1e} |")
        if work := row.get("arithmetic"):
            rate = work["flops"] * statistics.median(next(iter(row["rates"].values()))) / 1e9
            share = f"{rate:.0f} of {work['sgemm'] / 1e9:.0f} GFLOP a second, {1e9 * rate / work['sgemm']:.0%}"
            lines.append(f"| {name} | counted products of the first, of those that torch.mm reaches | | {share} |")
    return "\n".join(lines) + "\n"


def stored(kind: str) -> dict[str, dict[str, Any]]:
    """The measured rows of a kind by name."""
    files = sorted(ROWS.glob(f"{kind}-*.json"))
    return {file.stem.removeprefix(f"{kind}-"): json.loads(file.read_text()) for file in files}


def store(kind: str, name: str, row: dict[str, Any]) -> None:
    """Stores a measured row, and puts it into the page and on the terminal."""
    ROWS.mkdir(parents=True, exist_ok=True)
    (ROWS / f"{kind}-{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    PAGE.write_text(renewed(PAGE.read_text()))
    print(table({name: row}, KINDS[kind]))


def profiles(rows: dict[str, dict[str, Any]]) -> str:
    """Steps, their floors and their longest operations in Markdown."""
    lines = [
        "| work | ms a step | products, at least | passes over weights, at least | share of the longest operations |"
    ]
    lines += ["|---|---|---|---|---|"]
    for name, row in rows.items():
        floors = row["floors"]
        products = f"{floors['products']:.1f} ms ({floors['gigaflops']:.2g} GFLOP)"
        shares = ", ".join(f"`{key.removeprefix('aten::')}` {share:.0%}" for key, share in row["shares"].items())
        lines.append(f"| {name} | {row['milliseconds']:.1f} | {products} | {floors['passes']:.1f} ms | {shares} |")
    return "\n".join(lines) + "\n"


def growth_plot(rows: dict[str, dict[str, Any]]) -> Image.Image:
    """Milliseconds of a step by size of batch, samples of z and size of z, each as a multiple of the smallest."""
    figure = Figure(figsize=(10, 3.2), dpi=100, layout="constrained")
    titles = {"batch": "size of a batch", "samples": "samples of z", "latent_dim": "size of z"}
    for axes, (kind, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
        for name, row in rows.items():
            if len(points := row["growth"][kind]) > 1:
                sizes, times = zip(*points, strict=True)
                axes.plot([size / sizes[0] for size in sizes], times, marker="o", label=name)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ScalarFormatter())
        axes.set_xlabel(f"{title}, times the smallest")
        axes.set_ylabel("ms a step")
        axes.legend(fontsize=7)
    return render(figure)


def store_profile(name: str, row: dict[str, Any]) -> None:
    """Stores a profile, and puts it into the page and its plot."""
    ROWS.mkdir(parents=True, exist_ok=True)
    (ROWS / f"profile-{name}.json").write_text(json.dumps({**row, **provenance()}, indent=1) + "\n")
    PAGE.write_text(renewed(PAGE.read_text()))
    growth_plot(stored("profile")).save(ROWS / "growth.png")
    print(profiles({name: row}))


def renewed(text: str) -> str:
    """A page with the present tables."""
    text = with_block(text, "profile", profiles(stored("profile")))
    for kind, unit in KINDS.items():
        text = with_block(text, kind, table(stored(kind), unit))
    return text
