"""Networks of the tabular CVAE: a linear Gaussian model of the features, exact for any mask, and MLP corrections."""

import torch
from torch import Tensor, nn

from modalities.tabular.networks.factor_analysis import FactorAnalysis


class MLP(nn.Module):
    """Fully connected layers whose output starts near zero.

    Args:
        inputs: size of the input.
        hidden: width of the hidden layers.
        outputs: size of the output.
        layers: number of hidden layers.
        dropout: share of hidden units dropped in training.
        gain: scale of the last layer's initial weights.
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, layers: int = 2, dropout: float = 0.0, gain: float = 0.01
    ) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for number in range(layers):
            parts += [nn.Linear(hidden if number else inputs, hidden), nn.SiLU(), nn.Dropout(dropout)]
        last = nn.Linear(hidden, outputs)
        nn.init.normal_(last.weight, std=gain / hidden**0.5)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*parts, last)

    def forward(self, inputs: Tensor) -> Tensor:
        """[..., outputs]."""
        return self.layers(inputs)


class LinearPosterior(nn.Module):
    """The exact posterior of a linear Gaussian model of the features, for any set of known cells.

    Before `start` the loadings are zero and the posterior is N(0, I).

    Args:
        width: W, number of features.
        latent_dim: D.
    """

    loadings: Tensor
    mean: Tensor
    noise: Tensor

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("loadings", torch.zeros(width, latent_dim))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("noise", torch.ones(width))

    def start(self, solution: FactorAnalysis) -> None:
        """Copies a solution; units beyond its factors stay N(0, 1)."""
        self.loadings.zero_()
        self.loadings[:, : solution.loadings.shape[1]] = solution.loadings.float()
        self.mean.copy_(solution.mean)
        self.noise.copy_(solution.noise)

    def forward(self, features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations [B, D] of z given the known features [B, W]."""
        mean, covariance = FactorAnalysis(self.loadings, self.mean, self.noise).posterior(features, known)
        return mean, covariance.diagonal(dim1=1, dim2=2).sqrt()


class Encoder(nn.Module):
    """Known features -> mean and log-scale of q(z | x, c): the linear posterior, shifted and scaled by an MLP."""

    def __init__(self, width: int, condition_dim: int, latent_dim: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.network = MLP(2 * width + condition_dim + 2 * latent_dim, hidden, 2 * latent_dim, layers)

    def forward(self, features: Tensor, known: Tensor, c: Tensor, linear: tuple[Tensor, Tensor]) -> Tensor:
        """[B, 2 D]."""
        mean, scale = linear
        inputs = [features, known.float(), c, mean, scale.log()]
        shift, stretch = self.network(torch.cat(inputs, dim=-1)).chunk(2, dim=-1)
        return torch.cat([mean + scale * shift, scale.log() + stretch], dim=-1)


class Decoder(nn.Module):
    """z [..., D], c [..., C] -> locations of the features and log-scales: a linear map of z plus an MLP."""

    def __init__(
        self, latent_dim: int, condition_dim: int, width: int, scales: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(latent_dim, width)
        self.network = MLP(latent_dim + condition_dim, hidden, width + scales, layers, dropout)

    def start(self, solution: FactorAnalysis) -> None:
        """Copies loadings and mean of a solution."""
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.weight[:, : solution.loadings.shape[1]] = solution.loadings.float()
            self.linear.bias.copy_(solution.mean)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """[..., W + S]."""
        added = self.network(torch.cat([z, c], dim=-1))
        return torch.cat([self.linear(z) + added[..., : self.width], added[..., self.width :]], dim=-1)
