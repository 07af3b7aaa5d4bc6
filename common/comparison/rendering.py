"""Comparison tables as Markdown, CSV, LaTeX and HTML."""

import csv
import html
import io
from collections.abc import Callable
from dataclasses import dataclass

from common.comparison.results import Figure, RowResults, TableResults, outdated
from common.comparison.specification import MetricColumn, Published, Table

FAILED = "failed"
NOT_MEASURED = "-"
STATUS = {"verified": "", "recalled": ", recalled", "measured": ", measured by us with the authors' outputs"}


@dataclass(frozen=True)
class TextCell:
    """The text of one cell; `best` is rendered in bold."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table as text, ready for any format.

    Attributes:
        title: what is compared.
        header: headings, the first one empty.
        rows: title and cells.
        runs: ids of the runs behind each row, as many as rows.
        notes: what a reader needs to know.
    """

    title: str
    header: list[str]
    rows: list[list[TextCell]]
    runs: list[str]
    notes: list[str]


def sheet(table: Table, results: TableResults, brief: bool = False) -> Sheet:
    """The specification's rows and columns with the figures of its runs; rows that were not run are named below it.

    Args:
        table: the specification.
        results: what its runs found.
        brief: only the columns that the specification marks so, and of the notes what all of them share.

    Raises:
        ValueError: if a table in brief is asked for and no column is marked.
    """
    columns = [column for column in table.columns if column.brief or not brief]
    if not columns:
        raise ValueError(f"no column of {table.title!r} is part of the table in brief: give some `brief: true`")
    arrows = {"lower": " ↓", "higher": " ↑", "none": ""}
    header = ["", *((column.title or column.metric) + arrows[column.better] for column in columns), "runs"]
    rows, runs = [], []
    for title in table.rows:
        row = results.rows.get(title, RowResults())
        if not row.runs and not row.problems:
            continue
        cells = [_measured_cell(column, row, title in results.best.get(column.metric, [])) for column in columns]
        rows.append([TextCell(title), *cells, TextCell(str(len(row.runs)))])
        runs.append(" ".join(run["id"] for run in row.runs))
    for title, published in table.published.items():
        marked = f"{title} ({published.source}{STATUS[published.status]})"
        cells = [_published_cell(column, published) for column in columns]
        rows.append([TextCell(marked), *cells, TextCell("published")])
        runs.append("")
    return Sheet(table.title, header, rows, runs, _notes(table, results, brief))


def _measured_cell(column: MetricColumn, row: RowResults, best: bool) -> TextCell:
    figure = (row.differences if column.difference else row.figures).get(column.metric)
    if figure is None:
        if row.runs:
            return TextCell(NOT_MEASURED)
        return TextCell(FAILED)
    spread = "" if figure.spread is None else f" ± {figure.spread:.{column.digits}f}"
    sign = "+" if column.difference else ""
    return TextCell(f"{figure.mean:{sign},.{column.digits}f}{spread}", best and not column.difference)


def _published_cell(column: MetricColumn, published: Published) -> TextCell:
    value = None if column.difference else published.values.get(column.metric)
    return TextCell(NOT_MEASURED if value is None else f"{value:,.{column.digits}f}")


def _notes(table: Table, results: TableResults, brief: bool) -> list[str]:
    """What a reader needs to know; in brief, without estimators, published protocols and revisions."""
    by_title = {title: results.rows[title] for title in table.rows if title in results.rows}
    notes = ([table.notes] if table.notes else []) + _spread(by_title, results.budget)
    if not brief:
        notes += _columns(table, results, by_title)
        notes += [f"{name}: {row.differences}" for name, row in table.published.items() if row.differences]
    notes += _hours(by_title)
    if not brief:
        notes += _shared(by_title) + _revisions(by_title)
    return notes + _unfinished(table, results, by_title)


def _spread(rows: dict[str, RowResults], budget: str) -> list[str]:
    """The budget, and what stands behind ±."""
    most = max((len(row.runs) for row in rows.values()), default=0)
    if most == 0:
        return []
    over = "one seed: ± is the standard error over test examples"
    if most > 1:
        over = "± is the standard deviation over seeds (of one run: the standard error over test examples)"
    return [f"Budget `{budget}`; {over}."]


def _columns(table: Table, results: TableResults, rows: dict[str, RowResults]) -> list[str]:
    """The estimators of each column, and how its best rows were tested."""
    notes = []
    for column in table.columns:
        figures = {title: row.differences if column.difference else row.figures for title, row in rows.items()}
        measured = {title: found[column.metric] for title, found in figures.items() if column.metric in found}
        if measured and not column.metric.startswith("run/"):
            tested = column.metric in results.tests and not column.difference
            test = f"; best: {results.tests[column.metric]}" if tested else ""
            groups = {title: table.rows[title].group for title in measured}
            notes.append(f"{column.title or column.metric}: {_estimators(measured, groups)}{test}.")
    return notes


def _unfinished(table: Table, results: TableResults, rows: dict[str, RowResults]) -> list[str]:
    """Rows that were not run, not as they are specified today, or failed."""
    notes = []
    if unrun := [title for title in table.rows if title not in rows or not (rows[title].runs or rows[title].problems)]:
        notes.append(f"Not run: {'; '.join(unrun)}.")
    if changed := outdated(table, results):
        which = "all rows" if len(changed) == len(rows) else "; ".join(changed)
        notes.append(f"The specification has changed since these rows were run: {which}.")
    return notes + [f"{title}, {problem}" for title in table.rows if title in rows for problem in rows[title].problems]


def _estimators(measured: dict[str, Figure], groups: dict[str, str]) -> str:
    """Estimators and numbers of examples of a column, with the groups or titles of rows where they differ."""
    rows: dict[tuple[str, str], list[str]] = {}
    for title, figure in measured.items():
        sizes = sorted(set(figure.n))
        count = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        rows.setdefault((figure.estimator, count), []).append(title)
    if len(rows) == 1:
        ((estimator, count),) = rows
        return f"{estimator}, n = {count}"

    def named(titles: list[str]) -> str:
        whole = {
            group for group in groups.values() if group and {t for t in groups if groups[t] == group} <= set(titles)
        }
        return " | ".join(dict.fromkeys(groups[title] if groups[title] in whole else title for title in titles))

    return "; ".join(f"{estimator}, n = {count} ({named(titles)})" for (estimator, count), titles in rows.items())


def _hours(rows: dict[str, RowResults]) -> list[str]:
    """Hours of training of all runs, those of a shared training once; nothing where a run does not say them."""
    runs = {f"{run['key']}-s{run['seed']}": run for row in rows.values() for run in row.runs}  # by name of the folder
    if not runs or any(run.get("seconds") is None for run in runs.values()):
        return []

    def trained(name: str) -> str:
        passed: list[str] = []
        while name in runs and name not in passed and runs[name].get("taken_from"):
            passed.append(name)
            name = runs[name]["taken_from"].rpartition("/")[2]
        return min(passed) if name in passed else name  # two that were taken from each other, one after the other

    seconds = {trained(name): run["seconds"] for name, run in runs.items()}
    return [f"{sum(seconds.values()) / 3600:.2f} hours of training in all, tests not counted."]


def _shared(rows: dict[str, RowResults]) -> list[str]:
    """Rows that were tested alone, whose revision is not that of their training."""
    taken = {title: [run["taken_from"] for run in row.runs if run.get("taken_from")] for title, row in rows.items()}
    told = [f"{title} ({', '.join(sources)})" for title, sources in taken.items() if sources]
    return [f"Trained by another run, and only tested: {'; '.join(told)}."] if told else []


def _revisions(rows: dict[str, RowResults]) -> list[str]:
    revisions = {title: sorted({str(run["git"]) for run in row.runs}) for title, row in rows.items() if row.runs}
    distinct = sorted({revision for of_row in revisions.values() for revision in of_row})
    if len(distinct) < 2:
        return [f"Revision {revision}." for revision in distinct]
    return [
        "Rows of several revisions: " + "; ".join(f"{title} {', '.join(r)}" for title, r in revisions.items()) + "."
    ]


def markdown(page: Sheet) -> str:
    """A Markdown table with its notes."""
    body = [[f"**{cell.text}**" if cell.best else cell.text for cell in row] for row in page.rows]
    notes = "\n".join(f"- {note}" for note in page.notes)
    return f"**{page.title}**\n\n{markdown_rows(page.header, body)}\n\n{notes}\n"


def markdown_rows(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    return "\n".join([_line(header), _line(["---", *["---:"] * (len(header) - 1)]), *map(_line, rows)])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def comma_separated(page: Sheet) -> str:
    """CSV with the ids of the runs behind each row in the last column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*page.header, "run ids"])
    for row, runs in zip(page.rows, page.runs, strict=True):
        writer.writerow([*(cell.text for cell in row), runs])
    return out.getvalue()


def latex(page: Sheet) -> str:
    """A LaTeX table (package booktabs) with its notes below."""
    body = []
    for row in page.rows:
        cells = [_tex(cell.text) for cell in row]
        body.append([f"\\textbf{{{text}}}" if cell.best else text for cell, text in zip(row, cells, strict=True)])
    lines = [" & ".join(row) + r" \\" for row in body]
    columns = "l" + "r" * (len(page.header) - 1)
    notes = " ".join(_tex(note) for note in page.notes)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(page.title)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(_tex(heading) for heading in page.header) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            rf"\par\footnotesize {notes}",
            r"\end{table}",
            "",
        ]
    )


def _tex(text: str) -> str:
    special = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
    special |= {"^": r"\textasciicircum{}", "±": r"$\pm$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "<": "$<$"}
    return "".join(special.get(sign, sign) for sign in text)


def html_table(page: Sheet) -> str:
    """An HTML table; the ids of the runs behind a row appear as its tooltip."""
    lines = ["<table>", f"<caption>{html.escape(page.title)}</caption>", "<thead><tr>"]
    lines += [f"<th>{html.escape(heading)}</th>" for heading in page.header] + ["</tr></thead>", "<tbody>"]
    for row, runs in zip(page.rows, page.runs, strict=True):
        cells = (f"<b>{html.escape(cell.text)}</b>" if cell.best else html.escape(cell.text) for cell in row)
        lines.append(f'<tr title="{html.escape(runs)}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in page.notes)
    return "\n".join([*lines, "</tbody>", "</table>", f"<ul>{notes}</ul>", ""])


FORMATS: dict[str, Callable[[Sheet], str]] = {
    "md": markdown,
    "csv": comma_separated,
    "latex": latex,
    "html": html_table,
}
