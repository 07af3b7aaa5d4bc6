"""Regularisers that remove the condition from z, so that z carries only what the condition does not.

The ELBO alone does not ensure this: the condition in z costs only the KL that the prior assigns to it.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from common.conditions.attributes import Attribute, Categorical, Fields
from common.configurable import Configurable
from common.distributions.processes import mean_over_processes


class InvarianceRegulariser(Configurable, nn.Module):
    """Base: a term of the training loss that removes the categorical conditions from z.

    Args:
        weight: weight of the term.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    def build(self, latent_dim: int, attributes: Mapping[str, Attribute]) -> None:
        """Creates the parameters: called once, by the model that knows the sizes.

        Raises:
            ValueError: if the model has no categorical condition.
        """
        self.values = {
            name: list(attribute.values) for name, attribute in attributes.items() if isinstance(attribute, Categorical)
        }
        self.categories = {name: len(values) for name, values in self.values.items()}
        if not self.categories:
            raise ValueError("an invariance regulariser takes a categorical condition out of z; this model has none")

    def adapted(self, old: "InvarianceRegulariser") -> dict[str, Tensor]:
        """Starts afresh where the categories are others than an older one's. See `common.nn.transplant`."""
        return {} if self.values == old.values else {name: value.clone() for name, value in self.state_dict().items()}

    def forward(self, z: Tensor, posterior: Independent, fields: Fields) -> Tensor:
        """The term, a number.

        Args:
            z: draws from the posterior, [B, D].
            posterior: q(z | x, c), batch shape [B].
            fields: raw conditions, each [B].
        """
        raise NotImplementedError


class Adversary(InvarianceRegulariser):
    """A classifier reads each condition from z; the encoder is trained against it through a reversed gradient.

    The value is the mean over fields of the classifier's cross-entropy minus log(categories), in nats: approximately
    minus the information that it finds. Source: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks",
    equation 18; for attributes of an autoencoder's code: Lample et al. 2017, "Fader Networks", section 3.2.

    Args:
        weight: weight of the reversed gradient; the classifier itself always learns at full rate.
        hidden: width of the classifier's hidden layer.
    """

    def __init__(self, weight: float = 1.0, hidden: int = 256) -> None:
        super().__init__(weight)
        self.hidden = hidden

    def build(self, latent_dim: int, attributes: Mapping[str, Attribute]) -> None:
        """Creates the classifiers."""
        super().build(latent_dim, attributes)
        self.trunk: nn.Module = nn.Sequential(
            nn.Linear(latent_dim, self.hidden), nn.GELU(), nn.Linear(self.hidden, self.hidden), nn.GELU()
        )
        self.heads = nn.ModuleList(nn.Linear(self.hidden, count) for count in self.categories.values())

    def forward(self, z: Tensor, posterior: Independent, fields: Fields) -> Tensor:
        """The loss of the classifiers, which the encoder maximises through the reversed gradient."""
        h = self.trunk(_ReversedGradient.apply(z, self.weight))
        terms = []
        for (name, count), head in zip(self.categories.items(), self.heads, strict=True):
            known = fields[name] >= 0
            if known.any():
                loss = nn.functional.cross_entropy(head(h[known]), fields[name][known].long())
                terms.append(loss - math.log(count))
        return torch.stack(terms).mean() if terms else z.sum() * 0.0


class _ReversedGradient(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, z: Tensor, weight: float) -> Tensor:
        context.weight = weight
        return z.view_as(z)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -context.weight * gradient, None


class InformationPenalty(InvarianceRegulariser):
    """weight * I(z; c), with q(z | c) and q(z) each approximated by a diagonal Gaussian.

    sum_c p(c) KL(N(m_c, s_c^2) || N(m, s^2)), summed over units and averaged over fields; m and s are the moments of
    the aggregate posterior, running averages through whose newest batch, that of all processes, the gradient flows.
    There is no adversary, so that training is stable; information beyond the first two moments of each unit is not
    detected.
    Source of the aim: Moyer et al. 2018, "Invariant Representations without Adversarial Training", equation 7.

    Args:
        weight: weight of the information.
        momentum: weight of the newest batch in the running averages.
    """

    first: Tensor
    second: Tensor
    share: Tensor

    def __init__(self, weight: float = 1.0, momentum: float = 0.1) -> None:
        super().__init__(weight)
        self.momentum = momentum

    def build(self, latent_dim: int, attributes: Mapping[str, Attribute]) -> None:
        """Creates the running averages."""
        super().build(latent_dim, attributes)
        rows = sum(self.categories.values())
        self.register_buffer("first", torch.zeros(rows, latent_dim))
        self.register_buffer("second", torch.ones(rows, latent_dim))
        self.register_buffer("share", torch.full((rows, 1), 1e-3))

    def forward(self, z: Tensor, posterior: Independent, fields: Fields) -> Tensor:
        """The information in nats, times the weight."""
        mean, variance = posterior.base_dist.loc, posterior.base_dist.scale**2
        start, terms = 0, []
        for name, count in self.categories.items():
            rows = slice(start, start + count)
            start += count
            member = nn.functional.one_hot(fields[name].long().clamp_min(0), count).to(mean.dtype)
            member = member * (fields[name] >= 0).unsqueeze(1)
            sums = torch.cat([member.T @ mean, member.T @ (mean**2 + variance), member.sum(0).unsqueeze(1)], dim=1)
            sums, size = mean_over_processes(sums).tensor_split([-1], dim=1)
            firsts, seconds = (sums / size.where(size > 0, 1.0)).chunk(2, dim=1)
            # The averages of a category that is not in the batch do not change.
            rate = self.momentum * (size > 0)
            first = torch.lerp(self.first[rows], firsts, rate)
            second = torch.lerp(self.second[rows], seconds, rate)
            known = size.sum()
            share = torch.lerp(self.share[rows], size / known.where(known > 0, 1.0), self.momentum)
            terms.append(_information(first, second, share / share.sum()))
            with torch.no_grad():
                self.first[rows], self.second[rows], self.share[rows] = first, second, share
        # The gradient reaches the averages through the newest batch alone: 1 / momentum restores its scale.
        value = torch.stack(terms).mean()
        return self.weight * (value.detach() + (value - value.detach()) / self.momentum)


def _information(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """sum_c share_c KL(N_c || N) in nats, from moments [categories, D] and shares [categories, 1]."""
    variance = (second - first**2).clamp_min(1e-6)
    mean_all = (share * first).sum(0)
    variance_all = ((share * second).sum(0) - mean_all**2).clamp_min(1e-6)
    divergence = 0.5 * (variance_all.log() - variance.log() + (variance + (first - mean_all) ** 2) / variance_all - 1)
    return (share * divergence).sum()
