"""Runs, shows and checks the comparison tables of configs/tables."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.command_line import Parser, file_to_read, folder_to_write, run_script, whole
from common.executors.options import add_executor, cluster, say

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    from common.comparison.specification import Cell, Table


SPECIFICATIONS = Path("configs/tables")
COMPACT = Path("docs/tables")
BLOCK = r"(<!-- table ([\w-]+) (\w+)( brief)? -->\n)(.*?)(<!-- end of table -->)"


def parser() -> Parser:
    """The command line."""
    result = Parser("compare.py", description=__doc__)
    verbs = result.add_subparsers(dest="verb", required=True)
    help_table = "name of a specification in configs/tables, or its path"

    run = verbs.add_parser("run", help="run what is missing for a table, and print it")
    run.add_argument("table", help=help_table)
    run.add_argument("--budget", default="quick", help="one of the specification's budgets (default: quick)")
    run.add_argument("--max-parallel", type=whole(1), default=1, metavar="N", help="runs in parallel (default: 1)")
    add_executor(run)
    add_rows(run)
    run.add_argument("--dry-run", action="store_true", help="list the runs with their expected hours, and run nothing")
    run.add_argument("--fresh", action="store_true", help="delete finished runs and run them again")
    run.add_argument(
        "--root",
        type=folder_to_write,
        default=Path("runs/tables"),
        help="folder of all tables' runs (default: runs/tables)",
    )
    run.add_argument("--out", type=folder_to_write, default=COMPACT,
                     help="folder of the compact results (default: docs/tables)")  # fmt: skip

    status = verbs.add_parser("status", help="list the runs of a table, which of them are running or failed, and hours")
    status.add_argument("table", help=help_table)
    status.add_argument("--budget", default="quick", help="one of the specification's budgets (default: quick)")
    status.add_argument("--max-parallel", type=whole(1), default=1, metavar="N", help="runs in parallel (default: 1)")
    add_rows(status)
    status.add_argument("--root", type=Path, default=Path("runs/tables"),
                        help="folder of all tables' runs (default: runs/tables)")  # fmt: skip
    status.add_argument("--out", type=Path, default=COMPACT,
                        help="folder of the compact results (default: docs/tables)")  # fmt: skip

    show = verbs.add_parser("show", help="print a table from its compact results")
    show.add_argument("table", help=help_table)
    show.add_argument("--budget", default="quick", help="one of the specification's budgets (default: quick)")
    show.add_argument("--format", choices=["md", "csv", "latex", "html"], default="md", help="format (default: md)")
    show.add_argument("--brief", action="store_true", help="only the columns that the specification marks `brief`")
    show.add_argument("--out", type=Path, default=COMPACT, help="folder of the compact results (default: docs/tables)")

    check = verbs.add_parser("check", help="check that the tables in README and docs are what `show` prints, which "
                                           "names rows whose options have changed since they were run")  # fmt: skip
    check.add_argument("files", nargs="*", type=file_to_read, help="Markdown files (default: README.md and docs/*.md)")
    check.add_argument("--write", action="store_true", help="replace tables that differ")
    check.add_argument("--out", type=Path, default=COMPACT, help="folder of the compact results (default: docs/tables)")
    return result


def add_rows(verb: argparse.ArgumentParser) -> None:
    """The options that divide a table among machines."""
    verb.add_argument("--rows", nargs="+", metavar="WORDS",
                     help="only rows whose title holds one of these words, a whole title that row alone; "
                          "others as they are recorded")  # fmt: skip
    verb.add_argument("--seeds", nargs="+", type=whole(0), metavar="SEED", help="only runs with these seeds")
    verb.add_argument("--recorded", action="store_true",
                     help="take runs with today's options and data that are recorded beside the compact results "
                          "(NAME.BUDGET.zip), from other machines, as finished")  # fmt: skip


def find_table(name: str) -> tuple[str, Table]:
    """A table's name and specification, from its name or path."""
    from common.comparison.specification import read_table

    path = Path(name) if name.endswith(".yaml") else SPECIFICATIONS / f"{name}.yaml"
    return path.stem, read_table(path)


def compact_file(folder: Path, name: str, budget: str) -> Path:
    """Path of a table's compact results."""
    return folder / f"{name}.{budget}.json"


def chosen_cells(todo: list[Cell], words: Sequence[str] | None, seeds: Sequence[int] | None) -> list[Cell]:
    """The runs with one of the seeds of rows whose title is one of the words, or else holds it, in any case.

    Raises:
        ValueError: if words fit no row, or no run of these rows has one of the seeds.
    """
    titles = dict.fromkeys(cell.row for cell in todo)
    chosen = set(titles if words is None else ())
    for word in words or []:
        fitting = {word} & set(titles) or {title for title in titles if word.lower() in title.lower()}
        if not fitting:
            raise ValueError(f"no row's title holds {word!r}; there are: {', '.join(titles)}")
        chosen |= fitting
    of_rows = [cell for cell in todo if cell.row in chosen]
    if seeds is None:
        return of_rows
    if unknown := set(seeds) - {cell.seed for cell in of_rows}:
        known = ", ".join(str(seed) for seed in sorted({cell.seed for cell in of_rows})) or "none"
        raise ValueError(f"these rows have no run of seed {min(unknown)}; their seeds are: {known}")
    return [cell for cell in of_rows if cell.seed in seeds]


def run_table(arguments: argparse.Namespace) -> int:
    """Runs what is missing and prints the table; 1 if a run failed."""
    from common.comparison.archive import pack, unpack
    from common.comparison.rendering import markdown, sheet
    from common.comparison.results import TableResults, collect, unkept
    from common.comparison.runner import run_missing, state, with_others
    from common.comparison.specification import cells
    from common.executors.local import local

    if arguments.dry_run:
        if arguments.fresh:
            raise ValueError(
                "--dry-run lists what is there and what is missing: leave out --fresh, which would run it all"
            )
        return show_status(arguments)
    name, table = find_table(arguments.table)
    path = compact_file(arguments.out, name, arguments.budget)
    archive = path.with_suffix(".zip")
    every = cells(table, arguments.budget, arguments.root)
    todo = chosen_cells(every, arguments.rows, arguments.seeds)
    partly = arguments.rows or arguments.seeds
    if arguments.recorded or partly:
        count = unpack(archive, [cell for cell in every if not (arguments.fresh and cell in todo)])
        say(f"{count} runs that are not here are taken as {archive} has recorded them")
    if partly and path.exists():
        kept = {(cell.key, cell.seed) for cell in every if cell in todo or state(cell).status == "finished"}
        left = {cell.row for cell in every if cell not in todo}  # rows of which some seed is not run
        if lost := unkept(TableResults.read(path), {cell.row for cell in todo} - left, kept):
            raise ValueError(
                f"{path} has runs of {', '.join(lost)} that are neither here nor recorded with today's options: a "
                "table without them would lose them. Run them too, or write to another folder with --out"
            )
    executor = cluster(arguments, arguments.max_parallel, arguments.root) or local(arguments.max_parallel)
    states = run_missing(todo, executor, arguments.fresh, log=say)
    states = with_others(states, every)
    if stale := dict.fromkeys(cell.row for cell in every if cell not in todo and states[cell].status == "stale"):
        raise ValueError(
            f"{path} is left as it was: {', '.join(stale)} were made from other data than today's. Run them too; what "
            "was run now is kept"
        )
    results = collect(table, arguments.budget, states)
    results.write(path)
    pack(archive, table, [cell for cell, reached in states.items() if reached.status == "finished"])
    print(f"\n{markdown(sheet(table, results))}\ncompact results: {path}")
    return int(any(states[cell].status != "finished" for cell in todo))


def show_status(arguments: argparse.Namespace) -> int:
    """Prints where each run of a table stands, and the hours that are left."""
    from common.comparison.archive import packed
    from common.comparison.progress import lines, progress
    from common.comparison.results import TableResults
    from common.comparison.specification import cells

    name, table = find_table(arguments.table)
    compact = compact_file(arguments.out, name, arguments.budget)
    known = TableResults.read(compact) if compact.exists() else None
    todo = chosen_cells(cells(table, arguments.budget, arguments.root), arguments.rows, arguments.seeds)
    takes = arguments.recorded or arguments.rows or arguments.seeds
    found = progress(todo, known, packed(compact.with_suffix(".zip")) if takes else ())
    print("\n".join(lines(found, arguments.max_parallel)))
    if any(entry.status == "finished" for entry in found):
        print("the data of finished runs are compared with today's when the table is run, and not here")
    return 0


def show_table(arguments: argparse.Namespace) -> int:
    """Prints a table."""
    from common.comparison.rendering import FORMATS, sheet
    from common.comparison.results import TableResults

    name, table = find_table(arguments.table)
    results = TableResults.read(compact_file(arguments.out, name, arguments.budget))
    print(FORMATS[arguments.format](sheet(table, results, arguments.brief)), end="")
    return 0


def check_tables(arguments: argparse.Namespace) -> int:
    """Compares the tables in Markdown files with the compact results and today's specifications; 1 if one differs."""
    from common.comparison.rendering import markdown, sheet
    from common.comparison.results import TableResults

    wrong = 0
    for file in arguments.files or [Path("README.md"), *sorted(Path("docs").glob("*.md"))]:
        try:
            text = file.read_text()
        except UnicodeDecodeError as error:
            raise ValueError(f"{file} is no text: {error.reason}") from error

        def current(block: re.Match[str]) -> str:
            name, table = find_table(block[2])
            results = TableResults.read(compact_file(arguments.out, name, block[3]))
            return block[1] + markdown(sheet(table, results, brief=block[4] is not None)) + block[6]

        renewed = re.sub(BLOCK, current, text, flags=re.DOTALL)
        if renewed != text and arguments.write:
            file.write_text(renewed)
            print(f"{file}: tables put in")
        elif renewed != text:
            print(
                f"{file}: its tables are not those of {arguments.out}; `scripts/compare.py check --write` puts them in"
            )
            wrong += 1
    return int(wrong > 0)


def work(arguments: argparse.Namespace) -> int:
    """Does what the verb says; returns the exit status."""
    verbs = {"run": run_table, "status": show_status, "show": show_table, "check": check_tables}
    return verbs[arguments.verb](arguments)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), work, words)


if __name__ == "__main__":
    sys.exit(main())
