"""Small models that several tests share."""

import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from common.batch import Batch
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.distributions.likelihoods import Gaussian
from common.distributions.posterior import diagonal_normal
from common.model.latent_model import LatentModel
from common.training.module import ConditionalELBO


class Unconditional(ConditionEncoder):
    """Encodes no condition at all."""

    dim = 1

    def __init__(self):
        super().__init__({})

    def forward(self, fields):
        return Condition(torch.zeros(1, 1))


class Number(ConditionEncoder):
    """The number c as it is."""

    dim = 1

    def __init__(self):
        super().__init__({})

    def forward(self, fields):
        return Condition(fields["c"].float().unsqueeze(-1))


class PointCVAE(ConditionalELBO):
    """Points in three dimensions, one linear layer each way; `arguments` are those of the base."""

    def __init__(self, **arguments):
        super().__init__(Unconditional(), **arguments)
        self.encoder, self.decoder, self.likelihood = nn.Linear(3, 4), nn.Linear(2, 3), Gaussian(1.0)

    def encode(self, x, c):
        return diagonal_normal(self.encoder(x))

    def decode(self, z, c):
        return self.likelihood(self.decoder(z), event_ndim=1)


class LinearGaussian(LatentModel):
    """x = W z + c u + sigma * noise in three dimensions, with z ~ N(0, I) in two and a number c.

    Likelihood, posterior and marginal are known in closed form. The columns of W are orthogonal, so that the exact
    posterior is a diagonal Gaussian. `shift` and `stretch` make `encode` wrong: they are added to its mean and
    multiply its scale. `effect` multiplies what the condition does; `use_latent` false makes W zero.
    """

    def __init__(self, sigma=0.5, effect=1.0, shift=0.0, stretch=1.0, use_latent=True):
        super().__init__(Number(), latent_dim=2)
        self.sigma, self.shift, self.stretch = sigma, shift, stretch
        self.W = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 1.0]]) * float(use_latent)
        self.u = effect * torch.tensor([1.0, -1.0, 0.5])

    def decode(self, z, c):
        return Independent(Normal(z @ self.W.T + c.vector * self.u, self.sigma), 1)

    def encode(self, x, c):
        precision = 1 + (self.W**2).sum(0) / self.sigma**2
        mean = (x - c.vector * self.u) @ self.W / self.sigma**2 / precision
        return Independent(Normal(mean + self.shift, (precision**-0.5 * self.stretch).expand_as(mean)), 1)

    def exact(self, x, c, observed=(0, 1, 2)):
        """log p(x_observed | c) in double precision, [B], for c [B]."""
        rows = list(observed)
        W, u = self.W[rows].double(), self.u[rows].double()
        covariance = W @ W.T + self.sigma**2 * torch.eye(len(rows))
        return MultivariateNormal(c.double().unsqueeze(-1) * u, covariance).log_prob(x[:, rows].double())

    def batch(self, count, values=2):
        """Examples drawn from the model, with conditions 0 ... values - 1 in turn."""
        c = torch.arange(count) % values
        x = self.decode(torch.randn(count, 2), self.condition({"c": c})).sample()
        return Batch(x, {"c": c}, index=torch.arange(count))


class Watched(LinearGaussian):
    """Notes how many z it has decoded at once."""

    most = 0

    def decode(self, z, c):
        self.most = max(self.most, z.shape[:-1].numel())
        return super().decode(z, c)
