"""What scikit-learn's imputers have in common: which columns go in, are filled and come out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import MissingIndicator
from sklearn.utils._param_validation import Interval, MissingValues
from sklearn.utils.validation import check_is_fitted, validate_data

from common.lazy import pd
from modalities.tabular.columns import Column
from modalities.tabular.imputation.cells import (
    Cells,
    Labels,
    filled_column,
    is_empty_marker,
    labels_of,
    nothing_known,
    put,
    read_cells,
    readable,
)
from modalities.tabular.schema import Schema, fit_columns, infer_kind, infer_lower

NO_NUMBERS = re.compile("could not convert|'(NAType|Timestamp|datetime|date)'")  # what NumPy says of other cells


class TableImputer(TransformerMixin, BaseEstimator):
    """Base of an imputer of frames and arrays with the parameters and conventions of scikit-learn's imputers.

    A column without any observed cell in `fit` is dropped, unless `keep_empty_features` keeps it. An array's numbers
    are continuous; the kinds of a frame's columns, and of an array of objects, are inferred.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "missing_values": [MissingValues()],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "min_value": [None, Interval(Real, None, None, closed="both"), "array-like"],
        "max_value": [None, Interval(Real, None, None, closed="both"), "array-like"],
        "columns": [None, "array-like"],
        "schema": [None, Mapping],
    }
    missing_values: Any
    add_indicator: bool
    keep_empty_features: bool
    min_value: Any
    max_value: Any
    columns: Sequence[str | int] | None
    schema: Schema | None
    feature_names_in_: np.ndarray
    n_features_in_: int

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns that `transform` returns, those of the indicators last."""
        check_is_fitted(self)
        names = self._names()
        if input_features is not None:
            given = np.asarray(input_features, dtype=object)
            if hasattr(self, "feature_names_in_") and not np.array_equal(names, given):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(given) != self.n_features_in_:
                raise ValueError(f"input_features should have length equal to number of features {self.n_features_in_}")
            names = given
        further = [] if self.indicator_ is None else self.indicator_.get_feature_names_out(names)
        return np.array([*names[self._kept], *further], dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = is_empty_marker(self.missing_values)
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _names(self) -> np.ndarray:
        """Names of the input's columns, [F]."""
        generated = [f"x{position}" for position in range(self.n_features_in_)]
        return np.asarray(getattr(self, "feature_names_in_", generated), dtype=object)

    def _read(self, X: Any, reset: bool) -> Cells:
        """The cells of X, whose columns are those of `fit` by position; scikit-learn warns where names are lacking."""
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) == 0 or X.shape[1] == 0:
                raise ValueError(f"Found array with {len(X)} sample(s) and {X.shape[1]} feature(s): nothing to fill")
            duplicated = X.columns[X.columns.duplicated()]
            if len(duplicated):
                raise ValueError(f"two columns are named {duplicated[0]!r}: rename one")
            return read_cells(X, [str(name) for name in X.columns], self.missing_values)
        finite: Any = "allow-nan" if is_empty_marker(self.missing_values) else True
        try:
            array = validate_data(self, X, reset=reset, dtype=(np.float64, np.float32), ensure_all_finite=finite)
        except (ValueError, TypeError) as error:
            if not NO_NUMBERS.search(str(error)):
                raise
            with warnings.catch_warnings():  # it has warned of lacking names already
                warnings.simplefilter("ignore")
                array = validate_data(self, X, reset=reset, dtype=object, ensure_all_finite=finite)
        return read_cells(array, list(self._names()), self.missing_values)

    def _begin(self, cells: Cells) -> list[Column]:
        """Decides on the columns of the table of `fit`, and returns those that have observed cells.

        Raises:
            ValueError: for bounds or columns that do not fit the table.
        """
        empty = np.asarray(cells.missing.all(axis=0))
        names = [str(name) for name in cells.frame.columns]
        self._fills = self._chosen(names)
        self._kept = ~empty | ~self._fills | self.keep_empty_features
        self._modelled = np.flatnonzero(~empty)
        self.indicator_ = None
        if self.add_indicator:  # it reads NaN whatever marks the missing cells of X
            self.indicator_ = MissingIndicator(error_on_new=False).fit(np.where(cells.missing, np.nan, 0.0))
        lower, upper = (self._limits(bound, len(names)) for bound in ("min", "max"))
        if not (lower < upper).all():
            raise ValueError("One (or more) features have min_value >= max_value.")
        frame = cells.frame.iloc[:, self._modelled]
        if not len(self._modelled):
            return []
        given = {name: entry for name, entry in (self.schema or {}).items() if name not in np.array(names)[empty]}
        columns = fit_columns(frame, self._measured(cells, frame) | given)
        self._labels: list[Labels] = [
            labels_of(frame.iloc[:, number]) if column.discrete else {} for number, column in enumerate(columns)
        ]
        return [
            column if column.discrete or column.date else _bounded(column, lower[position], upper[position])
            for column, position in zip(columns, self._modelled, strict=True)
        ]

    def _measured(self, cells: Cells, frame: pd.DataFrame) -> dict[str, Any]:
        """The schema of the columns that are taken as continuous.

        These are an array's numbers, which must not be refused where `fit` has not seen them, and a frame's few whole
        numbers none of which comes twice, which nothing makes codes.
        """
        result = {}
        for name, column in frame.items():
            if not pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
                continue
            array = not isinstance(cells.original, pd.DataFrame)
            if array or (column.dropna().is_unique and infer_kind(column) in ("binary", "ordinal")):
                result[str(name)] = {"kind": "continuous", "lower": infer_lower(column)}
        return result

    def _chosen(self, names: Sequence[str]) -> np.ndarray:
        """Which columns are filled, [F]."""
        if self.columns is None:
            return np.ones(len(names), dtype=bool)
        chosen = np.zeros(len(names), dtype=bool)
        for entry in self.columns:
            if isinstance(entry, Integral) and not isinstance(entry, bool) and 0 <= int(entry) < len(names):
                chosen[int(entry)] = True
            elif str(entry) in names:
                chosen[names.index(str(entry))] = True
            else:
                raise ValueError(f"columns names {entry!r}, which X lacks; it has {', '.join(names[:20])}")
        return chosen

    def _limits(self, bound: str, features: int) -> np.ndarray:
        """`min_value` or `max_value` of each column, [F], as `IterativeImputer` reads them."""
        value = getattr(self, f"{bound}_value")
        if value is None:
            return np.full(features, -np.inf if bound == "min" else np.inf)
        limits = np.asarray(value, dtype=float)
        if limits.ndim and limits.shape != (features,):
            raise ValueError(
                f"'{bound}_value' should be of shape ({features},) when an array-like is provided. Got {len(limits)}, "
                "instead."
            )
        return np.broadcast_to(limits, (features,))

    def _holes(self, cells: Cells) -> np.ndarray:
        """The cells that are filled by the model, [N, columns of the model]."""
        return (cells.missing & self._fills)[:, self._modelled]

    def _filled(self, cells: Cells, columns: Sequence[Column], x: np.ndarray) -> Any:
        """X with its missing cells from encoded values x [N, columns of the model]."""
        original = cells.original
        if isinstance(original, pd.DataFrame):
            return self._outgoing_frame(cells, self._filled_frame(cells, columns, x, original))
        if original.dtype.kind != "f":
            objects = pd.DataFrame(original, dtype=object)
            return self._outgoing_array(cells, self._filled_frame(cells, columns, x, objects).to_numpy(dtype=object))
        result, holes = original.copy(), self._holes(cells)
        for number, column in enumerate(columns):
            rows = holes[:, number]
            result[rows, self._modelled[number]] = column.present(x[rows, number])
        for position in self._kept_empty:
            result[cells.missing[:, position], position] = 0.0
        return self._outgoing_array(cells, result)

    def _filled_frame(
        self, cells: Cells, columns: Sequence[Column], x: np.ndarray, original: pd.DataFrame
    ) -> pd.DataFrame:
        result, holes = original.copy(), self._holes(cells)
        for number, column in enumerate(columns):
            rows, position = holes[:, number], int(self._modelled[number])
            if rows.any():
                before: pd.Series = result.iloc[:, position]
                zone = getattr(cells.frame.dtypes.iloc[position], "tz", None)
                after = filled_column(before, rows, column, x[rows, number], self._labels[number], zone)
                result.isetitem(position, after.array)
        for position in self._kept_empty:
            before, rows = result.iloc[:, position], cells.missing[:, position]
            result.isetitem(position, put(before, rows, [nothing_known(before)] * int(rows.sum())).array)
        return result

    @property
    def _kept_empty(self) -> list[int]:
        """Positions of the columns without any cell in `fit` that are filled all the same."""
        kept: list[int] = np.setdiff1d(np.flatnonzero(self._kept & self._fills), self._modelled).tolist()
        return kept

    def _indicators(self, cells: Cells) -> np.ndarray:
        """Where cells are missing, [N, columns of the indicator], bool; warns of the columns that are dropped."""
        skipped = self._names()[~self._kept]
        if len(skipped):
            warnings.warn(
                f"Skipping features without any observed values: {skipped}. At least one non-missing value is needed "
                "for imputation.",
                stacklevel=5,
            )
        if self.indicator_ is None:
            return np.zeros((len(cells), 0), dtype=bool)
        missing: np.ndarray = self.indicator_.transform(np.where(cells.missing, np.nan, 0.0))
        return missing

    def _outgoing_array(self, cells: Cells, result: np.ndarray) -> np.ndarray:
        """The columns that come out, and the indicators."""
        return np.hstack([result[:, self._kept], self._indicators(cells).astype(result.dtype)])

    def _outgoing_frame(self, cells: Cells, result: pd.DataFrame) -> pd.DataFrame:
        """The columns that come out, and the indicators."""
        missing = self._indicators(cells)
        result = result.iloc[:, np.flatnonzero(self._kept)]
        if self.indicator_ is not None:
            names = self.get_feature_names_out()[result.shape[1] :]
            result = pd.concat([result, pd.DataFrame(missing, index=result.index, columns=names)], axis=1)
        return readable(result)


def _bounded(column: Column, lower: float, upper: float) -> Column:
    """A column whose own bounds give way to finite ones; a kind that has no negative values keeps its zero."""
    if np.isfinite(lower):
        column = replace(column, lower=float(max(lower, 0.0) if column.kind == "nonnegative" else lower))
    return replace(column, upper=float(upper)) if np.isfinite(upper) else column
