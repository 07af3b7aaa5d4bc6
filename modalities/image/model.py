"""ImageCVAE: a conditional VAE of images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from PIL import Image
from torch import Tensor
from torch.distributions import Independent

from common.batch import Batch
from common.conditions.encoders import ConditionEncoder
from common.distributions.likelihoods import Bernoulli, Likelihood, with_given
from common.distributions.posterior import diagonal_normal
from common.distributions.priors import Prior
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media
from common.nn.film import expand
from common.objectives.invariance import Removal
from common.objectives.objectives import ELBO, Objective
from common.training.module import ConditionalELBO
from modalities.image.networks import Architecture, ResidualConv
from modalities.image.pictures import (
    completions_picture,
    conditions_picture,
    reconstructions_picture,
    traversal_picture,
    write_images,
)


class ImageCVAE(ConditionalELBO):
    """q(z | x, c), p(x | z, c) of images [channels, height, width] with values in [0, 1].

    Args:
        condition: condition encoder.
        shape: channels (1 or 3), height and width (multiples of 4). In a configuration it comes from the data.
        latent_dim: size of z.
        architecture: what the networks are made of.
        likelihood: p(x | z, c) of a pixel.
        prior: p(z | c); N(0, I) where none is given.
        objective: what training minimises.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser.
        compile: compiles the networks in place with torch.compile.
        evaluation: sample counts and seed of validation and test.
        removal: takes the condition out of z.
        latent: false decodes without z: a deterministic network of the condition, p(x | c).
        recognition: false draws z from the prior in training as well: the Gaussian stochastic network of Sohn, Lee and
            Yan 2015, section 4.2. Only a learned prior makes sense of it.
        baseline: adds the output of a network of the condition alone, trained jointly, to the decoder's (section 4.3).
    """

    def __init__(
        self,
        condition: ConditionEncoder,
        shape: tuple[int, int, int] = (1, 28, 28),
        latent_dim: int = 32,
        architecture: Architecture = ResidualConv(),  # noqa: B008 (frozen)
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        removal: Removal | None = None,
        latent: bool = True,
        recognition: bool = True,
        baseline: bool = False,
    ) -> None:
        channels, height, width = shape
        if channels not in (1, 3) or height % 4 or width % 4:
            raise ValueError(f"images need 1 or 3 channels and sides that are multiples of 4; got {tuple(shape)}")
        super().__init__(
            condition, prior, objective, optimizer, scheduler, compile, latent_dim, tuple(shape), evaluation, removal
        )
        self.image_shape = (channels, height, width)
        self.likelihood = likelihood or Bernoulli()
        self.encoder = architecture.encoder(self.image_shape, condition.dim, 2 * latent_dim)
        outputs = self.likelihood.outputs * channels
        sizes = latent_dim, condition.dim, (outputs, height, width)
        self.decoder = architecture.decoder(*sizes)
        self.baseline = architecture.decoder(*sizes) if baseline else None
        self.latent, self.recognition = latent, recognition

    def encode(self, x: Tensor, c: Tensor) -> Independent:
        """q(z | x, c) for x [B, channels, height, width] and c [B, C]; p(z | c) where there is no recognition."""
        if not (self.latent and self.recognition):
            prior: Any = self.prior(c)
            return prior
        return diagonal_normal(self.encoder(x, c))

    def decode(self, z: Tensor, c: Tensor) -> Independent:
        """p(x | z, c) for z [..., B, D] and c [B, C]."""
        z = z if self.latent else torch.zeros_like(z)
        rows = expand(c, z).flatten(0, -2)
        pixels = self.decoder(z.flatten(0, -2), rows).unflatten(0, z.shape[:-1])
        if self.baseline is not None:
            pixels = pixels + self.baseline(z.new_zeros(len(c), z.shape[-1]), c)
        return with_given(self.likelihood(pixels, event_ndim=3), self.condition.given(c))

    def media(self, batch: Batch) -> Media:
        """Reconstructions; completions, or a condition-by-sample grid and a latent traversal."""
        pictures = {"reconstructions": reconstructions_picture(batch.x, self.reconstruct(batch))}
        if self.condition.reads_observed:
            pictures["completions"] = completions_picture(self, batch)
        else:
            pictures |= {"conditions": conditions_picture(self), "traversal": traversal_picture(self, batch)}
        return Media(pictures)

    def write(self, samples: Tensor, path: Path) -> None:
        """Samples [N, channels, height, width] as a PNG grid, or as an array in an NPZ file."""
        write_images(samples, path)

    def read(self, path: Path) -> Tensor:
        """An image file as [1, channels, height, width] in [0, 1], scaled to the model's size."""
        channels, height, width = self.image_shape
        try:
            with Image.open(path) as file:
                image = file.convert("L" if channels == 1 else "RGB").resize((width, height))
        except OSError as error:
            raise ValueError(f"{path} cannot be read as an image: {error}") from error
        return torch.from_numpy(np.array(image)).reshape(1, height, width, channels).permute(0, 3, 1, 2) / 255
