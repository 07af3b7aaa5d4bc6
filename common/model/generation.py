"""Generation: samples, reconstructions, transfers, interpolations and imputations of a latent model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from common.batch import Batch
from common.conditions.attributes import OBSERVED, Fields, as_fields
from common.conditions.condition import Condition
from common.distributions.guidance import extrapolate
from common.distributions.noise import prior_samples
from common.eval_mode import eval_mode
from common.model.latent_model import LatentModel


@dataclass(frozen=True)
class WeightedLatents:
    """Weighted samples of z that approximate p(z | observed part of x, c).

    Attributes:
        z: [K, B, D].
        log_weights: [K, B], up to a constant for each example.
        condition: the condition of the B examples.
    """

    z: Tensor
    log_weights: Tensor
    condition: Condition

    def resample(self, count: int) -> Tensor:
        """`count` samples for each example, [count, B, D], drawn in proportion to their weights."""
        chosen = Categorical(logits=self.log_weights.T).sample((count,))
        return self.z.gather(0, chosen.unsqueeze(-1).expand(-1, -1, self.z.shape[-1]))


class Generation(LatentModel):
    """A latent model with methods for generation, for all modalities; constructor as in `LatentModel`."""

    draws_samples: bool = False  # whether `sample` draws x by default, because the mean is no typical x

    @property
    def sampled(self) -> str:
        """What `sample` returns by default, in words."""
        return "draws from p(x|z,c)" if self.draws_samples else "means of p(x|z,c)"

    def sample(
        self,
        condition: Mapping[str, Any],
        num_samples: int = 1,
        temperature: float = 1.0,
        guidance: float = 1.0,
        draw: bool | None = None,
    ) -> Tensor:
        """x from p(z | c) and p(x | z, c), [num_samples, B, ...].

        Args:
            condition: raw fields, each a number or [B]. Fields left out take the null embedding.
            num_samples: samples for each of the B conditions.
            temperature: scale of z around the prior's mean; below 1 gives more typical samples.
            guidance: weight of p(x | z, c) against p(x | z, null), see `guidance.extrapolate`; 1 is none.
            draw: draws x from p(x | z, c) instead of taking its mean; None does what `draws_samples` says.
        """
        draw = self.draws_samples if draw is None else draw
        with eval_mode(self):
            fields = as_fields(condition, self._where)
            c: Condition = self.condition(fields)
            c = c.expand(max([len(c), *map(len, fields.values())]))  # an unconditional model ignores the fields
            prior = self.prior(c)
            z = prior.sample((num_samples,))
            if temperature != 1.0:
                z = prior.mean + temperature * (z - prior.mean)
            return self._generate(z, c, fields, guidance, draw)

    def reconstruct(self, batch: Batch, guidance: float = 1.0, draw: bool = False) -> Tensor:
        """x decoded from its posterior mean, [B, ...]."""
        return self.transfer(batch, {}, guidance, draw)

    def transfer(self, batch: Batch, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool = False) -> Tensor:
        """x decoded from its posterior mean under another condition, [B, ...].

        Args:
            batch: B examples with their own conditions.
            condition: the fields that change, each a number or [B]; the others stay.
            guidance: as in `sample`.
            draw: as in `sample`.
        """
        with eval_mode(self):
            own = self.embed(batch)
            z = self._posterior_mean(batch, own)
            changed = as_fields(condition, self._where)
            changed = {name: field.expand(len(batch), *field.shape[1:]) for name, field in changed.items()}
            fields = {**batch.condition, **changed}
            c = self.embed(batch.replace(condition=fields))
            return self._generate(self.counterfactual_latent(z, own, c, list(changed)), c, fields, guidance, draw)

    def counterfactual_latent(self, z: Tensor, own: Condition, other: Condition, changed: list[str]) -> Tensor:
        """The latent to decode under another condition, from z [B, D] of its own condition; here z itself.

        Args:
            z: posterior means.
            own: the condition that z was inferred under.
            other: the condition to decode under.
            changed: the fields in which they differ.
        """
        return z

    def interpolate(self, first: Batch, second: Batch, steps: int = 8) -> Tensor:
        """Interpolations in z and c from one batch to another, both ends included, [steps, B, ...]."""
        with eval_mode(self):
            c_first, c_second = self.embed(first), self.embed(second)
            z_first, z_second = self._posterior_mean(first, c_first), self._posterior_mean(second, c_second)
            path = []
            for share in torch.linspace(0, 1, steps).tolist():
                z, c = torch.lerp(z_first, z_second, share), c_first.interpolate(c_second, share)
                path.append(self.sample_or_mean(self.decode(z, c), draw=False))
            return torch.stack(path)

    def impute(self, batch: Batch, num_samples: int = 1, proposals: int = 50, draw: bool = False) -> Tensor:
        """x with its unobserved values filled in, [num_samples, B, ...]; observed values stay as they are.

        Sampling importance resampling of `weighted_latents`, then p(x | z, c). Source: Mattei and Frellsen 2019,
        MIWAE, section 4 and equation 12.

        Args:
            batch: B examples with a mask.
            num_samples: imputations of each example.
            proposals: K.
            draw: fills in draws from p(x | z, c) instead of its mean.

        Raises:
            ValueError: if the batch has no mask.
        """
        if batch.mask is None:
            raise ValueError("impute needs a batch with a mask: True where x is observed")
        with eval_mode(self):
            found = self.weighted_latents(batch, proposals)
            x = self.sample_or_mean(self.decode(found.resample(num_samples), found.condition), draw)
            return torch.where(batch.mask, batch.x, x)

    def weighted_latents(self, batch: Batch, proposals: int, seed: int | None = None) -> WeightedLatents:
        """K weighted samples of z for each example, which approximate p(z | observed part of x, c).

        z_k ~ q(z | x, c) given the observed values, weighted by p(x_observed | z_k, c) p(z_k | c) / q(z_k | x, c).
        Where the condition is the observed part itself, z ~ p(z | observed), with equal weights.

        Args:
            batch: B examples; the mask marks the observed values of x, without one all of them are.
            proposals: K.
            seed: fixes the noise of each example by its index; None draws from torch's generator.
        """
        if not self.condition.reads_observed:
            samples = self.draws(batch, proposals, seed)
            return WeightedLatents(samples.z, samples.log_weights(), samples.condition)
        c = self.embed(batch.replace(condition={**batch.condition, OBSERVED: batch.shown(float("nan")).x}))
        prior = self.prior(c)
        z = prior.sample((proposals,)) if seed is None else prior_samples(prior, proposals, seed, batch.positions)
        return WeightedLatents(z, z.new_zeros(z.shape[:2]), c)

    def sample_or_mean(self, likelihood: Distribution, draw: bool) -> Tensor:
        """x from p(x | z, c): a draw, or the distribution's mean."""
        return likelihood.sample() if draw else likelihood.mean

    def _posterior_mean(self, batch: Batch, c: Condition) -> Tensor:
        mean: Tensor = self.encode(batch.shown(self.missing_value).x, c).base_dist.loc
        return mean

    def _generate(self, z: Tensor, c: Condition, fields: Fields, guidance: float, draw: bool) -> Tensor:
        likelihood = self.decode(z, c)
        if guidance != 1.0:
            null: Condition = self.condition(self.condition.null(fields))
            likelihood = extrapolate(likelihood, self.decode(z, null.expand(len(c))), guidance)
        return self.sample_or_mean(likelihood, draw)
