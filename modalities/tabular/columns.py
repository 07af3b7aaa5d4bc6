"""Columns of a table: their kinds, and the encoding of their values as numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from scipy.stats import skew

from common.conditions.columns import text_of
from common.configurable import Configurable
from common.lazy import pd
from common.table_files import place, stray_number

Kind = Literal["continuous", "nonnegative", "positive", "count", "ordinal", "binary", "categorical"]
Family = Literal[
    "gaussian", "student_t", "censored_gaussian", "log_normal", "poisson", "negative_binomial", "ordinal", "categorical"
]
Unseen = Literal["error", "missing"]
Schema = Mapping[str, Any]

FAMILIES: dict[Kind, tuple[Family, ...]] = {  # the first one is the default
    "continuous": ("student_t", "gaussian"),
    "nonnegative": ("censored_gaussian",),
    "positive": ("log_normal",),
    "count": ("negative_binomial", "poisson"),
    "ordinal": ("ordinal", "categorical"),
    "binary": ("categorical",),
    "categorical": ("categorical",),
}
DISCRETE: tuple[Kind, ...] = ("ordinal", "binary", "categorical")
LARGEST = 1e18  # of an encoded number: its square is a float32
MAX_ORDINAL = 10  # whole numbers with at most this many different values are ordinal
MAX_CATEGORIES = 100
MAX_COUNT = 1_000_000  # beyond, float32 rounds the log-probability of a count away, and whole numbers have a unit
ZEROS = 0.05  # least share of zeros that makes them a value of their own
MOMENTS = {"D": 1, "s": 86_400, "us": 86_400_000_000}  # units to which imputed dates are rounded: how many make a day
LAST_DAY = 106_751  # days from 1970 that datetime64[ns] reaches


@dataclass(frozen=True)
class Column(Configurable):
    """A column of a table.

    Attributes:
        name: name of the column.
        kind: kind of its values.
        family: family of its likelihood.
        values: texts of the values of a discrete column, in their order; a cell's code is the position.
        shares: relative frequency of each value in training.
        location: mean of the training values: of the numbers, of x / unit (nonnegative), of log x (positive), of
            log (1 + x) (count), of codes.
        scale: standard deviation of the same quantity.
        mean: mean of the training values without a logarithm.
        whole: whether all values are whole numbers.
        numeric: whether a discrete column's values are numbers.
        unit: unit of the encoded values of a nonnegative column: the standard deviation of the training values.
        lower: least number that is imputed; None: no bound. The likelihood of a continuous column does not know it:
            imputations and the ends of intervals are clipped.
        upper: greatest number that is imputed.
        date: unit to which imputed dates are rounded, a key of `MOMENTS`; the numbers of a column of dates are days
            since 1970, in local time. Empty: no dates.
    """

    name: str
    kind: Kind
    family: Family
    values: Sequence[str] = ()
    shares: Sequence[float] = ()
    location: float = 0.0
    scale: float = 1.0
    mean: float = 0.0
    whole: bool = False
    numeric: bool = True
    unit: float = 1.0
    lower: float | None = None
    upper: float | None = None
    date: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        object.__setattr__(self, "shares", tuple(self.shares))

    @property
    def discrete(self) -> bool:
        """Whether the values are codes."""
        return self.kind in DISCRETE

    @property
    def label(self) -> bool:
        """Whether the values are unordered, or only two, so that an imputation is either right or wrong."""
        return self.kind in ("binary", "categorical")

    @property
    def log_unit(self) -> float:
        """Log of the unit of `encode`d values in units of the table: log p(table) = log p(encoded) - log unit.

        Zero for a nonnegative column, whose zeros have a probability and not a density: the density of its other
        values is one in units of their deviation.
        """
        return {"continuous": float(np.log(self.scale)), "positive": self.location}.get(self.kind, 0.0)

    def encode(self, cells: pd.Series, source: str = "the table", unseen: Unseen = "error") -> np.ndarray:
        """Cells as numbers for the model, [N] float64, NaN where missing.

        Continuous values are standardised, nonnegative ones divided by their deviation, positive ones by their
        geometric mean, counts are unchanged, and values of the other kinds become codes.

        Args:
            cells: the column's cells.
            source: what they are of, for messages.
            unseen: takes a value of a discrete column that training did not see as an error, or as missing.

        Raises:
            ValueError: for a value that the column cannot have; the message names source, row and column.
        """
        if self.discrete:
            return self._codes(cells, source, unseen)
        missing = cells.isna().to_numpy()
        numbers = _numbers(cells, bool(self.date))
        self._check(cells, np.isnan(numbers) & ~missing, f"is not a {'date' if self.date else 'number'}", source)
        self._check(cells, np.isinf(numbers), "is infinite", source)
        if self.kind == "positive":
            self._check(cells, numbers <= 0, "is not positive", source)
        if self.kind == "nonnegative":
            self._check(cells, numbers < 0, "is negative", source)
        if self.kind == "count":
            self._check(cells, (numbers < 0) | (numbers != np.round(numbers)) & ~missing, "is not a count", source)
        x = self.scaled(numbers)
        self._check(cells, np.abs(x) > LARGEST, "is too large a number beside those of training", source)
        return x

    def _codes(self, cells: pd.Series, source: str, unseen: Unseen) -> np.ndarray:
        """Codes of a discrete column's cells."""
        positions = {value: code for code, value in enumerate(self.values)}
        which, labels = pd.factorize(cells)  # -1 where missing
        texts = [text_of(label) for label in labels]
        codes = np.array([*(positions.get(text, np.nan) for text in texts), np.nan])
        result: np.ndarray = codes[which]
        strange = np.flatnonzero(np.isnan(result) & (which >= 0))
        if len(strange):
            first = int(strange[0])
            fault = (
                f"{source}, {place(cells, first)}, column {self.name}: {texts[which[first]]!r} was not seen in "
                f"training; the values are {', '.join(self.values[:20])}"
            )
            if unseen == "error":
                raise ValueError(f"{fault}. Correct it, or leave the cell empty")
            several = f" ({len(strange)} such cells)" if len(strange) > 1 else ""
            warnings.warn(f"{fault}{several}. It stays, and says nothing about other cells", stacklevel=2)
        return result

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Numbers in the units of the table, or codes, as numbers for the model."""
        if self.kind == "positive":
            return x / np.exp(self.location)
        if self.kind == "nonnegative":
            return x / self.unit
        return (x - self.location) / self.scale if self.kind == "continuous" else x

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Numbers in the units of the table within the column's bounds, [N] float64; codes for a discrete column.

        Inverse of `scaled` inside of the bounds.
        """
        if self.discrete:
            return np.round(x)
        if self.kind == "positive":
            x = x * np.exp(self.location)
        elif self.kind == "nonnegative":
            x = x * self.unit
        elif self.kind == "continuous":
            x = x * self.scale + self.location
        return np.clip(x, -np.inf if self.lower is None else self.lower, np.inf if self.upper is None else self.upper)

    def present(self, x: np.ndarray) -> np.ndarray:
        """Values of the table from encoded ones: rounded if all values are whole numbers, names in place of codes."""
        x = self.decode(x)
        if self.date:
            moments = np.round(np.clip(x, -LAST_DAY, LAST_DAY) * MOMENTS[self.date])
            return moments.astype(np.int64).astype(f"datetime64[{self.date}]")
        if not self.discrete:
            return self._whole(x) if self.whole else x
        values = [_typed(value, self.numeric) for value in self.values]
        # One dtype for the whole column, whatever values occur in x: integers, numbers or objects.
        return np.array(values, dtype=None if self.numeric else object)[x.astype(int)]

    def _whole(self, x: np.ndarray) -> np.ndarray:
        """The nearest whole numbers within the bounds."""
        lower = -np.inf if self.lower is None else np.ceil(self.lower)
        return np.clip(np.round(x), lower, np.inf if self.upper is None else np.floor(self.upper))

    def _check(self, cells: pd.Series, wrong: np.ndarray, fault: str, source: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            cell = cells.iloc[row]
            cell = cell.item() if isinstance(cell, np.generic) else cell
            raise ValueError(
                f"{source}, {place(cells, row)}, column {self.name}: {cell!r} {fault}, but the column is "
                f"{self.kind}. Correct the cell, leave it empty, or name another kind in the schema and train again"
            )


def _numbers(cells: pd.Series, dates: bool) -> np.ndarray:
    """Cells as numbers [N] float64, dates as days since 1970 in local time; NaN where missing or neither."""
    if not dates:
        if pd.api.types.is_datetime64_any_dtype(cells.dtype):
            return np.full(len(cells), np.nan)
        return pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    if pd.api.types.is_numeric_dtype(cells.dtype):  # 2020, or a spreadsheet's 44000, is no date
        return np.full(len(cells), np.nan)
    return ((_local(cells) - pd.Timestamp(0)) / pd.Timedelta(days=1)).to_numpy(dtype=float)


def _local(cells: pd.Series) -> pd.Series:
    """Dates, or their texts, as local time without a time zone; NaT where a cell is no date."""
    if not pd.api.types.is_datetime64_any_dtype(cells.dtype):
        cells = pd.to_datetime(cells, errors="coerce")
    return cells.dt.tz_localize(None)


def _typed(text: str, numeric: bool) -> object:
    """The value of a text: a boolean, a whole number, another number, or the text itself."""
    if text in ("True", "False"):
        return text == "True"
    if not numeric:
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)


def schema_of(columns: Sequence[Column]) -> Schema:
    """The schema that gives the columns of another table the same kinds, families and values."""

    def values(column: Column) -> Schema:
        return {"values": [_typed(value, column.numeric) for value in column.values]} if column.discrete else {}

    def bounds(column: Column) -> Schema:
        return {name: end for name in ("lower", "upper") if (end := getattr(column, name)) is not None}

    return {c.name: {"kind": c.kind, "family": c.family, **values(c), **bounds(c)} for c in columns}


def extended(known: Column, fitted: Column) -> Column:
    """A known column with the further values of the same column of another table; statistics are the known ones.

    Raises:
        ValueError: if one of them has values and the other numbers.
    """
    if not known.discrete:
        return known
    further = [value for value in fitted.values if value not in known.values]
    if not fitted.discrete:
        raise ValueError(
            f"column {known.name} is {known.kind} in the checkpoint's model and {fitted.kind} in the table: name its "
            "kind in data.schema"
        )
    if not further:
        return known
    shares = [*known.shares, *(fitted.shares[fitted.values.index(value)] for value in further)]
    kind, family = known.kind, known.family
    if kind == "binary":  # a third value
        kind, family = "categorical", "categorical"
    total = sum(shares)
    return replace(
        known,
        kind=kind,
        family=family,
        values=[*known.values, *further],
        shares=[share / total for share in shares],
        numeric=known.numeric and fitted.numeric,
    )


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
    known = _local(cells.dropna())
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


def encode_table(
    table: pd.DataFrame, columns: Sequence[Column], source: str = "the table", unseen: Unseen = "error"
) -> np.ndarray:
    """Cells as numbers [N, F] float32 in the order of the columns, NaN where missing.

    Args:
        table: the rows; their order of columns does not matter.
        columns: the columns.
        source: what the table is, for messages.
        unseen: as in `Column.encode`.

    Raises:
        ValueError: for a missing, additional or repeated column, and as in `Column.encode`.
    """
    names = [str(name) for name in table.columns]
    missing = [column.name for column in columns if column.name not in names]
    extra = [name for name in names if name not in {column.name for column in columns}]
    if missing or extra or len(names) != len(columns):
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(extra)}, which the model does not know"] if extra else []
        raise ValueError(f"{source} {' and '.join(parts) or 'has a column twice'}; columns must be those of training")
    cells = [column.encode(table.iloc[:, names.index(column.name)], source, unseen) for column in columns]
    return np.stack(cells, axis=1).astype(np.float32)
