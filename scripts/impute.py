"""Fills the empty cells of a table with a checkpoint; observed cells are unchanged."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.command_line import Parser, device, file_to_read, file_to_write, real, run_script, whole

# Heavy packages are imported where they are used, so that the command line is parsed before torch is imported.
if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from common.table_files import Dialect
    from modalities.tabular.columns import Column
    from modalities.tabular.imputation.sampling import Imputation

INTERVAL_DRAWS = 200  # imputations behind each interval
EPILOG = """examples:
  impute.py --ckpt runs/tabular/table/ID/checkpoints/best.ckpt --in table.csv --out filled.csv
  impute.py --ckpt P --in table.csv --out filled.csv --num 20 --intervals 0.9
  impute.py --ckpt P --in table.csv --out filled.csv --decimal , --na-values n/a -999 --ignore id
The second also writes filled-1.csv to filled-20.csv (draws from p(hidden | observed)), and filled-intervals.csv with
the ends of 90 % intervals of imputed numbers and the probabilities of imputed values of discrete columns, and the line
or row of each as an editor shows it. A row without any observed cell is filled from the distribution of all rows, and
reported. Tables are CSV, TSV and JSONL (gzipped or not), Parquet and Excel, written as the input is. How a table of
text is written is found out where no option says it; cells that counted as empty in the training do here. Columns that
the training left out are passed through. A table that does not match the training table otherwise (an additional or
missing column, an unknown value, text among numbers) is an error that names the cause."""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("impute.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    result.add_argument("--ckpt", type=Path, required=True, help="checkpoint of a run, checkpoints/best.ckpt")
    result.add_argument("--in", dest="table", type=file_to_read, required=True, metavar="TABLE",
                        help=".csv, .tsv, .jsonl, .parquet or .xlsx")  # fmt: skip
    result.add_argument("--out", type=file_to_write, required=True, metavar="FILLED",
                        help="file to write, of the same format")  # fmt: skip
    result.add_argument("--num", type=whole(), default=0, help="number of multiple imputations to write (default: 0)")
    result.add_argument("--intervals", type=real(), metavar="LEVEL",
                        help="write intervals of this level, such as 0.9")  # fmt: skip
    result.add_argument("--ignore", nargs="+", default=[], metavar="NAME",
                        help="columns that the model does not know, passed through as they are")  # fmt: skip
    result.add_argument("--separator", help="between cells: a character, or tab (default: found out)")
    result.add_argument("--decimal", choices=[".", ","], metavar="SIGN", help="decimal sign (default: found out)")
    result.add_argument("--thousands", help="sign between groups of three digits (default: found out)")
    result.add_argument("--encoding", default="utf-8", help="encoding of a table of text (default: utf-8)")
    result.add_argument("--na-values", nargs="+", default=[], metavar="TEXT",
                        help="further cells that count as empty")  # fmt: skip
    result.add_argument(
        "--proposals", type=whole(1), default=200, help="importance samples of z per row (default: 200)"
    )
    result.add_argument("--seed", type=whole(), default=0, help="seed of all noise (default: 0)")
    result.add_argument("--device", type=device, default="cpu", help="cpu, cuda ... (default: cpu)")
    return result


def impute(arguments: argparse.Namespace) -> None:
    """Does what the command line asks for.

    Raises:
        ValueError: for a table that does not match the model, or invalid options.
    """
    from common.training.checkpoint_file import checkpoint_file

    checkpoint_file(arguments.ckpt)  # before torch is imported, which takes seconds
    from common.training.restore import restore
    from modalities.tabular import TabularCVAE
    from modalities.tabular.data.table_files import write_rows
    from modalities.tabular.imputation.sampling import impute_blocks, joined, with_intervals
    from modalities.tabular.imputation.table_file import TableFile

    targets = files_to_write(arguments)
    restored = restore(arguments.ckpt, arguments.device)
    model = restored.model
    if not isinstance(model, TabularCVAE):
        raise ValueError(f"{arguments.ckpt} is a {type(model).__name__}: impute.py is for tables")
    learned = {} if restored.terms is None else restored.terms.learned
    dialect = dialect_of(arguments, learned.get("na_values") or [])
    file = TableFile.read(arguments.table, model.columns, learned, dialect, arguments.ignore)
    for note in file.notes:
        print(f"impute.py: {note}")
    x = file.x.to(arguments.device)
    least = 0 if arguments.intervals is None else INTERVAL_DRAWS
    draws = max(arguments.num, least)
    blocks = impute_blocks([model], x, arguments.proposals, draws, arguments.seed, "imputing")
    ends: list[Tensor] = []
    if arguments.intervals is None:
        imputation = joined(blocks)
    else:
        widening, kept = float(model.widening), arguments.num
        imputation, *ends = with_intervals(blocks, arguments.intervals, model.columns, widening, kept)
    filled = [
        file.write(cells, target) for target, cells in zip(targets, [imputation.point, *imputation.draws], strict=False)
    ]
    print(f"{filled[0]}, written to {targets[0]}")
    if arguments.num:
        print(f"{arguments.num} imputations written to {targets[1]} and so on")
    if arguments.intervals is not None:
        path = beside(arguments.out, "intervals")
        intervals = interval_table(imputation, ends, x, file.table, model.columns)
        write_rows(intervals, path, file.source.dialect)
        print(f"{arguments.intervals:.0%} intervals written to {path}")


def files_to_write(arguments: argparse.Namespace) -> list[Path]:
    """The filled table, and each of the multiple imputations.

    Raises:
        ValueError: for another format than that of the input, or if one of many files would replace the input.
    """
    from common.table_files import PARQUET_SUFFIXES, TABLE_SUFFIXES, suffix_of

    source, target = arguments.table, arguments.out
    kind = suffix_of(source)
    if kind not in TABLE_SUFFIXES:
        raise ValueError(f"{source}: tables are {', '.join(TABLE_SUFFIXES)}")
    if kind != suffix_of(target) and not {kind, suffix_of(target)} <= set(PARQUET_SUFFIXES):
        raise ValueError(f"{target} must be a {kind} file as {source} is: cells are kept as they are written")
    if arguments.intervals is not None and not 0 < arguments.intervals < 1:
        raise ValueError(f"--intervals must lie between 0 and 1; got {arguments.intervals:g}")
    further = [beside(target, str(number + 1)) for number in range(arguments.num)]
    others = [*further, *([beside(target, "intervals")] if arguments.intervals is not None else [])]
    if any(path.exists() and path.samefile(source) for path in others):
        raise ValueError(f"{source} would be replaced by one of several files that are written: name another --out")
    return [target, *further]


def beside(target: Path, word: str) -> Path:
    """A file beside another one, with a word after its name: filled-1.csv.gz beside filled.csv.gz."""
    from common.table_files import suffix_of

    name, suffix = target.name[: -len(suffix_of(target))], target.name[-len(suffix_of(target)) :]
    return target.with_name(f"{name}-{word}{suffix}")


def dialect_of(arguments: argparse.Namespace, remembered: Sequence[str]) -> Dialect:
    """How the table is written, as the options say, with the empty cells of the training."""
    from common.table_files import Dialect

    return Dialect(
        arguments.separator,
        arguments.decimal,
        arguments.thousands,
        arguments.encoding,
        [*remembered, *arguments.na_values],
    )


def interval_table(
    imputation: Imputation, ends: Sequence[Tensor], x: Tensor, table: pd.DataFrame, columns: Sequence[Column]
) -> pd.DataFrame:
    """One line for each imputed cell: line or row, column, value, and the ends of the interval or the probability.

    The first column is called `line` for a table of text, and holds the line on which the row begins; for others it is
    called `row`. Both count as an editor does: the header is the first line of most files.
    """
    import pandas as pd

    from modalities.tabular.imputation.filled import decoded

    low, high = (decoded(end.cpu().double().numpy(), columns).astype(object) for end in ends)
    for position, column in enumerate(columns):
        if column.date:
            for shown, end in ((low, ends[0]), (high, ends[1])):
                shown[:, position] = column.present(end[:, position].cpu().double().numpy()).astype(str)
    values = [column.present(imputation.point[:, i].cpu().double().numpy()) for i, column in enumerate(columns)]
    name, lines = str(table.index.name), []
    for row, position in x.isnan().nonzero().tolist():
        column = columns[position]
        line: dict[str, Any] = {name: table.index[row], "column": column.name, "value": str(values[position][row])}
        if column.discrete:
            line |= {"low": None, "high": None, "probability": float(imputation.confidence[row, position])}
        else:
            line |= {"low": low[row, position], "high": high[row, position], "probability": None}
        lines.append(line)
    return pd.DataFrame(lines, columns=[name, "column", "value", "low", "high", "probability"])


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), impute, words)


if __name__ == "__main__":
    sys.exit(main())
