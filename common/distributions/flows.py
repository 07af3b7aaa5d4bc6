"""A normalising-flow prior p(z | c): cheap next to the networks, and able to follow the aggregate posterior."""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, constraints

from common.distributions.priors import Encode, Prior
from common.nn.film import concatenate


class Coupling(nn.Module):
    """u = [a, (b - t(a, c)) exp(-s(a, c))] for the halves a, b of z; the identity before training.

    Source: Dinh, Sohl-Dickstein and Bengio 2017, "Density estimation using Real NVP", equations 7 and 8.

    Args:
        latent_dim: D, at least 2.
        condition_dim: C.
        hidden: width of the two hidden layers.
    """

    def __init__(self, latent_dim: int, condition_dim: int, hidden: int) -> None:
        super().__init__()
        self.kept = latent_dim // 2
        last = nn.Linear(hidden, 2 * (latent_dim - self.kept))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(self.kept + condition_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )

    def _affine(self, kept: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.network(concatenate(kept, c)).float().chunk(2, dim=-1)
        return shift, 2 * torch.tanh(log_scale / 2)  # scales within exp(+-2): no layer can blow up

    def forward(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Z [..., B, D] -> u [..., B, D] with its halves swapped, and log |du/dz| [..., B]."""
        kept, moved = z[..., : self.kept], z[..., self.kept :]
        shift, log_scale = self._affine(kept, c)
        return torch.cat([(moved - shift) * torch.exp(-log_scale), kept], dim=-1), -log_scale.sum(-1)

    def inverse(self, u: Tensor, c: Tensor) -> Tensor:
        """U [..., B, D] -> z [..., B, D]."""
        moved, kept = u[..., : u.shape[-1] - self.kept], u[..., u.shape[-1] - self.kept :]
        shift, log_scale = self._affine(kept, c)
        return torch.cat([kept, moved * torch.exp(log_scale) + shift], dim=-1)


class FlowPrior(Prior):
    """N(0, I) pushed through coupling layers that see the condition; N(0, I) itself before training.

    A prior that moves to the aggregate posterior saves the nats that N(0, I) wastes on the gap between the two
    (Chen et al. 2017, "Variational Lossy Autoencoder", section 3.2, there with an autoregressive flow).

    Args:
        layers: number of coupling layers.
        hidden: width of their hidden layers.
        conditional: whether the density depends on c. If not, z has no way to tell conditions apart at no cost: less of
            the condition leaks into it.
    """

    def __init__(self, layers: int = 6, hidden: int = 128, conditional: bool = True) -> None:
        super().__init__()
        self.layers = layers
        self.hidden = hidden
        self.conditional = conditional

    def build(self, latent_dim: int, condition_dim: int, encode: Encode, shape: tuple[int, ...] | None) -> None:
        """Creates the layers.

        Raises:
            ValueError: for a single latent dimension, which has no halves.
        """
        super().build(latent_dim, condition_dim, encode, shape)
        if latent_dim < 2:
            raise ValueError("FlowPrior needs at least two latent dimensions; use ConditionalNormal or VampPrior")
        inputs = condition_dim if self.conditional else 0
        self.couplings = nn.ModuleList(Coupling(latent_dim, inputs, self.hidden) for _ in range(self.layers))

    def forward(self, c: Tensor) -> "Flow":
        """The flow under each row of c."""
        return Flow(self.couplings, c if self.conditional else c[:, :0], self.size)


class Flow(Distribution):
    """Distribution of z with batch shape [B] and event shape [D]."""

    support = constraints.real_vector
    has_rsample = True

    def __init__(self, couplings: nn.ModuleList, c: Tensor, latent_dim: int) -> None:
        self.couplings, self.c = couplings, c
        zeros = c.new_zeros(len(c), latent_dim, dtype=torch.float32)
        self.base = Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1)
        super().__init__(self.base.batch_shape, self.base.event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Change of variables, nats."""
        u, log_determinant = self.pull(value)
        return self.base.log_prob(u) + log_determinant

    def pull(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Base noise u [..., B, D] that gives z, and log |du/dz| [..., B]: the inverse of `push`."""
        log_determinant = z.new_zeros(z.shape[:-1])
        for coupling in self.couplings:
            z, change = coupling(z, self.c)
            log_determinant = log_determinant + change
        return z, log_determinant

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Base noise through the inverse layers."""
        return self.push(self.base.rsample(torch.Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """Where the base's mean goes: a central point of the distribution, not its expectation."""
        return self.push(self.base.mean)

    def push(self, u: Tensor) -> Tensor:
        """Z [..., B, D] from base noise [..., B, D]."""
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            u = coupling.inverse(u, self.c)
        return u
