"""Examples that a model draws, with the z that each was made from: a draw from the exact posterior p(z | x, c)."""

import torch
from torch import Tensor

from common.batch import Batch
from common.distributions.noise import prior_samples
from common.model.latent_model import LatentModel
from common.seeding import seeded


@torch.no_grad()
def simulated(model: LatentModel, batch: Batch, seed: int) -> tuple[Batch, Tensor]:
    """Examples like those of a batch that the model draws, x ~ p(x | z, c) with z ~ p(z | c), and their z [B, D]."""
    z = prior_samples(model.prior(model.embed(batch)), 1, seed, batch.positions)[0]
    drawn = []
    for row, position in enumerate(batch.positions.tolist()):
        own = slice(row, row + 1)
        with seeded((seed * 0x9E3779B1 + position) % 2**63):
            drawn.append(model.decode(z[own], model.embed(batch[own])).sample())
    return batch.replace(x=torch.cat(drawn).to(batch.x.dtype), view=None), z
