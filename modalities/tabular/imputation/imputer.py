"""CVAEImputer: an ensemble of tabular CVAEs behind scikit-learn's interface."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.distributions.noise import example_uniform
from common.distributions.priors import ConditionalNormal
from common.lazy import pd
from common.objectives.objectives import ELBO, IWAE
from common.seeding import seeded
from modalities.tabular.columns import encode_table, fit_columns
from modalities.tabular.condition import ObservedCellsEncoder
from modalities.tabular.data.table_files import fill_table
from modalities.tabular.imputation.filled import Filled, decoded, in_table_units
from modalities.tabular.imputation.fitting import Fitting, cross_validate, fit_member
from modalities.tabular.imputation.sampling import (
    Imputation,
    impute_rows,
    interval_factor,
    masked_log_likelihood,
    some_rows,
)
from modalities.tabular.model import TabularCVAE
from modalities.tabular.networks.factor_analysis import FactorAnalysis, choose_factors
from modalities.tabular.networks.features import Features

CHOICE_ROWS = 5_000  # most rows from which the latent size is chosen
START_ROWS = 20_000  # most rows of the factor analysis that initialises a member
INTERVAL_ROWS = 2_000  # most rows whose held-out cells set the width of the intervals


class CVAEImputer(TransformerMixin, BaseEstimator):
    """Imputes missing cells (NaN) with an ensemble of MIWAEs that are initialised by factor analysis.

    A cross-validation over observed cells chooses the number of latent units and of training steps, and sets the width
    of the intervals; the members are then trained on all observed cells. An array's columns are continuous; the kinds
    of a DataFrame's columns are inferred, and the result is a DataFrame with the same dtypes. The single imputation of
    a row depends on that row alone; the noise of draws, and of intervals, depends on the rows beside it.

    Source: Mattei and Frellsen 2019, "MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets"; Ivanov,
    Figurnov and Vetrov 2019, "Variational Autoencoder with Arbitrary Conditioning" (`learned_prior`).

    Args:
        members: models in the ensemble.
        latent_dim: size of z; None chooses it by factor analysis of held-out cells.
        schema: kinds of columns that replace the inferred ones (`modalities.tabular.columns.fit_columns`).
        hidden: width of the networks' hidden layers.
        learned_prior: gives prior and decoder the observed cells (VAEAC) in place of importance sampling (MIWAE).
        samples: importance samples of the training bound; a learned prior is trained by the ELBO.
        max_steps: most optimiser steps of a member; 0 leaves the members at their factor analysis.
        learning_rate: learning rate of AdamW.
        batch_size: rows per step.
        patience: checks (every 20 steps) without improvement before the cross-validation stops.
        held_out: share of the observed cells that each fold holds out; there are as many folds as members.
        proposals: importance samples of each member in imputation.
        draws: number of multiple imputations from which intervals are computed.
        verbose: shows progress bars.
        random_state: seed.

    Attributes:
        columns_: the columns.
        members_: the trained models.
        steps_: number of training steps of each member.
        latent_dim_: size of z.
        ridge_: ridge of the factor analysis.
        history_: mean held-out score of the folds at every check (`fitting.held_out_score`).
        factor_: factor by which intervals of level `COVERAGE` are widened, from held-out cells.
    """

    COVERAGE = 0.9  # level at which intervals are widened to cover held-out cells

    def __init__(
        self,
        members: int = 5,
        latent_dim: int | None = None,
        schema: Mapping[str, Any] | None = None,
        hidden: int = 128,
        learned_prior: bool = False,
        samples: int = 5,
        max_steps: int = Fitting.max_steps,
        learning_rate: float = Fitting.learning_rate,
        batch_size: int = Fitting.batch_size,
        patience: int = Fitting.patience,
        held_out: float = 0.1,
        proposals: int = 100,
        draws: int = 200,
        verbose: bool = False,
        random_state: Any = None,
    ) -> None:
        self.members = members
        self.latent_dim = latent_dim
        self.schema = schema
        self.hidden = hidden
        self.learned_prior = learned_prior
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

    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains the ensemble on the observed cells of X [N, F]."""
        table = self._table(X, reset=True)
        if len(table) < 2:
            raise ValueError(f"fit needs at least 2 rows; X has {len(table)} sample")
        if isinstance(X, pd.DataFrame):
            self.columns_ = fit_columns(table, self.schema)
        else:
            self.columns_ = fit_columns(table, dict.fromkeys(table.columns, "continuous") | dict(self.schema or {}))
        x = torch.from_numpy(encode_table(table, self.columns_))
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
            numbered = tqdm(
                self.members_, desc="members", unit="model", disable=None if self.verbose else True, leave=False
            )
            for number, model in enumerate(numbered):
                fit_member(model, x, self.steps_, fitting, seed + number)
        return self

    def transform(self, X: Any) -> Any:
        """X [N, F] with its missing cells filled; observed cells are left as they are."""
        check_is_fitted(self)
        table = self._table(X, reset=False)
        x = self._encode(table)
        if not x.isnan().any():
            return X.copy() if isinstance(X, pd.DataFrame) else table.to_numpy(copy=True)
        point = self._impute(x, 0).point
        filled = fill_table(table, self.columns_, point)
        return filled if isinstance(X, pd.DataFrame) else filled.to_numpy()

    def impute(self, X: Any, num: int) -> list[Any]:
        """`num` imputations of X, draws from p(hidden | observed), each as `transform` returns it."""
        check_is_fitted(self)
        table = self._table(X, reset=False)
        draws = self._impute(self._encode(table), num).draws
        filled = [fill_table(table, self.columns_, draw) for draw in draws]
        return filled if isinstance(X, pd.DataFrame) else [each.to_numpy() for each in filled]

    def complete(self, X: Any, level: float = COVERAGE) -> Filled:
        """Single imputation and intervals in the units of X, codes for discrete columns."""
        check_is_fitted(self)
        imputation = self._impute(self._encode(self._table(X, reset=False)), self.draws)
        ends = imputation.interval(level, self.columns_, self.factor_)
        point, low, high = (decoded(part.double().numpy(), self.columns_) for part in (imputation.point, *ends))
        return Filled(point, low, high)

    def log_likelihood(self, X: Any, truth: Any) -> np.ndarray:
        """log p(hidden | observed) of each row of X in nats [N], under the members' mixture and in the units of X.

        Args:
            X: [N, F], with missing cells.
            truth: the same rows; the hidden cells are those that are known here and missing in X.
        """
        check_is_fitted(self)
        x = self._encode(self._table(X, reset=False))
        whole = self._encode(self._table(truth, reset=False))
        known = ~whole.isnan()
        batch = Batch(whole.nan_to_num(), {OBSERVED: x}, known)
        nats = torch.stack([masked_log_likelihood(model, batch, self.draws, self.seed_) for model in self.members_])
        mixture = torch.logsumexp(nats.double(), dim=0) - math.log(len(nats))
        return in_table_units(mixture.numpy(), (known & x.isnan()).numpy(), self.columns_)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """The names of the columns, which are those of the input."""
        check_is_fitted(self)
        own = getattr(self, "feature_names_in_", None)
        if input_features is not None:
            names = np.asarray(input_features, dtype=object)
            if own is not None and not np.array_equal(own, names):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(names) != self.n_features_in_:
                raise ValueError(f"input_features should have length equal to number of features {self.n_features_in_}")
            return names
        return np.array([f"x{i}" for i in range(self.n_features_in_)], dtype=object) if own is None else own

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _table(self, X: Any, reset: bool) -> pd.DataFrame:
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) == 0 or X.shape[1] == 0:
                raise ValueError(f"Found array with {len(X)} sample(s) and {X.shape[1]} feature(s): nothing to fill")
            return X.set_axis([str(name) for name in X.columns], axis=1)
        array = validate_data(self, X, reset=reset, dtype=(np.float64, np.float32), ensure_all_finite="allow-nan")
        return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])

    def _encode(self, table: pd.DataFrame) -> Tensor:
        return torch.from_numpy(encode_table(table, self.columns_))

    def _choose(self, x: Tensor, held_out: Sequence[Tensor]) -> tuple[int, float]:
        """Number of latent units and ridge with which factor analysis predicts held-out cells best."""
        layout, rows = Features(self.columns_), some_rows(len(x), CHOICE_ROWS, self.seed_)
        values, known = layout(x[rows])
        cells = [hidden[rows][:, layout.column] for hidden in held_out]
        sizes = {} if self.latent_dim is None else {"sizes": (self.latent_dim,)}
        return choose_factors(values, known, cells, **sizes)

    def _start(self, x: Tensor) -> FactorAnalysis:
        """Factor analysis of x [N, F], NaN where missing."""
        values, known = Features(self.columns_)(x[some_rows(len(x), START_ROWS, self.seed_)])
        return FactorAnalysis.fit(values, known, self.latent_dim_, ridge=self.ridge_)

    def _model(self, start: FactorAnalysis) -> TabularCVAE:
        """A model initialised by factor analysis."""
        condition = ObservedCellsEncoder(self.columns_, show=self.learned_prior)
        prior = ConditionalNormal() if self.learned_prior else None
        objective = ELBO() if self.learned_prior else IWAE(num_samples=self.samples)
        model = TabularCVAE(condition, self.columns_, self.latent_dim_, self.hidden, prior=prior, objective=objective)
        model.take(start)
        return model

    def _impute(self, x: Tensor, num_draws: int) -> Imputation:
        progress = "imputing" if self.verbose else None
        return impute_rows(self.members_, x, self.proposals, num_draws, self.seed_, progress)

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
