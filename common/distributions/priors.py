"""Priors p(z | c)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal
from typing_extensions import TypeIs

from common.conditions.condition import Condition
from common.configurable import Configurable
from common.distributions.posterior import diagonal_normal

Encode = Callable[[Tensor, Condition], Independent]


class Prior(Configurable, nn.Module):
    """Base of the priors. The model calls `build` once, when it knows the sizes; `forward` returns p(z | c)."""

    latent_dim: int | None = None

    @property
    def size(self) -> int:
        """D, the size of z.

        Raises:
            RuntimeError: before `build`.
        """
        if self.latent_dim is None:
            raise RuntimeError("the size of z is not known: pass latent_dim to the model")
        return self.latent_dim

    def build(self, latent_dim: int, condition_dim: int, encode: Encode, shape: tuple[int, ...] | None) -> None:
        """Creates the parameters.

        Args:
            latent_dim: D.
            condition_dim: C.
            encode: the model's recognition network (x, c) -> q(z | x, c).
            shape: shape of one example, where it is fixed.
        """
        self.latent_dim = latent_dim

    def __call__(self, c: Tensor) -> Distribution:
        """p(z | c), once built."""
        _ = self.size
        return super().__call__(c)

    def forward(self, c: Tensor) -> Distribution:
        """p(z | c): batch shape [B], event shape [D], for c [B, C]."""
        raise NotImplementedError


class StandardNormal(Prior):
    """N(0, I) for every condition."""

    def forward(self, c: Tensor) -> Independent:
        """N(0, I) for each row of c."""
        zeros = c.new_zeros(len(c), self.size, dtype=torch.float32)
        return Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1)


class ConditionalNormal(Prior):
    """N(mean(c), diag(scale(c)^2)) from a small network that starts at N(0, I).

    Source: Sohn, Lee and Yan 2015, "Learning Structured Output Representation using Deep Conditional Generative
    Models", section 4.1.

    Args:
        hidden: width of the hidden layer.
    """

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.hidden = hidden

    def build(self, latent_dim: int, condition_dim: int, encode: Encode, shape: tuple[int, ...] | None) -> None:
        """Creates the network."""
        super().build(latent_dim, condition_dim, encode, shape)
        last = nn.Linear(self.hidden, 2 * latent_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(condition_dim, self.hidden), nn.SiLU(), last)

    def forward(self, c: Tensor) -> Independent:
        """Gaussian from the network's means and log-scales."""
        return diagonal_normal(self.network(c))


class VampPrior(Prior):
    """Mixture of posteriors of learned pseudo-inputs: p(z | c) = sum_k w_k(c) q(z | u_k, e_k).

    Source: Tomczak and Welling 2018, "VAE with a VampPrior", equation 9. The pseudo-inputs u_k carry learned
    condition embeddings e_k, and the weights depend on the condition.

    Args:
        components: number of pseudo-inputs.
        bounds: range of the data, to which a sigmoid restricts pseudo-inputs.
    """

    def __init__(self, components: int = 100, bounds: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__()
        self.components = components
        self.low, self.high = bounds

    def build(self, latent_dim: int, condition_dim: int, encode: Encode, shape: tuple[int, ...] | None) -> None:
        """Creates pseudo-inputs and weights.

        Raises:
            ValueError: if examples have no fixed shape.
        """
        super().build(latent_dim, condition_dim, encode, shape)
        if shape is None:
            raise ValueError("VampPrior needs a model with a fixed `shape` of one example, for its pseudo-inputs")
        self.encode = encode
        self.inputs = nn.Parameter(torch.randn(self.components, *shape) * 0.5 - 1.5)
        self.embeddings = nn.Parameter(torch.randn(self.components, condition_dim) * 0.1)
        self.weights = nn.Linear(condition_dim, self.components)

    def forward(self, c: Tensor) -> MixtureSameFamily:
        """The mixture, with weights for each row of c."""
        inputs = self.low + (self.high - self.low) * torch.sigmoid(self.inputs)
        posterior = self.encode(inputs, Condition(self.embeddings))
        weights = Categorical(logits=self.weights(c).float(), validate_args=False)
        components = posterior.expand((len(c), self.components))
        return MixtureSameFamily(weights, components, validate_args=False)


def factorises(prior: Distribution) -> TypeIs[Independent]:
    """Whether the prior is a diagonal Gaussian."""
    return isinstance(prior, Independent) and isinstance(prior.base_dist, Normal)
