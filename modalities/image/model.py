"""ImageCVAE: a conditional VAE of images."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent

from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.distributions.likelihoods import Bernoulli, Likelihood, clamp
from common.distributions.posterior import diagonal_normal
from common.evaluation.evaluation import Evaluation
from common.nn.film import expand
from common.training.module import ConditionalELBO
from modalities.image.networks import Architecture, ResidualConv


class ImageCVAE(ConditionalELBO):
    """q(z | x, c) and p(x | z, c) of images [channels, height, width] with values in [0, 1].

    Args:
        condition: condition encoder.
        shape: channels (1 or 3), height and width (multiples of 4). In a configuration it comes from the data.
        latent_dim: size of z.
        architecture: makes the encoder and the decoder.
        likelihood: p(x | z, c) of each pixel; None is Bernoulli.
        latent: false decodes without z: a deterministic network of the condition, p(x | c), which is evaluated with one
            importance sample.
        recognition: false draws z from the prior in training as well: the Gaussian stochastic network of Sohn, Lee and
            Yan 2015, section 4.2. It needs a learned prior to be useful.
        baseline: adds the output of a network of the condition alone, trained jointly, to the decoder's (section 4.3).
        evaluation: sample counts and seed of validation and test.
        base: as in `ConditionalELBO`.
    """

    def __init__(
        self,
        condition: ConditionEncoder,
        shape: tuple[int, int, int] = (1, 28, 28),
        latent_dim: int = 32,
        architecture: Architecture = ResidualConv(),  # noqa: B008 (frozen)
        likelihood: Likelihood | None = None,
        latent: bool = True,
        recognition: bool = True,
        baseline: bool = False,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        **base: Any,
    ) -> None:
        channels, height, width = shape
        if channels not in (1, 3) or height % 4 or width % 4:
            raise ValueError(f"images need 1 or 3 channels and sides that are multiples of 4; got {tuple(shape)}")
        if not latent:  # without z, one importance sample is exact
            evaluation = replace(evaluation, num_samples=1, gain_samples=1)
        super().__init__(condition, latent_dim=latent_dim, shape=tuple(shape), evaluation=evaluation, **base)
        self.image_shape = (channels, height, width)
        self.likelihood = likelihood or Bernoulli()
        self.encoder = architecture.encoder(self.image_shape, condition.dim, 2 * latent_dim)
        outputs = self.likelihood.outputs * channels
        sizes = latent_dim, condition.dim, (outputs, height, width)
        self.decoder = architecture.decoder(*sizes)
        self.baseline = architecture.decoder(*sizes) if baseline else None
        self.latent, self.recognition = latent, recognition

    @property
    def ignores_latent(self) -> bool:
        """Whether the decoder works without z."""
        return not self.latent

    def encode(self, x: Tensor, c: Condition) -> Independent:
        """q(z | x, c) for x [B, channels, height, width]; p(z | c) where there is no recognition."""
        if not (self.latent and self.recognition):
            prior: Any = self.prior(c)
            return prior
        return diagonal_normal(self.encoder(x, c.vector))

    def decode(self, z: Tensor, c: Condition) -> Independent:
        """p(x | z, c) for z [..., B, D]; observed pixels have probability one."""
        z = z if self.latent else torch.zeros_like(z)
        rows = expand(c.vector, z).flatten(0, -2)
        pixels = self.decoder(z.flatten(0, -2), rows).unflatten(0, z.shape[:-1])
        if self.baseline is not None:
            pixels = pixels + self.baseline(z.new_zeros(len(c), z.shape[-1]), c.vector)
        return clamp(self.likelihood(pixels, event_ndim=3), c.observed)
