"""Pyro's inference with the networks and the data of `mlp_loop`; Pyro 1.9.1 has an environment of its own.

.venv/peers/bin/python scripts/peers/mlp_pyro.py MNIST_FOLDER --epochs 3
"""

import json
import time

import pyro
import torch
from mlp_loop import BATCH, LATENT, arguments, networks, trained_on
from pyro.distributions import Bernoulli, Normal
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.optim import Adam
from torch import Tensor, nn


class Conditional(nn.Module):
    """p(x | z, c) and q(z | x, c), as Pyro's own example of a VAE writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = networks()

    def model(self, x: Tensor, y: Tensor) -> None:
        """z from N(0, I), then the pixels."""
        pyro.module("networks", self.networks)
        embedding, _, decoder = self.networks
        with pyro.plate("examples", len(x)):
            z = pyro.sample("z", Normal(x.new_zeros(len(x), LATENT), 1.0).to_event(1))
            logits = decoder(torch.cat([z, embedding(y + 1)], -1))
            pyro.sample("x", Bernoulli(logits=logits, validate_args=False).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        """The posterior of z."""
        pyro.module("networks", self.networks)
        embedding, encoder, _ = self.networks
        with pyro.plate("examples", len(x)):
            mean, log_scale = encoder(torch.cat([x, embedding(y + 1)], -1)).chunk(2, -1)
            pyro.sample("z", Normal(mean, log_scale.exp()).to_event(1))


def main() -> None:
    """Trains, and prints the rates."""
    given = arguments(__doc__).parse_args()
    torch.manual_seed(0)
    pyro.enable_validation(False)
    (x, y), conditional = trained_on(given), Conditional()
    inference = SVI(conditional.model, conditional.guide, Adam({"lr": 1e-3}), TraceMeanField_ELBO())
    rates = []
    for _ in range(given.epochs):
        rows = torch.randperm(len(x)).split(BATCH)
        begun = time.perf_counter()
        for row in rows:
            inference.step(torch.bernoulli(x[row]), y[row])
        rates.append(len(x) / (time.perf_counter() - begun))
    print(json.dumps(rates[1:]))


if __name__ == "__main__":
    main()
