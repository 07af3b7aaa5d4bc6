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

    from modalities.tabular.columns import Column
    from modalities.tabular.imputation.sampling import Imputation

EPILOG = """examples:
  impute.py --ckpt runs/tabular/table/ID/checkpoints/best.ckpt --in table.csv --out filled.csv
  impute.py --ckpt P --in table.csv --out filled.csv --num 20 --intervals 0.9
The second also writes filled-1.csv to filled-20.csv (draws from p(hidden | observed)), and filled-intervals.csv with
the ends of 90 % intervals of imputed numbers and the probabilities of imputed values of discrete columns. A row without
any observed cell is filled from the distribution of all rows, and reported. A table that does not match the training
table (an additional or missing column, an unknown value, text among numbers) is an error that names the cause."""


def parser() -> Parser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    result = Parser("impute.py", description=__doc__, epilog=EPILOG, formatter_class=raw)
    result.add_argument("--ckpt", type=Path, required=True, help="checkpoint of a run, checkpoints/best.ckpt")
    result.add_argument("--in", dest="table", type=file_to_read, required=True, metavar="TABLE",
                        help=".csv or .parquet")  # fmt: skip
    result.add_argument("--out", type=file_to_write, required=True, metavar="FILLED",
                        help="file to write, of the same format")  # fmt: skip
    result.add_argument("--num", type=whole(), default=0, help="number of multiple imputations to write (default: 0)")
    result.add_argument("--intervals", type=real(), metavar="LEVEL",
                        help="write intervals of this level, such as 0.9")  # fmt: skip
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
    import torch

    from common.training.restore import restore
    from modalities.tabular import TabularCVAE
    from modalities.tabular.columns import encode_table
    from modalities.tabular.data.table_files import read_table, write_rows
    from modalities.tabular.imputation.sampling import impute_rows

    source, target = arguments.table, arguments.out
    if source.suffix not in (".csv", ".parquet"):
        raise ValueError(f"{source}: tables are .csv or .parquet")
    if source.suffix != target.suffix:
        raise ValueError(f"{target} must be a {source.suffix} file as {source} is: cells are kept as they are written")
    if arguments.intervals is not None and not 0 < arguments.intervals < 1:
        raise ValueError(f"--intervals must lie between 0 and 1; got {arguments.intervals:g}")
    model = restore(arguments.ckpt, arguments.device).model
    if not isinstance(model, TabularCVAE):
        raise ValueError(f"{arguments.ckpt} is a {type(model).__name__}: impute.py is for tables")
    table = read_table(source)
    x = torch.from_numpy(encode_table(table, model.columns, str(source))).to(arguments.device)
    empty = (x.isnan().all(1).nonzero()[:, 0] + 1).tolist()
    if empty:
        print(f"impute.py: no observed cell in row {', '.join(map(str, empty[:10]))}: filled from the whole table")
    draws = max(arguments.num, 200 if arguments.intervals is not None else 0)
    imputation = impute_rows([model], x, arguments.proposals, draws, arguments.seed, progress="imputing")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_filled(table, source, model.columns, imputation.point, target)
    print(f"{int(x.isnan().sum())} cells filled, written to {target}")
    for number in range(arguments.num):
        path = target.with_stem(f"{target.stem}-{number + 1}")
        write_filled(table, source, model.columns, imputation.draws[number], path)
    if arguments.num:
        print(f"{arguments.num} imputations written to {target.with_stem(target.stem + '-1')} and so on")
    if arguments.intervals is not None:
        path = target.with_stem(f"{target.stem}-intervals")
        intervals = interval_table(imputation, x, model.columns, arguments.intervals, float(model.widening))
        write_rows(intervals, path)
        print(f"{arguments.intervals:.0%} intervals written to {path}")


def write_filled(table: pd.DataFrame, source: Path, columns: list[Column], x: Tensor, target: Path) -> None:
    """Writes the table with its empty cells from x; in a CSV the text of every other cell is unchanged."""
    from modalities.tabular.data.table_files import fill_csv, fill_table, write_rows

    if source.suffix == ".csv":
        target.write_bytes(fill_csv(source, columns, x.cpu()).encode())
    else:
        write_rows(fill_table(table, columns, x.cpu()), target)


def interval_table(
    imputation: Imputation, x: Tensor, columns: list[Column], level: float, factor: float
) -> pd.DataFrame:
    """One line for each imputed cell: row (from 1), column, value, and the ends of the interval or the probability."""
    import pandas as pd

    from modalities.tabular.imputation.filled import decoded

    ends = imputation.interval(level, columns, factor)
    low, high = (decoded(end.cpu().double().numpy(), columns) for end in ends)
    values = [column.present(imputation.point[:, i].cpu().double().numpy()) for i, column in enumerate(columns)]
    lines = []
    for row, position in x.isnan().nonzero().tolist():
        column = columns[position]
        line: dict[str, Any] = {"row": row + 1, "column": column.name, "value": str(values[position][row])}
        if column.discrete:
            line |= {"low": None, "high": None, "probability": float(imputation.confidence[row, position])}
        else:
            line |= {"low": low[row, position], "high": high[row, position], "probability": None}
        lines.append(line)
    return pd.DataFrame(lines, columns=["row", "column", "value", "low", "high", "probability"])


def main(words: Sequence[str] | None = None) -> int:
    """Runs the script and returns its exit status."""
    return run_script(parser(), impute, words)


if __name__ == "__main__":
    sys.exit(main())
