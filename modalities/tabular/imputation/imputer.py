"""CVAEImputer: an ensemble of tabular CVAEs behind scikit-learn's interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.data.splits import some_rows
from common.distributions.noise import example_uniform
from common.distributions.priors import ConditionalNormal
from common.objectives.objectives import ELBO, IWAE
from common.seeding import seeded
from modalities.tabular.columns import Unseen, encode_table
from modalities.tabular.condition import ObservedCellsEncoder
from modalities.tabular.imputation.cells import Cells
from modalities.tabular.imputation.filled import Filled, decoded, in_table_units
from modalities.tabular.imputation.fitting import Fitting, cross_validate, fit_member
from modalities.tabular.imputation.sampling import (
    CELLS,
    DELAY,
    impute_blocks,
    impute_rows,
    interval_factor,
    masked_log_likelihood,
    with_intervals,
)
from modalities.tabular.imputation.table_imputer import TableImputer
from modalities.tabular.model import TabularCVAE
from modalities.tabular.networks.factor_analysis import FactorAnalysis, choose_factors
from modalities.tabular.networks.features import Features

CHOICE_ROWS = 5_000  # most rows from which the latent size is chosen
START_ROWS = 5_000  # most rows of the factor analysis that initialises a member
INTERVAL_ROWS = 2_000  # most rows whose held-out cells set the width of the intervals


class CVAEImputer(TableImputer):
    """Imputes missing cells with an ensemble of MIWAEs that are initialised by factor analysis.

    A cross-validation over observed cells chooses the number of latent units and of training steps, and sets the width
    of the intervals; the members are then trained on all observed cells. An array's columns are continuous; the kinds
    of a DataFrame's columns are inferred, and the result is a DataFrame with the same dtypes. Observed cells stay as
    they are. The single imputation of a row depends on that row alone. The first draws are the same however many there
    are; their noise, and that of intervals, depends on the rows beside it.

    Source: Mattei and Frellsen 2019, "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets"; Ivanov,
    Figurnov and Vetrov 2019, "Variational Autoencoder with Arbitrary Conditioning" (`learned_prior`).

    Args:
        members: models in the ensemble.
        latent_dim: size of z; None chooses it by factor analysis of held-out cells.
        schema: kinds of columns that replace the inferred ones (`modalities.tabular.schema.fit_columns`).
        columns: names or positions of the columns to fill; the others are predictors, whose missing cells stay
            missing. None fills all.
        missing_values: what stands in missing cells: NaN, None and pandas' NA are the same; or a number, or a text.
        add_indicator: appends a column for each one that had missing cells in `fit`: where they are, as scikit-learn's
            `MissingIndicator`.
        keep_empty_features: keeps columns without any observed cell in `fit`, filled with 0, which are dropped
            otherwise.
        min_value: least number to impute, one for all columns or one for each; discrete columns and dates have none.
        max_value: greatest number to impute.
        unseen: a category that `fit` did not see is an error; `missing` keeps the cell with a warning, and predicts
            the other cells of its row as if it were missing.
        hidden: width of the networks' hidden layers.
        learned_prior: gives prior and decoder the observed cells (VAEAC) in place of importance sampling (MIWAE).
        linear_start: initialises members by factor analysis; False leaves them random weights, as in the sources.
        samples: importance samples of the training bound; a learned prior is trained by the ELBO.
        max_steps: most optimiser steps of a member; 0 leaves the members at their factor analysis.
        learning_rate: learning rate of AdamW.
        batch_size: rows per step.
        patience: checks (every 20 steps) without improvement before the cross-validation stops.
        held_out: share of the observed cells that each fold holds out; there are as many folds as members.
        proposals: importance samples of each member in imputation.
        draws: number of multiple imputations from which intervals are computed.
        verbose: shows progress bars, on a terminal and for what takes more than some seconds.
        random_state: seed.

    Attributes:
        columns_: the columns that have observed cells.
        indicator_: scikit-learn's `MissingIndicator`, or None.
        members_: the trained models.
        steps_: number of training steps of each member.
        latent_dim_: size of z.
        ridge_: ridge of the factor analysis.
        history_: mean held-out score of the folds at every check (`fitting.held_out_score`).
        factor_: factor by which intervals of level `COVERAGE` are widened, from held-out cells.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TableImputer._parameter_constraints,
        "members": [Interval(Integral, 1, None, closed="left")],
        "latent_dim": [None, Interval(Integral, 1, None, closed="left")],
        "hidden": [Interval(Integral, 1, None, closed="left")],
        "learned_prior": ["boolean"],
        "linear_start": ["boolean"],
        "samples": [Interval(Integral, 1, None, closed="left")],
        "max_steps": [Interval(Integral, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "patience": [Interval(Integral, 1, None, closed="left")],
        "held_out": [Interval(Real, 0, 1, closed="neither")],
        "proposals": [Interval(Integral, 1, None, closed="left")],
        "draws": [Interval(Integral, 2, None, closed="left")],
        "unseen": [StrOptions({"error", "missing"})],
        "verbose": ["boolean"],
        "random_state": ["random_state"],
    }
    COVERAGE = 0.9  # level at which intervals are widened to cover held-out cells

    def __init__(
        self,
        members: int = 5,
        latent_dim: int | None = None,
        schema: Mapping[str, Any] | None = None,
        columns: Sequence[str | int] | None = None,
        missing_values: Any = np.nan,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        min_value: Any = None,
        max_value: Any = None,
        unseen: Unseen = "error",
        hidden: int = 128,
        learned_prior: bool = False,
        linear_start: bool = True,
        samples: int = 5,
        max_steps: int = Fitting.max_steps,
        learning_rate: float = Fitting.learning_rate,
        batch_size: int = Fitting.batch_size,
        patience: int = Fitting.patience,
        held_out: float = 0.1,
        proposals: int = 100,
        draws: int = 200,
        verbose: bool = True,
        random_state: Any = None,
    ) -> None:
        self.members = members
        self.latent_dim = latent_dim
        self.schema = schema
        self.columns = columns
        self.missing_values = missing_values
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.min_value = min_value
        self.max_value = max_value
        self.unseen = unseen
        self.hidden = hidden
        self.learned_prior = learned_prior
        self.linear_start = linear_start
        self.samples = samples
        self.max_steps = max_steps
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.patience = patience
        self.held_out = held_out
        self.proposals = proposals
        self.draws = draws
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains the ensemble on the observed cells of X [N, F].

        Raises:
            ValueError: for fewer than two rows, and for a column or a cell that cannot be read; the message names it.
        """
        cells = self._read(X, reset=True)
        if not self.linear_start and not self.max_steps:
            raise ValueError(
                "max_steps 0 leaves members at their factor analysis, of which linear_start False has none"
            )
        if len(cells) < 2:
            raise ValueError(f"fit needs at least 2 rows; X has {len(cells)} sample")
        self.columns_ = self._begin(cells)
        self.members_: list[TabularCVAE] = []
        if not self.columns_:
            return self
        x = self._encode(cells)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        held_out = held_out_cells(~x.isnan(), self.members, self.held_out, seed)
        self.seed_ = seed
        self.latent_dim_, self.ridge_ = self._choose(x, held_out)
        fitting = Fitting(
            max_steps=self.max_steps,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            patience=self.patience,
        )
        with seeded(seed):
            folds = [self._model(self._start(x.masked_fill(hidden, float("nan")))) for hidden in held_out]
            self.steps_, self.history_ = cross_validate(folds, x, held_out, fitting, seed, self.verbose)
            self.factor_ = self._interval_factor(folds, x, held_out)
            start = self._start(x)
            self.members_ = [self._model(start) for _ in folds]
            shown = None if self.verbose else True
            numbered = tqdm(self.members_, "members", unit="model", disable=shown, leave=False, delay=DELAY)
            for number, model in enumerate(numbered):
                fit_member(model, x, self.steps_, fitting, seed + number)
        return self

    def transform(self, X: Any) -> Any:
        """X [N, F] with its missing cells filled; observed cells are left as they are."""
        check_is_fitted(self)
        cells = self._read(X, reset=False)
        x, rows = self._rows(cells)
        filled = x.clone()
        if len(rows):
            filled[rows] = impute_rows(self.members_, x[rows], self.proposals, 0, self.seed_, self._title).point
        return self._filled(cells, self.columns_, filled.double().numpy())

    def impute(self, X: Any, num: int) -> list[Any]:
        """`num` imputations of X, draws from p(hidden | observed), each as `transform` returns it.

        The first ones are the same whatever `num` is.
        """
        check_is_fitted(self)
        cells = self._read(X, reset=False)
        x, rows = self._rows(cells)
        draws = x.new_zeros(num, 0, x.shape[1])
        if len(rows):
            draws = impute_rows(self.members_, x[rows], self.proposals, num, self.seed_, self._title).draws
        return [self._filled(cells, self.columns_, x.index_copy(0, rows, draw).double().numpy()) for draw in draws]

    def complete(self, X: Any, level: float = COVERAGE) -> Filled:
        """Single imputation and intervals in the units of X, codes for discrete columns.

        There is a column for each one that `transform` returns, but for indicators. Cells of columns that are not
        filled are NaN where missing; dates are days since 1970.
        """
        check_is_fitted(self)
        cells = self._read(X, reset=False)
        x, rows = self._rows(cells)
        ends = [x.clone() for _ in range(3)]
        if len(rows):
            blocks = impute_blocks(self.members_, x[rows], self.proposals, self.draws, self.seed_, self._title)
            imputation, *found = with_intervals(blocks, level, self.columns_, self.factor_)
            for end, part in zip(ends, (imputation.point, *found), strict=True):
                end[rows] = part
        point, low, high = (self._table_units(cells, end) for end in ends)
        return Filled(point, low, high)

    def _table_units(self, cells: Cells, x: Tensor) -> np.ndarray:
        """Encoded values x [N, columns of the model] in the units of X, with the columns that `transform` returns."""
        result = np.where(cells.missing, 0.0, np.nan)  # columns without any observed cell
        if self.columns_:
            values = x.double().numpy()
            unbounded = [replace(column, lower=None, upper=None) for column in self.columns_]
            inside = np.where(self._holes(cells), decoded(values, self.columns_), decoded(values, unbounded))
            result[:, self._modelled] = inside
        result[cells.missing & ~self._fills] = np.nan
        return result[:, self._kept]

    def log_likelihood(self, X: Any, truth: Any) -> np.ndarray:
        """log p(hidden | observed) of each row of X in nats [N], under the members' mixture and in the units of X.

        Args:
            X: [N, F], with missing cells.
            truth: the same rows; the hidden cells are those that are known here and missing in X.
        """
        check_is_fitted(self)
        x, whole = (self._encode(self._read(table, reset=False)) for table in (X, truth))
        known = ~whole.isnan()
        batch = Batch(whole.nan_to_num(), {OBSERVED: x}, known, torch.arange(len(x)))
        size = max(1, CELLS // (self.members_[0].likelihood.size * self.draws))
        parts = [batch[slice(start, start + size)] for start in range(0, len(x), size)]
        nats = torch.stack([
            torch.cat([masked_log_likelihood(model, part, self.draws, self.seed_) for part in parts])
            for model in self.members_
        ])  # fmt: skip
        mixture = torch.logsumexp(nats.double(), dim=0) - math.log(len(nats))
        return in_table_units(mixture.numpy(), (known & x.isnan()).numpy(), self.columns_)

    @property
    def _title(self) -> str | None:
        return "imputing" if self.verbose else None

    def _encode(self, cells: Cells) -> Tensor:
        """Encoded cells [N, columns of the model]."""
        frame = cells.frame.iloc[:, self._modelled]
        if not self.columns_:
            return torch.zeros(len(cells), 0)
        frame = frame.set_axis([column.name for column in self.columns_], axis=1)
        return torch.from_numpy(encode_table(frame, self.columns_, unseen=self.unseen))

    def _rows(self, cells: Cells) -> tuple[Tensor, Tensor]:
        """Encoded cells [N, columns of the model], and the positions of the rows that have cells to fill."""
        return self._encode(cells), torch.from_numpy(np.flatnonzero(self._holes(cells).any(1)))

    def _choose(self, x: Tensor, held_out: Sequence[Tensor]) -> tuple[int, float]:
        """Number of latent units and ridge with which factor analysis predicts held-out cells best."""
        if self.latent_dim is not None and not self.linear_start:
            return self.latent_dim, 0.0
        layout, rows = Features(self.columns_), some_rows(len(x), CHOICE_ROWS, self.seed_)
        values, known = layout(x[rows])
        cells = [hidden[rows][:, layout.column] for hidden in held_out]
        sizes = {} if self.latent_dim is None else {"sizes": (self.latent_dim,)}
        return choose_factors(values, known, cells, **sizes)

    def _start(self, x: Tensor) -> FactorAnalysis | None:
        """Factor analysis of x [N, F], NaN where missing; None without a linear start."""
        if not self.linear_start:
            return None
        values, known = Features(self.columns_)(x[some_rows(len(x), START_ROWS, self.seed_)])
        return FactorAnalysis.fit(values, known, self.latent_dim_, ridge=self.ridge_)

    def _model(self, start: FactorAnalysis | None) -> TabularCVAE:
        """A model initialised by factor analysis, or at random."""
        condition = ObservedCellsEncoder(self.columns_, show=self.learned_prior)
        prior = ConditionalNormal() if self.learned_prior else None
        objective = ELBO() if self.learned_prior else IWAE(num_samples=self.samples)
        model = TabularCVAE(condition, self.columns_, self.latent_dim_, self.hidden, prior=prior, objective=objective)
        if start is not None:
            model.take(start)
        return model

    def _interval_factor(self, folds: Sequence[TabularCVAE], x: Tensor, held_out: Sequence[Tensor]) -> float:
        """Factor by which the intervals of the folds cover their held-out cells."""
        discrete = torch.tensor([column.discrete for column in self.columns_])
        rows = some_rows(len(x), INTERVAL_ROWS, self.seed_)
        draws, cells = [], []
        for model, hidden in zip(folds, held_out, strict=True):
            observed = x.masked_fill(hidden, float("nan"))[rows]
            draws.append(impute_rows([model], observed, self.proposals, self.draws, self.seed_).draws)
            cells.append(hidden[rows] & ~discrete)
        truth = torch.cat([x[rows]] * len(draws)).nan_to_num()
        return interval_factor(torch.cat(draws, dim=1), truth, torch.cat(cells), self.COVERAGE)


def held_out_cells(observed: Tensor, members: int, share: float, seed: int) -> list[Tensor]:
    """A share of the observed cells [N, F] for each member; where possible no two members hold out the same cell."""
    rank = example_uniform(seed, torch.zeros(1, dtype=torch.int64), (1, *observed.shape))[0, 0]
    step = share if share * members <= 1 else (1 - share) / max(members - 1, 1)
    return [observed & (rank >= n * step) & (rank < n * step + share) for n in range(members)]
