"""Results printed as tables: one run, or the mean and standard deviation of several."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from common.results import Measurement, Results, aggregate, find


def print_run(folder: Path) -> None:
    """Prints a run's measurements and the paths of its files."""
    console = _console()
    path = folder / "results.json"
    if path.exists():
        results = Results.read(path)
        table = Table(title=f"{results.run.modality} / {results.run.name} / {results.run.id}", title_justify="left")
        for column in ("metric", "value", "± error", "unit", "n"):
            table.add_column(column, no_wrap=True)
        table.add_column("estimator")
        for name, figure in results.metrics.items():
            table.add_row(name, *_cells(figure))
        console.print(table)
        run = results.run
        console.print(
            f"trained {run.seconds:.0f} s on {run.device}, {run.parameters:,} parameters, peak memory "
            f"{run.peak_memory_mb:.0f} MB, data {run.data_fingerprint}, revision {run.git}"
        )
    for label, name in (
        ("results", "results.json"),
        ("metrics", "metrics.csv"),
        ("configuration", "config.yaml"),
        ("best checkpoint", "checkpoints/best.ckpt"),
        ("pictures", "samples"),
        ("W&B", "wandb"),
    ):
        if (folder / name).exists():
            console.print(f"{label:>16}  {folder / name}", soft_wrap=True, highlight=False)


def _console() -> Console:
    """A console of the terminal's width; for a file or a pipe, wide enough for whole rows."""
    console = Console()
    return console if console.is_terminal else Console(width=160)


def _cells(figure: Measurement) -> list[str]:
    error = "" if figure.stderr is None else f"{figure.stderr:.2g}"
    return [f"{figure.value:.4g}", error, figure.unit, str(figure.n), figure.estimator]


def print_runs(root: Path, metrics: list[str]) -> None:
    """Prints mean, standard deviation and number of runs of some metrics, one row per run name.

    Raises:
        ValueError: if there is no result, or none with these metrics.
    """
    results = find(root)
    if not results:
        raise ValueError(f"no results.json below {root}: train something first")
    rows = aggregate(results)
    known = sorted({metric for row in rows.values() for metric in row})
    unknown = [metric for metric in metrics if metric not in known]
    if unknown:
        raise ValueError(f"no result has {', '.join(unknown)}; there are: {', '.join(known)}")
    table = Table("run", *metrics, title="mean ± standard deviation over runs (number of runs)", title_justify="left")
    for name, row in rows.items():
        table.add_row(name, *(str(row[metric]) if metric in row else "-" for metric in metrics))
    _console().print(table)


def print_rows(title: str, rows: dict[str, dict[str, Measurement]]) -> None:
    """Prints a table with a row for each system and a column for each figure."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table("", *columns, title=title, title_justify="left")
    for name, row in rows.items():
        cells = [row.get(column) for column in columns]
        table.add_row(name, *("-" if cell is None else _with_error(cell) for cell in cells))
    _console().print(table)
    for estimator in dict.fromkeys(
        f"{name}: {figure.estimator}" for row in rows.values() for name, figure in row.items()
    ):
        _console().print(estimator, highlight=False, soft_wrap=True)


def _with_error(figure: Measurement) -> str:
    return f"{figure.value:.4g}" + (f" ± {figure.stderr:.2g}" if figure.stderr is not None else "")
