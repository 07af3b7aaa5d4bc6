"""Prints the figures of finished runs, or everything about one run; with --out, writes a page to look at.

Mean and standard deviation are those of runs that differ in nothing but their seed; runs of one name with other options
or other data are further rows, which say what differs.

The page (OUT/index.html) is one file that needs no network: training curves, final figures, what differs in the
configurations, pictures over the epochs, sounds, texts and imputed cells of the runs, side by side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, folder_to_write, real, run_script

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    from common.dashboard.charts import ChartGroup
    from common.dashboard.page import Content
    from common.dashboard.runs import Problems
    from common.dashboard.specified import Specified

TABLES, COMPACT, STUDIES = Path("configs/tables"), Path("docs/tables"), Path("docs/studies")
TABLE_RUNS = (Path("runs/tables"), Path("runs/studies"))  # where the runs of tables and studies are
SWEEP = "trials.sqlite"  # in the folder of a sweep
EPILOG = """examples:
  report.py runs/image                                 # mean and deviation of runs, in the terminal
  report.py RUN --out report                           # a page of one run
  report.py runs/image runs/text --out report          # of all runs below two folders
  report.py --table conditioning --out report          # of a comparison table and those of its runs that are here
  report.py --table mnist:full runs/mine --out report  # of a table beside other runs
  report.py --study digits-conditions --out report     # of a study
  report.py runs/sweeps/digits --out report            # of a sweep, with what Optuna draws of it"""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("report.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    result.add_argument("roots", nargs="*", type=Path, metavar="RUN_OR_FOLDER",
                        help="folder of a run, or one that holds runs at any depth")  # fmt: skip
    result.add_argument(
        "--metrics",
        nargs="+",
        help="columns of the printed table (default: NLL, KL, control and judge accuracy and leakage, as far as there "
        "are any)",
    )
    result.add_argument("--run", action="store_true", help="print everything about one run, even if it has no results")
    page = result.add_argument_group("page")
    page.add_argument("--out", type=folder_to_write, help="folder of the page: writes index.html instead of printing")
    page.add_argument("--table", action="append", default=[], metavar="NAME[:BUDGET]",
                      help="a comparison table of configs/tables, with its runs (default budget: quick)")  # fmt: skip
    page.add_argument("--study", action="append", default=[], metavar="NAME",
                      help="a study of docs/studies, with its runs")  # fmt: skip
    page.add_argument("--title", help="title of the page")
    page.add_argument("--media", type=real(0, 500), metavar="MB",
                      help="most megabytes of pictures and sounds, which all runs share (default: 11); the rest of a "
                      "page takes about 5")  # fmt: skip
    return result


def report(arguments: argparse.Namespace) -> None:
    """Prints or writes what the command line asks for.

    Raises:
        ValueError: if options do not go together, or a folder, table or study is missing; the message names it.
    """
    if arguments.out is None:
        print_tables(arguments)
        return
    if arguments.metrics or arguments.run:
        raise ValueError("--metrics and --run are of the printed table: leave them out with --out")
    if not (arguments.roots or arguments.table or arguments.study):
        raise ValueError("name a run, a folder of runs, --table or --study")
    from common.dashboard.page import write_page
    from common.dashboard.runs import Problems

    problems = Problems()
    path = write_page(content(arguments, problems), arguments.out, problems)
    for line in problems.lines:
        print(line, file=sys.stderr)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB): open it in a browser")


def print_tables(arguments: argparse.Namespace) -> None:
    """The table in the terminal."""
    if arguments.table or arguments.study or arguments.title or arguments.media is not None:
        raise ValueError("--table, --study, --title, --media are of a page: add --out FOLDER, or use compare.py show")
    if not arguments.roots:
        raise ValueError("name the folder of a run, or one that holds runs")
    from common.training.run_report import print_report

    for root in arguments.roots:
        print_report(root, arguments.metrics, arguments.run)


def content(arguments: argparse.Namespace, problems: Problems) -> Content:
    """What the page shows."""
    from common.dashboard.figures import known_directions
    from common.dashboard.page import Content
    from common.dashboard.runs import read_runs, run_folders

    sections = specified(arguments)
    titles = {identity: row for section in sections for identity, row in section.titles.items()}
    folders, notes = run_folders(arguments.roots), []
    if sections and not folders:
        folders = [folder for root in TABLE_RUNS if root.is_dir() for folder in run_folders([root])]
        folders = [folder for folder in folders if folder.name in titles]
        if missing := len(titles) - len({folder.name for folder in folders}):
            notes.append(f"Curves, options and samples of {missing} of {len(titles)} runs are not on this machine.")
    runs = read_runs(folders, problems, titles)
    names = [section.title for section in sections] or [str(root) for root in arguments.roots]
    if not sections and len(runs) == 1:
        names = [runs[0].label]
    several = f"{len(names)} tables and studies" if sections else f"{len(runs)} runs"
    title = arguments.title or (names[0] if len(names) == 1 else several)
    charts = sweep_charts(arguments.roots, problems)
    page = Content(title, runs, sections, charts, known_directions(TABLES), notes)
    return page if arguments.media is None else replace(page, media_bytes=round(1e6 * arguments.media))


def sweep_charts(roots: Sequence[Path], problems: Problems) -> list[ChartGroup]:
    """What Optuna draws of the sweeps among the folders."""
    from common.dashboard.charts import Chart, ChartGroup

    def drawn(root: Path) -> list[ChartGroup]:
        from common.sweeps.figures import figures

        charts = [Chart.of(title, figure) for title, figure in figures(root)]
        return [ChartGroup(f"Sweep {root.name}", charts, wide=True)]

    groups: list[ChartGroup] = []
    for root in [root for root in roots if (root / SWEEP).is_file()]:
        groups += problems.attempt(root / SWEEP, "what Optuna draws of the sweep", partial(drawn, root), [])
    return groups


def specified(arguments: argparse.Namespace) -> list[Specified]:
    """The tables and studies that the command line names."""
    from common.comparison.results import TableResults
    from common.comparison.specification import read_table
    from common.dashboard.specified import study_section, table_section

    sections = []
    for words in arguments.table:
        name, _, budget = words.partition(":")
        table = read_table(TABLES / f"{name}.yaml")
        results = TableResults.read(COMPACT / f"{name}.{budget or 'quick'}.json")
        sections.append(table_section(table, results))
    return sections + [study_section(STUDIES / f"{name}.json") for name in arguments.study]


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), report, words)


if __name__ == "__main__":
    sys.exit(main())
