"""Columns of a table: their kinds, and the encoding of their values as numbers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from common.conditions.columns import text_of
from common.configurable import Configurable
from common.lazy import pd
from common.table_files import place

Kind = Literal["continuous", "nonnegative", "positive", "count", "ordinal", "binary", "categorical"]
Family = Literal[
    "gaussian", "student_t", "censored_gaussian", "log_normal", "poisson", "negative_binomial", "ordinal", "categorical"
]
Unseen = Literal["error", "missing"]

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
        values = [typed(value, self.numeric) for value in self.values]
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
    return ((local_times(cells) - pd.Timestamp(0)) / pd.Timedelta(days=1)).to_numpy(dtype=float)


def local_times(cells: pd.Series) -> pd.Series:
    """Dates, or their texts, as local time without a time zone; NaT where a cell is no date."""
    if not pd.api.types.is_datetime64_any_dtype(cells.dtype):
        cells = pd.to_datetime(cells, errors="coerce")
    return cells.dt.tz_localize(None)


def typed(text: str, numeric: bool) -> object:
    """The value of a text: a boolean, a whole number, another number, or the text itself."""
    if text in ("True", "False"):
        return text == "True"
    if not numeric:
        return text
    return int(text) if text.lstrip("-").isdigit() else float(text)


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
