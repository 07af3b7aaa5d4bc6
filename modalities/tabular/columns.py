"""Columns of a table: their kinds, and the encoding of their values as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from scipy.stats import skew

from common.configurable import Configurable
from common.lazy import pd

Kind = Literal["continuous", "positive", "count", "ordinal", "binary", "categorical"]
Family = Literal["gaussian", "student_t", "log_normal", "poisson", "negative_binomial", "ordinal", "categorical"]
Schema = Mapping[str, Any]

FAMILIES: dict[Kind, tuple[Family, ...]] = {  # the first one is the default
    "continuous": ("student_t", "gaussian"),
    "positive": ("log_normal",),
    "count": ("negative_binomial", "poisson"),
    "ordinal": ("ordinal", "categorical"),
    "binary": ("categorical",),
    "categorical": ("categorical",),
}
DISCRETE: tuple[Kind, ...] = ("ordinal", "binary", "categorical")
MAX_ORDINAL = 10  # whole numbers with at most this many different values are ordinal
MAX_CATEGORIES = 100


@dataclass(frozen=True)
class Column(Configurable):
    """A column of a table.

    Attributes:
        name: name of the column.
        kind: kind of its values.
        family: family of its likelihood.
        values: texts of the values of a discrete column, in their order; a cell's code is the position.
        shares: relative frequency of each value in training.
        location: mean of the training values: of the numbers, of log x (positive), of log (1 + x) (count), of codes.
        scale: standard deviation of the same quantity.
        mean: mean of the training values without a logarithm.
        whole: whether all values are whole numbers.
        numeric: whether a discrete column's values are numbers.
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
        """Log of the unit of `encode`d values in units of the table: log p(table) = log p(encoded) - log unit."""
        return {"continuous": float(np.log(self.scale)), "positive": self.location}.get(self.kind, 0.0)

    def encode(self, cells: pd.Series, source: str = "the table") -> np.ndarray:
        """Cells as numbers for the model, [N] float64, NaN where missing.

        Continuous values are standardised, positive ones divided by their geometric mean, counts are unchanged, and
        values of the other kinds become codes.

        Raises:
            ValueError: for a value that the column cannot have; the message names source, row and column.
        """
        missing = cells.isna().to_numpy()
        result = np.full(len(cells), np.nan)
        if self.discrete:
            positions = {value: code for code, value in enumerate(self.values)}
            for row in np.flatnonzero(~missing):
                text = text_of(cells.iloc[row])
                if text not in positions:
                    raise ValueError(
                        f"{source}, row {row + 1}, column {self.name}: {text!r} was not seen in training; the values "
                        f"are {', '.join(self.values[:20])}. Correct it, or leave the cell empty"
                    )
                result[row] = positions[text]
            return result
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        self._check(cells, np.isnan(numbers) & ~missing, "is not a number", source)
        self._check(cells, np.isinf(numbers), "is infinite", source)
        if self.kind == "positive":
            self._check(cells, numbers <= 0, "is not positive", source)
        if self.kind == "count":
            self._check(cells, (numbers < 0) | (numbers != np.round(numbers)) & ~missing, "is not a count", source)
        return self.scaled(numbers)

    def scaled(self, x: np.ndarray) -> np.ndarray:
        """Numbers in the units of the table, or codes, as numbers for the model."""
        if self.kind == "positive":
            return x / np.exp(self.location)
        return (x - self.location) / self.scale if self.kind == "continuous" else x

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Inverse of `scaled`: numbers in the units of the table, [N] float64; codes for a discrete column."""
        if self.kind == "positive":
            x = x * np.exp(self.location)
        elif self.kind == "continuous":
            x = x * self.scale + self.location
        return np.round(x) if self.discrete else x

    def present(self, x: np.ndarray) -> np.ndarray:
        """Values of the table from encoded ones: rounded if all values are whole numbers, names in place of codes."""
        x = self.decode(x)
        if not self.discrete:
            return np.round(x) if self.whole else x
        values = [_typed(value, self.numeric) for value in self.values]
        # One dtype for the whole column, whatever values occur in x: integers, numbers or objects.
        return np.array(values, dtype=None if self.numeric else object)[x.astype(int)]

    def _check(self, cells: pd.Series, wrong: np.ndarray, fault: str, source: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"{source}, row {row + 1}, column {self.name}: {cells.iloc[row]!r} {fault}, but the column is "
                f"{self.kind}. Correct the cell, leave it empty, or name another kind in the schema and train again"
            )


def text_of(value: object) -> str:
    """A cell as text; whole numbers that pandas stores as floats, because cells are empty, have no decimal point."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value)
    if text.endswith(".0") and text[:-2].lstrip("-").isdigit():
        return text[:-2]
    return text


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

    return {c.name: {"kind": c.kind, "family": c.family, **values(c)} for c in columns}


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
    """A schema from YAML: `column: kind`, or `column: {kind: ..., family: ..., values: [...]}`."""
    schema = yaml.safe_load(path.read_text()) or {}
    if not isinstance(schema, dict):
        raise ValueError(f"{path} must map column names to kinds ({', '.join(get_args(Kind))})")
    return {str(name): entry for name, entry in schema.items()}


def infer_kind(cells: pd.Series) -> Kind:
    """The kind that a column's dtype and values suggest.

    At most two values make a binary column; text is categorical, an ordered category ordinal. Whole numbers from zero
    on are ordinal if at most 10 of them differ, counts if their variance is at least their mean, else continuous.
    Numbers above zero with a skewness that a logarithm reduces clearly are positive; all others are continuous.
    """
    known = cells.dropna()
    if known.nunique() <= 2 and (not pd.api.types.is_float_dtype(known) or (known == known.round()).all()):
        return "binary"
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return "ordinal" if cells.dtype.ordered else "categorical"
    if not pd.api.types.is_numeric_dtype(cells):
        return "categorical"
    numbers = known.astype(float)
    if (numbers == numbers.round()).all() and numbers.min() >= 0:
        if numbers.nunique() <= MAX_ORDINAL:
            return "ordinal"
        return "count" if numbers.var() >= numbers.mean() else "continuous"
    if numbers.min() <= 0:
        return "continuous"
    skewness, of_logarithm = float(skew(numbers)), float(skew(np.log(numbers)))
    return "positive" if skewness > 1 and abs(of_logarithm) < skewness / 2 else "continuous"


def fit_columns(table: pd.DataFrame, schema: Schema | None = None, train: np.ndarray | None = None) -> list[Column]:
    """The columns of a table: kinds and values from all rows, statistics from the training rows.

    Args:
        table: the rows; missing cells are NaN or None.
        schema: kinds, or mappings with `kind`, `family` and `values`, of columns whose inferred kind is replaced.
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
    values, numeric = _values(cells, options.get("values")) if kind in DISCRETE else ((), True)
    if kind in DISCRETE and not 1 <= len(values) <= MAX_CATEGORIES:
        raise ValueError(
            f"column {name} has {len(values)} different values, more than {MAX_CATEGORIES}: leave it out, or name "
            "another kind in the schema"
        )
    if kind == "binary" and len(values) > 2:
        raise ValueError(f"column {name} is binary but has {len(values)} values: {', '.join(values[:5])} ...")
    plain = Column(name, kind, family, values=values, numeric=numeric)  # location 0, scale 1: values as they are
    x = plain.encode(cells.iloc[train])
    x = x[~np.isnan(x)]
    measured = np.log(x) if kind == "positive" else np.log1p(x) if kind == "count" else x
    scale = float(measured.std())
    shares = np.bincount(x.astype(int), minlength=len(values)) / len(x) if values else ()
    return Column(
        name,
        kind,
        family,
        values,
        [float(share) for share in shares],
        float(measured.mean()),
        scale if scale > 1e-8 * max(1.0, abs(float(measured.mean()))) else 1.0,
        float(x.mean()),
        kind != "positive" and not values and bool((x == np.round(x)).all()),
        numeric,
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


def encode_table(table: pd.DataFrame, columns: Sequence[Column], source: str = "the table") -> np.ndarray:
    """Cells as numbers [N, F] float32 in the order of the columns, NaN where missing.

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
    cells = [column.encode(table.iloc[:, names.index(column.name)], source) for column in columns]
    return np.stack(cells, axis=1).astype(np.float32)
