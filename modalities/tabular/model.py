"""TabularCVAE: a conditional VAE of table rows whose condition is the observed part of the row."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from common.conditions.attributes import OBSERVED
from common.conditions.condition import Condition
from common.distributions.likelihoods import clamp
from common.distributions.posterior import diagonal_normal
from common.distributions.priors import factorises
from common.nn.film import expand
from common.nn.transplant import taken
from common.training.module import ConditionalELBO
from modalities.tabular.columns import Column
from modalities.tabular.condition import ObservedCellsEncoder
from modalities.tabular.likelihood import MixedColumns
from modalities.tabular.networks.factor_analysis import FactorAnalysis
from modalities.tabular.networks.features import Features, feature_places, input_places
from modalities.tabular.networks.mlp import Decoder, Encoder, LinearPosterior


class TabularCVAE(ConditionalELBO):
    """q(z | x, observed), p(z | observed, mask), p(x_hidden | z, observed) of rows [F], in the units of `Column`.

    Observed cells are clamped: the ELBO bounds log p(x_hidden | x_observed), and every sample repeats them. Posterior
    and prior are those of a linear Gaussian model with corrections by networks; `start` sets the linear model by factor
    analysis. With `ObservedCellsEncoder(show=False)` and the prior N(0, I) prior and decoder have no condition, and the
    model is MIWAE: the ELBO bounds log p of all known cells, and `impute` uses importance resampling.

    Source: Ivanov et al. 2019 (VAEAC), equation 6; Mattei and Frellsen 2019, "MIWAE", equations 4 and 11.

    Args:
        condition: condition encoder.
        columns: the table's columns. On the command line they come from the data.
        latent_dim: D.
        hidden: width of the networks' hidden layers.
        layers: number of hidden layers in each network.
        dropout: share of the decoder's hidden units dropped in training.
        linear_start: sets the linear part by factor analysis of the training cells before the first step.
        base: as in `ConditionalELBO`. The prior shifts and scales the linear model's p(z | observed).
    """

    changeable = (*ConditionalELBO.changeable, "linear_start")
    condition: ObservedCellsEncoder
    missing_value = float("nan")
    widening: Tensor  # factor by which 90 % intervals cover the hidden cells of the last validation

    def __init__(
        self,
        condition: ObservedCellsEncoder,
        columns: Sequence[Column],
        latent_dim: int = 8,
        hidden: int = 128,
        layers: int = 2,
        dropout: float = 0.0,
        linear_start: bool = True,
        **base: Any,
    ) -> None:
        super().__init__(condition, latent_dim=latent_dim, shape=(len(columns),), **base)
        self.columns = list(columns)
        self.linear_start = linear_start
        self.features = Features(columns)
        self.likelihood = MixedColumns(columns)
        width, size = self.features.width, condition.dim
        self.linear = LinearPosterior(width, latent_dim)
        self.encoder = Encoder(width, size, latent_dim, hidden, layers)
        scales = self.likelihood.size - width
        self.decoder = Decoder(latent_dim, size, width, scales, hidden, layers, dropout)
        self.register_buffer("widening", torch.ones(()))
        for parameter in self.parameters():  # an empty one gets no gradient, for which DDP would wait
            parameter.requires_grad_(parameter.numel() > 0)

    def adapted(self, old: "TabularCVAE") -> dict[str, Tensor]:
        """The weights that belong to features which an older model has. See `common.nn.transplant`."""
        features = feature_places(self.features, old.features)
        wide, before = self.features.width, old.features.width
        scaled, theirs = ([m.columns[p].name for p in m.likelihood.scaled] for m in (self, old))
        scales = {wide + scaled.index(name): before + theirs.index(name) for name in scaled if name in theirs}
        inputs = input_places(self.features, old.features)
        rest = {2 * wide + unit: 2 * before + unit for unit in range(self._first.in_features - 2 * wide)}
        if self._first.in_features - 2 * wide != old._first.in_features - 2 * before:
            rest = {}
        outputs = features | scales
        last = max(int(name.split(".")[0]) for name in self.decoder.network.layers.state_dict())
        result = {"encoder.network.layers.0.weight": taken(self._first.weight, old._first.weight, inputs | rest, dim=1)}
        for name, places in (
            ("linear.loadings", features), ("linear.mean", features), ("linear.noise", features),
            ("decoder.linear.weight", features), ("decoder.linear.bias", features),
            (f"decoder.network.layers.{last}.weight", outputs), (f"decoder.network.layers.{last}.bias", outputs),
        ):  # fmt: skip
            mine, other = (dict(m.state_dict())[name] for m in (self, old))
            result[name] = taken(mine, other, places)
        return result

    @property
    def _first(self) -> nn.Linear:
        """First layer of the encoder's correction, which reads features, mask, condition and linear posterior."""
        layer: nn.Linear = self.encoder.network.layers[0]  # type: ignore[assignment]
        return layer

    def encode(self, x: Tensor, c: Condition) -> Independent:
        """q(z | x, c) for x [B, F], NaN where unknown."""
        values, known = self.features(x)
        return diagonal_normal(self.encoder(values, known, c.vector, self.linear(values, known)))

    def decode(self, z: Tensor, c: Condition) -> Independent:
        """p(x | z, c) for z [..., B, D], clamped at the observed cells."""
        return clamp(self.likelihood(self.decoder(z, expand(c.vector, z))), c.observed)

    def prior(self, c: Condition) -> Distribution:
        """p(z | observed): the linear model's posterior, shifted and scaled by the injected prior."""
        injected = self.latent_prior(c.vector.float())
        if c.observed is None or not factorises(injected):
            return injected
        mean, scale = self.linear(*self.features(c.observed))
        base: Any = injected.base_dist
        return Independent(Normal(mean + scale * base.loc, scale * base.scale, validate_args=False), 1)

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
        """Sets the linear part at the start of training, unless it starts from weights; a checkpoint overwrites it."""
        if stage == "fit" and self.linear_start and not self.has_weights:
            if self.data is None:
                raise ValueError(
                    "linear_start needs the training cells of a TabularData: pass one, or linear_start=False"
                )
            self.start(self.data.conditions("train")[OBSERVED].to(self.device))
        super().setup(stage)
