"""A normalising-flow prior p(z | c): cheap compared with the networks, and able to match the aggregate posterior."""

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
        self.unchanged = latent_dim // 2
        last = nn.Linear(hidden, 2 * (latent_dim - self.unchanged))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(self.unchanged + condition_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last
        )

    def _affine(self, unchanged: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.network(concatenate(unchanged, c)).float().chunk(2, dim=-1)
        return shift, 2 * torch.tanh(log_scale / 2)  # scales within exp(+-2): no layer can diverge

    def forward(self, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """z [..., B, D] -> u [..., B, D] with its halves swapped, and log |du/dz| [..., B]."""
        unchanged, changed = z[..., : self.unchanged], z[..., self.unchanged :]
        shift, log_scale = self._affine(unchanged, c)
        return torch.cat([(changed - shift) * torch.exp(-log_scale), unchanged], dim=-1), -log_scale.sum(-1)

    def inverse(self, u: Tensor, c: Tensor) -> Tensor:
        """u [..., B, D] -> z [..., B, D]."""
        size = u.shape[-1] - self.unchanged
        changed, unchanged = u[..., :size], u[..., size:]
        shift, log_scale = self._affine(unchanged, c)
        return torch.cat([unchanged, changed * torch.exp(log_scale) + shift], dim=-1)


class FlowPrior(Prior):
    """N(0, I) transformed by coupling layers that read the condition; N(0, I) itself before training.

    A prior that approaches the aggregate posterior saves the KL between the aggregate posterior and N(0, I)
    (Chen et al. 2017, "Variational Lossy Autoencoder", section 3.2, there with an autoregressive flow).

    Args:
        layers: number of coupling layers.
        hidden: width of their hidden layers.
        conditional: whether the density depends on c. If not, information about c in z costs KL, so that less of the
            condition leaks into z.
    """

    def __init__(self, layers: int = 6, hidden: int = 128, conditional: bool = True) -> None:
        super().__init__()
        self.layers = layers
        self.hidden = hidden
        self.conditional = conditional

    def build(self, latent_dim: int, condition_dim: int, encode: Encode, shape: tuple[int, ...] | None) -> None:
        """Creates the layers.

        Raises:
            ValueError: for a single latent dimension, which cannot be split.
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
        """Base noise u [..., B, D] that maps to z, and log |du/dz| [..., B]: the inverse of `push`."""
        log_determinant = z.new_zeros(z.shape[:-1])
        for coupling in self.couplings:
            z, change = coupling(z, self.c)
            log_determinant = log_determinant + change
        return z, log_determinant

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Base noise transformed by the inverse layers."""
        return self.push(self.base.rsample(torch.Size(sample_shape)))

    @property
    def mean(self) -> Tensor:
        """The transformed mean of the base: a central point of the distribution, not its expectation."""
        return self.push(self.base.mean)

    def push(self, u: Tensor) -> Tensor:
        """z [..., B, D] from base noise [..., B, D]."""
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            u = coupling.inverse(u, self.c)
        return u
