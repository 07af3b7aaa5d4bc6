"""LatentModel: q(z | x, c), p(z | c) and p(x | z, c) of a conditional VAE, in plain torch.

Shapes: B batch, K samples of z, D latent, C condition.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from common.batch import Batch
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.configurable import Configurable
from common.distributions.likelihoods import log_prob
from common.distributions.noise import example_noise, reparameterize
from common.distributions.priors import Prior, StandardNormal
from common.objectives.samples import ElboTerms, PosteriorSamples


class LatentModel(Configurable, nn.Module):
    """A conditional latent-variable model. A subclass supplies `encode` and `decode`.

    Args:
        condition: condition encoder.
        prior: p(z | c); N(0, I) where none is given.
        latent_dim: D. Needed by priors with parameters; otherwise taken from the first posterior.
        shape: shape of one example, where it is fixed. Needed by VampPrior.
    """

    missing_value: float = 0.0  # what `encode` reads in place of an unobserved value

    def __init__(
        self,
        condition: ConditionEncoder,
        prior: Prior | None = None,
        latent_dim: int | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(condition, ConditionEncoder):
            raise TypeError(f"condition must be a common.conditions.encoders.ConditionEncoder; got {type(condition)}")
        self.condition = condition
        self.latent_prior = prior or StandardNormal()
        self.shape = shape
        if latent_dim is not None:
            self.build_prior(latent_dim)

    def encode(self, x: Tensor, c: Condition) -> Independent:
        """q(z | x, c): a diagonal Gaussian with batch shape [B] and event shape [D]."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(x, c)")

    def decode(self, z: Tensor, c: Condition) -> Distribution:
        """p(x | z, c) for z [..., B, D] and the condition of B examples: batch shape [..., B]."""
        raise NotImplementedError(f"{type(self).__name__} must define decode(z, c)")

    def prior(self, c: Condition) -> Distribution:
        """p(z | c) with batch shape [B] and event shape [D]: the injected prior."""
        return self.latent_prior(c.vector.float())  # a flow computes its densities later, outside of autocast

    def build_prior(self, latent_dim: int) -> None:
        """Creates the parameters of the injected prior: called once, as soon as the size of z is known.

        Raises:
            ValueError: if z has no unit.
        """
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1; got {latent_dim}")
        self.latent_prior.build(latent_dim, self.condition.dim, self.encode, self.shape)

    @property
    def ignores_latent(self) -> bool:
        """Whether the decoder ignores z by design, always or in a warm start: a small KL is then no collapse."""
        return False

    def embed(self, batch: Batch) -> Condition:
        """The condition of each example."""
        c: Condition = self.condition(batch.condition)
        return c.expand(len(batch))

    def encoder_input(self, batch: Batch) -> Batch:
        """The batch that z is inferred from: the batch itself or, in training, its view where it has one.

        z then learns what the versions share. The ELBO is a lower bound of log p(x | c) in both cases.
        """
        return batch.view if self.training and batch.view is not None else batch

    def draws(
        self, batch: Batch, num_samples: int = 1, seed: int | None = None, at_once: int | None = None
    ) -> PosteriorSamples:
        """K samples of z ~ q(z | x, c) for each of B examples, with their log-likelihoods.

        The condition is embedded once: prior, decoder and every further term of a loss use the same one.

        Args:
            batch: B examples.
            num_samples: K.
            seed: fixes the noise of each example by its index; None draws from torch's generator.
            at_once: decodes at most this many z at a time, which bounds memory; None decodes all.
        """
        c = self.embed(batch)
        source = self.encoder_input(batch)
        encoder_c = c if source is batch else self.embed(source)
        posterior = self.encode(source.shown(self.missing_value).x, encoder_c)
        if self.latent_prior.latent_dim is None:
            if not isinstance(self.latent_prior, StandardNormal):
                raise RuntimeError(f"{type(self.latent_prior).__name__} has parameters: pass latent_dim to the model")
            self.build_prior(posterior.event_shape[-1])
        with torch.autocast(batch.x.device.type, enabled=False):  # samples and log-probabilities in float32
            if seed is None:
                z = posterior.rsample((num_samples,))
            else:
                noise = example_noise(seed, batch.positions, (num_samples, posterior.event_shape[-1]))
                z = reparameterize(posterior, noise)
        decoded = z.view_as(z)
        log_likelihood = self.log_likelihood_of_latents(batch, decoded, c, at_once)
        return PosteriorSamples(z, decoded, log_likelihood, posterior, self.prior(c), c, source, encoder_c)

    def log_likelihood_of_latents(self, batch: Batch, z: Tensor, c: Condition, at_once: int | None = None) -> Tensor:
        """log p(x | z, c) in nats, [K, B], for z [K, B, D]: float32 also under autocast.

        Args:
            batch: B examples.
            z: K samples for each of them.
            c: their condition.
            at_once: decodes at most this many z at a time, which bounds memory; None decodes all.
        """
        count = len(batch)
        if at_once is not None and count > at_once:
            rows = [slice(start, start + at_once) for start in range(0, count, at_once)]
            return torch.cat([self.log_likelihood_of_latents(batch[r], z[:, r], c[r], at_once) for r in rows], dim=1)
        if at_once is not None and len(z) * count > at_once:
            return torch.cat([self.log_likelihood_of_latents(batch, part, c) for part in z.split(at_once // count)])
        likelihood = self.decode(z, c)
        with torch.autocast(batch.x.device.type, enabled=False):
            return log_prob(likelihood, batch.x, batch.mask)

    def elbo(self, batch: Batch) -> ElboTerms:
        """Reconstruction, KL and ELBO of each example, [B], from one draw of z."""
        return self.draws(batch).terms()

    @property
    def _where(self) -> torch.device:
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))
