"""Kinds of columns, as a schema names them or their cells suggest; and columns with the statistics of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from scipy.stats import skew

from common.conditions.columns import text_of
from common.lazy import pd
from common.table_files import place, stray_number
from modalities.tabular.columns import DISCRETE, FAMILIES, Column, Kind, local_times, typed

Schema = Mapping[str, Any]

MAX_ORDINAL = 10  # whole numbers with at most this many different values are ordinal
MAX_CATEGORIES = 100
MAX_COUNT = 1_000_000  # beyond, float32 rounds the log-probability of a count away, and whole numbers have a unit
ZEROS = 0.05  # least share of zeros that makes them a value of their own


def schema_of(columns: Sequence[Column]) -> Schema:
    """The schema that gives the columns of another table the same kinds, families and values."""

    def values(column: Column) -> Schema:
        return {"values": [typed(value, column.numeric) for value in column.values]} if column.discrete else {}

    def bounds(column: Column) -> Schema:
        return {name: end for name in ("lower", "upper") if (end := getattr(column, name)) is not None}

    return {c.name: {"kind": c.kind, "family": c.family, **values(c), **bounds(c)} for c in columns}


def read_schema(path: Path) -> Schema:
    """A schema from YAML: `column: kind`, or `column: {kind: ..., family: ..., values: [...], lower: 0, upper: 1}`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no YAML, or an entry is neither; the message names the file and the column.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} {'is a folder: name a file' if path.is_dir() else 'does not exist'}")
    try:
        schema = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of impossible dates, and of brackets without end
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no YAML ({said}): write column: kind") from error
    kinds = f"kinds ({', '.join(get_args(Kind))})"
    if schema is None:  # an empty file
        return {}
    if not isinstance(schema, dict):
        raise ValueError(f"{path} must map column names to {kinds}")
    for name, entry in schema.items():
        options = entry if isinstance(entry, dict) else {"kind": entry}
        values, ends = options.get("values"), [options.get("lower"), options.get("upper")]
        unknown = [str(key) for key in options if key not in ("kind", "family", "values", "lower", "upper")]
        fault = (
            f"{', '.join(unknown)} is no option; there are kind, family, values, lower and upper" if unknown
            else f"{entry!r} is no kind" if not isinstance(options.get("kind"), str | None)
            else "family is no name" if not isinstance(options.get("family"), str | None)
            else "values is no list of texts or numbers" if values is not None and not _plain_list(values)
            else "lower and upper are numbers" if not all(end is None or _is_number(end) for end in ends)
            else ""
        )  # fmt: skip
        if fault:
            raise ValueError(f"{path}, column {name}: {fault}. A schema maps column names to {kinds}")
    return {str(name): entry for name, entry in schema.items()}


def _plain_list(values: object) -> bool:
    return isinstance(values, list) and len(values) > 0 and all(isinstance(v, str | int | float) for v in values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300  # NaN is not


def infer_kind(cells: pd.Series) -> Kind:
    """The kind that a column's dtype and values suggest.

    At most two values make a binary column; dates are continuous, text is categorical, an ordered category ordinal.
    Whole numbers from zero to a million are ordinal if at most 10 of them differ, counts if their variance is at least
    their mean, else continuous. Numbers above zero with a skewness that a logarithm reduces clearly are positive; those
    from zero on with a skewness above 0.5, at least 5 % of which are zero, are nonnegative; all others are continuous.
    """
    known = cells.dropna()
    if pd.api.types.is_datetime64_any_dtype(cells.dtype):
        return "continuous"
    labels = cells.dtype if isinstance(cells.dtype, pd.CategoricalDtype) else None
    different = known.nunique() if labels is None else len(labels.categories)
    if different <= 2 and (not pd.api.types.is_float_dtype(known) or (known == known.round()).all()):
        return "binary"
    if labels is not None:
        return "ordinal" if labels.ordered else "categorical"
    if not pd.api.types.is_numeric_dtype(cells):
        return "categorical"
    numbers = known.astype(float)
    lowest = numbers.min()
    if (numbers == numbers.round()).all() and lowest >= 0 and numbers.max() <= MAX_COUNT:
        if numbers.nunique() <= MAX_ORDINAL:
            return "ordinal"
        return "count" if numbers.var() >= numbers.mean() else "continuous"
    if lowest < 0:
        return "continuous"
    if lowest == 0:
        return "nonnegative" if (numbers == 0).mean() >= ZEROS and float(skew(numbers)) > 0.5 else "continuous"
    skewness, of_logarithm = float(skew(numbers)), float(skew(np.log(numbers)))
    return "positive" if skewness > 1 and abs(of_logarithm) < skewness / 2 else "continuous"


def infer_lower(cells: pd.Series) -> float | None:
    """The bound 0 of skewed numbers that begin at zero, as amounts do; None for all others."""
    numbers = cells.dropna().astype(float)
    return 0.0 if numbers.min() == 0 and numbers.max() > 0 and float(skew(numbers)) > 1 else None


def fit_columns(table: pd.DataFrame, schema: Schema | None = None, train: np.ndarray | None = None) -> list[Column]:
    """The columns of a table: kinds and values from all rows, statistics from the training rows.

    Args:
        table: the rows; missing cells are NaN or None.
        schema: kinds, or mappings with `kind`, `family`, `values`, `lower` and `upper`, of columns whose inferred kind
            is replaced.
        train: positions of the training rows; None takes all.

    Raises:
        ValueError: naming a column that is empty, unknown to the table, or does not fit its kind.
    """
    schema = schema or {}
    unknown = [name for name in schema if name not in table.columns]
    if unknown:
        raise ValueError(f"the schema names {', '.join(unknown)}; the table has: {', '.join(map(str, table.columns))}")
    duplicated = table.columns[table.columns.duplicated()]
    if len(duplicated):
        raise ValueError(f"two columns are named {duplicated[0]!r}: rename one")
    rows = np.arange(len(table)) if train is None else train
    return [_fit_column(table[name], schema.get(str(name)), rows) for name in table.columns]


def _fit_column(cells: pd.Series, entry: Any, train: np.ndarray) -> Column:
    name = str(cells.name)
    if cells.iloc[train].isna().all():
        raise ValueError(f"column {name} has no value in the training rows: leave it out")
    options = dict(entry) if isinstance(entry, Mapping) else {"kind": entry} if entry else {}
    kind = options.get("kind") or infer_kind(cells)
    if kind not in FAMILIES:
        raise ValueError(f"column {name}: {kind!r} is no kind; there are {', '.join(FAMILIES)}")
    family = options.get("family") or FAMILIES[kind][0]
    if family not in FAMILIES[kind]:
        raise ValueError(f"column {name}: a {kind} column takes {', '.join(FAMILIES[kind])}, not {family!r}")
    date = _moment(cells) if kind == "continuous" and pd.api.types.is_datetime64_any_dtype(cells.dtype) else ""
    values, numeric = _values(cells, options.get("values")) if kind in DISCRETE else ((), True)
    if kind in DISCRETE:
        _check_values(cells, values, chosen="kind" in options)
    if kind == "binary" and len(values) > 2:
        raise ValueError(f"column {name} is binary but has {len(values)} values: {', '.join(values[:5])} ...")
    lower, upper = options.get("lower"), options.get("upper")
    if kind == "nonnegative":
        lower = max(0.0, lower or 0.0)
    elif kind == "continuous" and not date and "kind" not in options:
        lower = infer_lower(cells)
    # Location 0, scale 1, unit 1: values as they are.
    plain = Column(name, kind, family, values=values, numeric=numeric, date=date)
    x = plain.encode(cells.iloc[train])
    x = x[~np.isnan(x)]
    if kind == "count" and x.max() > MAX_COUNT:
        raise ValueError(f"column {name}: {x.max():.10g} is too large for a count: name it positive or continuous")
    constant = bool(x.min() == x.max())  # a threshold would depend on the unit
    unit = float(x.std()) if kind == "nonnegative" and not constant else 1.0
    measured = np.log(x) if kind == "positive" else np.log1p(x) if kind == "count" else x / unit
    scale = 1.0 if constant else float(measured.std())
    shares = np.bincount(x.astype(int), minlength=len(values)) / len(x) if values else ()
    return Column(
        name,
        kind,
        family,
        values,
        [float(share) for share in shares],
        float(measured.mean()),
        scale if scale > 0 else 1.0,
        float(x.mean()),
        kind != "positive" and not values and not date and bool((x == np.round(x)).all()),
        numeric,
        unit,
        None if lower is None else float(lower),
        None if upper is None else float(upper),
        date,
    )


def _moment(cells: pd.Series) -> str:
    """The coarsest unit of `MOMENTS` of which all dates are whole numbers."""
    known = local_times(cells.dropna())
    return next((unit for unit in ("D", "s") if (known == known.dt.floor(unit)).all()), "us")


def _check_values(cells: pd.Series, values: Sequence[str], chosen: bool) -> None:
    """Refuses too many values, and numbers that one cell has made text unless their kind was chosen."""
    name, many = str(cells.name), len(values) > MAX_CATEGORIES
    if not values:
        raise ValueError(f"column {name} has no values: leave it out, or name another kind in the schema")
    numbers = pd.api.types.is_numeric_dtype(cells) or isinstance(cells.dtype, pd.CategoricalDtype)
    stray = None if numbers or len(values) <= MAX_ORDINAL else stray_number(cells.reset_index(drop=True))
    if stray is not None and (many or not chosen):
        raise ValueError(
            f"column {name} was read as text and has {len(values)} different values, because {place(cells, stray)}: "
            f"{cells.iloc[stray]!r} is not a number. Correct the cell, leave it empty, or name the column's kind in "
            "the schema"
        )
    if many:
        raise ValueError(
            f"column {name} {'has' if numbers else 'was read as text and has'} {len(values)} different values, more "
            f"than {MAX_CATEGORIES}: leave it out, or name another kind in the schema"
        )


def _values(cells: pd.Series, given: Sequence[object] | None) -> tuple[tuple[str, ...], bool]:
    """Texts of a discrete column's values in order, and whether they are numbers."""
    if given is not None:
        return tuple(text_of(value) for value in given), all(isinstance(value, int | float) for value in given)
    known = cells.dropna()
    if isinstance(cells.dtype, pd.CategoricalDtype):
        ordered: list[object] = list(cells.dtype.categories)
    else:
        ordered = sorted(known.unique(), key=lambda value: (isinstance(value, str), value))
    numeric = all(isinstance(value, int | float | np.number) for value in ordered)
    return tuple(text_of(value) for value in ordered), numeric
