"""TabularCVAE: a conditional VAE of table rows whose condition is the observed part of the row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from common.batch import Batch
from common.distributions.posterior import diagonal_normal
from common.distributions.priors import Prior
from common.eval_mode import in_evaluation
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media
from common.nn.film import expand
from common.objectives.objectives import ELBO, Objective, factorises
from common.results import Measurement
from common.training.module import ConditionalELBO
from modalities.tabular.columns import Column
from modalities.tabular.condition import ObservedEncoder
from modalities.tabular.data.files import read_cells, write_rows
from modalities.tabular.evaluation.figures import calibrate, tabular_figures, tabular_media
from modalities.tabular.likelihood import MixedColumns
from modalities.tabular.networks.factor_analysis import FactorAnalysis
from modalities.tabular.networks.features import Features
from modalities.tabular.networks.mlp import Decoder, Encoder, LinearPosterior


class TabularCVAE(ConditionalELBO):
    """q(z | x, observed), p(z | observed, mask), p(x_hidden | z, observed) of rows [F], in the units of `Column`.

    The observed cells have probability one given themselves: the ELBO bounds log p(x_hidden | x_observed), and every
    sample repeats what is observed. Posterior and prior are exact for a linear model, of which networks learn the rest;
    `start` sets it by factor analysis. With `ObservedEncoder(show=False)` and the prior N(0, I) nothing is given, and
    the model is MIWAE: the ELBO bounds log p of all known cells, and `impute` resamples by importance.

    Source: Ivanov et al. 2019 (VAEAC), equation 6; Mattei and Frellsen 2019, "MIWAE", equations 4 and 11.

    Args:
        condition: condition encoder.
        columns: the table's columns. In a configuration they come from the data.
        latent_dim: D.
        hidden: width of the networks' hidden layers.
        layers: their number.
        dropout: share of the decoder's hidden units dropped in training.
        linear_start: sets the linear part by factor analysis of the training cells before the first step.
        prior: moves and scales the linear model's p(z | observed); None leaves it as it is.
        objective: what training minimises.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser.
        compile: compiles the networks in place with torch.compile.
        evaluation: sample counts and seed of validation and test.
    """

    condition: ObservedEncoder
    hidden_value = float("nan")
    widening: Tensor

    def __init__(
        self,
        condition: ObservedEncoder,
        columns: Sequence[Column],
        latent_dim: int = 8,
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        linear_start: bool = True,
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(
            condition, prior, objective, optimizer, scheduler, compile, latent_dim, (len(columns),), evaluation
        )
        self.columns = list(columns)
        self.linear_start = linear_start
        self.features = Features(columns)
        self.likelihood = MixedColumns(columns)
        width, size = self.features.width, condition.width
        self.linear = LinearPosterior(width, latent_dim)
        self.encoder = Encoder(width, size, latent_dim, hidden, layers)
        scales = self.likelihood.size - width
        self.decoder = Decoder(latent_dim, size, width, scales, hidden, layers, dropout)
        self.register_buffer("widening", torch.ones(()))

    # What the base asks for.

    def encode(self, x: Tensor, c: Tensor) -> Independent:
        """q(z | x, c) for x [B, F], NaN where unknown."""
        values, known = self.features(x)
        embedding, _ = self.condition.split(c)
        return diagonal_normal(self.encoder(values, known, embedding, self.linear(values, known)))

    def decode(self, z: Tensor, c: Tensor) -> Independent:
        """p(x | z, c) for z [..., B, D]: observed cells of c are given."""
        embedding, observed = self.condition.split(c)
        given = observed if self.condition.show else None
        return self.likelihood(self.decoder(z, expand(embedding, z)), 1, given)

    def prior(self, c: Tensor) -> Distribution:
        """p(z | observed): the linear model's posterior, moved and scaled by the injected prior."""
        embedding, observed = self.condition.split(c)
        injected = self.latent_prior(embedding)
        if not self.condition.show or not factorises(injected):
            return injected
        mean, scale = self.linear(*self.features(observed))
        base: Any = injected.base_dist
        return Independent(Normal(mean + scale * base.loc, scale * base.scale, validate_args=False), 1)

    @property
    def prior_condition_dim(self) -> int:
        """The prior sees the embedding."""
        return self.condition.width

    def start(self, x: Tensor, iterations: int = 60) -> None:
        """Sets the linear part by factor analysis of cells [N, F], NaN where missing."""
        values, known = self.features(x)
        self.take(FactorAnalysis.fit(values, known, self.latent_prior.size, iterations))

    def take(self, solution: FactorAnalysis) -> None:
        """Sets the linear part to a solution of factor analysis."""
        self.linear.start(solution)
        self.decoder.start(solution)
        self.likelihood.start(solution.noise)

    def setup(self, stage: str) -> None:
        """The linear start, where a training begins; a checkpoint that is resumed replaces it."""
        if stage == "fit" and self.linear_start:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            self.start(data.training_cells().to(self.device))
        super().setup(stage)

    # Intervals.

    @property
    def interval_factor(self) -> float:
        """Widening of 90 % intervals that covers hidden validation cells, as of the last validation."""
        return float(self.widening)

    def on_validation_epoch_end(self) -> None:
        """As in the base; measures how far intervals have to be widened."""
        super().on_validation_epoch_end()
        if not self.trainer.sanity_checking:
            self.widening.fill_(calibrate(self, self.trainer.datamodule))  # type: ignore[attr-defined]

    # What a person sees.

    def figures(self, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """Errors on hidden cells, coverage and width of intervals, masked log-likelihood."""
        return tabular_figures(self, table)

    def media(self, batch: Batch) -> Media:
        """True against imputed values, and completed rows."""
        with in_evaluation(self):
            return tabular_media(self, batch)

    def frame(self, x: Tensor) -> pd.DataFrame:
        """Rows [N, F] in the units and names of the table."""
        values = x.double().cpu().numpy()
        return pd.DataFrame({column.name: column.present(values[:, i]) for i, column in enumerate(self.columns)})

    def write(self, samples: Tensor, path: Path) -> None:
        """Rows as CSV or Parquet."""
        write_rows(self.frame(samples), path)

    def read(self, path: Path) -> Tensor:
        """Rows of a CSV or Parquet file as x [N, F], NaN where a cell is empty."""
        return read_cells(path, self.columns)
