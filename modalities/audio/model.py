"""AudioGenreCVAE: a conditional VAE of sound."""

from pathlib import Path

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.distributions import Independent

from common.batch import Batch
from common.conditions import ConditionEncoder
from common.evaluation import Evaluation
from common.fusion import expand
from common.likelihoods import Gaussian, Likelihood
from common.media import Media
from common.module import ConditionalELBO
from common.objectives import ELBO, Objective
from common.posterior import diagonal_normal
from common.priors import Prior
from common.removal import Removal
from common.results import Measurement
from modalities.audio.condition import SOURCE
from modalities.audio.features import LogMel
from modalities.audio.networks import Decoder, Encoder, ResidualConv


class AudioGenreCVAE(ConditionalELBO):
    """q(z | x, c), p(x | z, c) of log-mel features [1, mels, frames]; z is a sequence of vectors side by side.

    Args:
        condition: condition encoder.
        features: parameters of the features, kept in the checkpoint. In a configuration they come from the data.
        latent_dim: D, the size of all latent vectors together: a multiple of frames / architecture.stride.
        architecture: what the networks are made of.
        likelihood: p(x | z, c); a Gaussian with one optimal sigma for each mel band where none is given.
        prior: p(z | c); N(0, I) where none is given.
        objective: what training minimises.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser.
        compile: compiles the networks in place with torch.compile.
        evaluation: sample counts and seed of validation and test.
        removal: takes the condition out of z.
    """

    def __init__(
        self,
        condition: ConditionEncoder,
        features: LogMel = LogMel(),  # noqa: B008 (frozen)
        latent_dim: int = 256,
        architecture: ResidualConv = ResidualConv(),  # noqa: B008 (frozen)
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        removal: Removal | None = None,
    ) -> None:
        self.steps = architecture.steps(features.shape)
        if latent_dim % self.steps:
            raise ValueError(f"latent_dim ({latent_dim}) must be a multiple of the {self.steps} steps of a clip")
        super().__init__(
            condition, prior, objective, optimizer, scheduler, compile, latent_dim, features.shape, evaluation, removal
        )
        self.features = features
        channels = latent_dim // self.steps
        self.likelihood = likelihood or Gaussian("optimal", 0.7, shape=[features.mels, 1])
        self.encoder = Encoder(features.shape, condition.dim, 2 * channels, architecture)
        self.decoder = Decoder(features.shape, channels, condition.dim, architecture)

    def encode(self, x: Tensor, c: Tensor) -> Independent:
        """q(z | x, c) for x [B, 1, mels, frames] and c [B, C]."""
        mean, log_scale = self.encoder(x, c).chunk(2, dim=-1)
        return diagonal_normal(torch.cat([mean.flatten(1), log_scale.flatten(1)], dim=-1))

    def decode(self, z: Tensor, c: Tensor) -> Independent:
        """p(x | z, c) for z [..., B, D] and c [B, C]."""
        rows = expand(c, z).flatten(0, -2)
        mean = self.decoder(z.flatten(0, -2).unflatten(-1, (self.steps, -1)), rows)
        return self.likelihood(mean.unflatten(0, z.shape[:-1]), event_ndim=3)

    def evidence(self, batch: Batch) -> Batch:
        """The batch; in training, where it names another version of x, that version: z learns what they share."""
        if not self.training or SOURCE not in batch.condition:
            return batch
        prefix = f"{SOURCE}_"
        fields = {k.removeprefix(prefix): v for k, v in batch.condition.items() if k.startswith(prefix)}
        return batch.replace(x=batch.condition[SOURCE], condition=fields)
