"""Posterior samples of a batch, and the ELBO that they give.

K samples z ~ q(z | x, c) for B examples; everything is in nats per example.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution, Independent

from common.batch import Batch
from common.conditions.condition import Condition
from common.distributions.priors import factorises


@dataclass(frozen=True)
class ElboTerms:
    """The ELBO of each example in nats: elbo = reconstruction - kl, each [B]."""

    reconstruction: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        """Lower bound of log p(x | c), [B]."""
        return self.reconstruction - self.kl


@dataclass(frozen=True)
class PosteriorSamples:
    """K samples of z for each of B examples, their log-probabilities, and their conditions.

    Attributes:
        z: [K, B, D], differentiable in the parameters of the posterior.
        decoded: an alias of `z` that decoder and objective read: an objective may change its gradient, and further
            terms of a loss, which read `z`, keep their own.
        log_likelihood: log p(x | z, c), [K, B].
        posterior: q(z | x, c), batch shape [B].
        prior: p(z | c), batch shape [B].
        condition: c, as prior and decoder read it.
        encoder_input: the batch that z was inferred from: the batch itself, or its view.
        encoder_condition: the condition of `encoder_input`.
        dataset_size: number of training examples, where an objective needs it (beta-TC).
    """

    z: Tensor
    decoded: Tensor
    log_likelihood: Tensor
    posterior: Independent
    prior: Distribution
    condition: Condition
    encoder_input: Batch
    encoder_condition: Condition
    dataset_size: int | None = None

    def log_weights(self) -> Tensor:
        """log p(x | z, c) + log p(z | c) - log q(z | x, c), [K, B]."""
        return self.log_likelihood + self.prior.log_prob(self.decoded) - self.posterior.log_prob(self.decoded)

    def kl_per_unit(self) -> Tensor:
        """KL of each latent unit, [B, D]: closed form.

        Raises:
            ValueError: if the prior does not factorise over the units.
        """
        if not factorises(self.prior):
            raise ValueError("the KL of single units needs a factorised prior (StandardNormal or ConditionalNormal)")
        q, p = self.posterior.base_dist, self.prior.base_dist
        # As torch.distributions.kl_divergence, whose dispatch torch.compile cannot follow.
        return 0.5 * (((q.scale / p.scale) ** 2 + ((q.loc - p.loc) / p.scale) ** 2) - 1) - (q.scale / p.scale).log()

    def terms(self) -> ElboTerms:
        """The ELBO, with the KL in closed form where there is one, otherwise estimated from the samples."""
        if factorises(self.prior):
            kl = self.kl_per_unit().sum(-1)
        else:
            kl = (self.posterior.log_prob(self.decoded) - self.prior.log_prob(self.decoded)).mean(0)
        return ElboTerms(self.log_likelihood.mean(0), kl)
