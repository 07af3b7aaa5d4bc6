"""Generation: samples, reconstructions, transfers, interpolations and imputations of a latent model."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor
from torch.distributions import Categorical, Distribution

from common.batch import Batch
from common.conditions.attributes import OBSERVED, SOURCE, Fields, as_fields
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
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

    _said_null = False  # whether it was said that the null condition was never learned
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
            condition: values by name, as `raw_fields` reads them: `{"digit": "3"}`, `{"digit": ["3", "5"], "age": 30}`.
                Fields left out take the null embedding.
            num_samples: samples for each of the B conditions.
            temperature: scale of z around the prior's mean; below 1 gives more typical samples.
            guidance: weight of p(x | z, c) against p(x | z, null), see `guidance.extrapolate`; 1 is none.
            draw: draws x from p(x | z, c) instead of taking its mean; None does what `draws_samples` says.

        Raises:
            ValueError: for an unknown condition or value; the message lists the valid ones.
        """
        draw = self.draws_samples if draw is None else draw
        with eval_mode(self):
            fields, c = self._conditioned(condition)
            return self._generate(self._latents(c, num_samples, temperature), c, fields, guidance, draw)

    def latents(self, condition: Mapping[str, Any], num_samples: int = 1, temperature: float = 1.0) -> Tensor:
        """z from p(z | c), [num_samples, B, D]; arguments and errors as in `sample`."""
        with eval_mode(self):
            _, c = self._conditioned(condition)
            return self._latents(c, num_samples, temperature)

    def decoded(
        self, z: Tensor, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool | None = None
    ) -> Tensor:
        """x from p(x | z, c) for z [..., B, D], [..., B, *x]; arguments and errors as in `sample`."""
        draw = self.draws_samples if draw is None else draw
        with eval_mode(self):
            fields, c = self._conditioned(condition)
            return self._generate(z, c, fields, guidance, draw)

    def _latents(self, c: Condition, num_samples: int, temperature: float) -> Tensor:
        prior = self.prior(c)
        z = prior.sample((num_samples,))
        return z if temperature == 1.0 else prior.mean + temperature * (z - prior.mean)

    def _conditioned(self, condition: Mapping[str, Any]) -> tuple[Fields, Condition]:
        """Raw fields of a user's condition, and c of as many examples, also where the model reads none."""
        fields = self.raw_fields(condition)
        c: Condition = self.condition(fields)
        return fields, c.expand(max([len(c), *map(len, fields.values())]))

    def raw_fields(self, condition: Mapping[str, Any], batch: Batch | None = None) -> Fields:
        """Raw fields, each [B, ...], on the model's device from a user's condition.

        Args:
            condition: values by name. A text names one (`"circle"`), a number or a tensor is a raw value (the position
                of a category); lists and tensors [B, ...] are values of B examples, a single value is that of all.
                As a batch's condition has all fields of the data, tensors that the model does not read may be there.
            batch: the B examples whose condition is changed; only fields of theirs may be there without being read.

        Raises:
            ValueError: for an unknown name or value, with a list of the valid ones, or for fields of different length.
        """
        known = self.condition.names
        further: Container[str] = condition if not known or any(name in known for name in condition) else ()
        further, size = (further, None) if batch is None else (batch.condition, len(batch))
        return as_fields(self.condition.parse(condition, further), self._where, size)

    def reconstruct(self, batch: Batch, guidance: float = 1.0, draw: bool = False) -> Tensor:
        """x decoded from its posterior mean, [B, ...]."""
        return self.transfer(batch, {}, guidance, draw)

    def transfer(self, batch: Batch, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool = False) -> Tensor:
        """x decoded from its posterior mean under another condition, [B, ...].

        Args:
            batch: B examples with their own conditions.
            condition: values of the fields that change, as in `sample`; the others stay.
            guidance: as in `sample`.
            draw: as in `sample`.

        Raises:
            ValueError: as in `sample`.
        """
        with eval_mode(self):
            own = self.embed(batch)
            z = self.posterior_mean(batch, own)
            changed = self.raw_fields(condition, batch)
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
            z_first, z_second = self.posterior_mean(first, c_first), self.posterior_mean(second, c_second)
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

    def posterior_mean(self, batch: Batch, c: Condition | None = None) -> Tensor:
        """E[z | x, c] of the recognition network, [B, D]; the batch's own condition where none is given."""
        c = self.embed(batch) if c is None else c
        mean: Tensor = self.encode(batch.shown(self.missing_value).x, c).base_dist.loc
        return mean

    def _generate(self, z: Tensor, c: Condition, fields: Fields, guidance: float, draw: bool) -> Tensor:
        self._check_null(fields, guidance)
        likelihood = self.decode(z, c)
        if guidance != 1.0:
            null: Condition = self.condition(self.condition.null(fields))
            likelihood = extrapolate(likelihood, self.decode(z, null.expand(len(c))), guidance)
        return self.sample_or_mean(likelihood, draw)

    def _check_null(self, fields: Fields, guidance: float) -> None:
        """Warns once where x depends on the null embedding of an attribute that training never dropped."""
        encoder = self.condition
        parts = [part for part in encoder.modules() if isinstance(part, ConditionEncoder)]
        learned = {name for part in parts if part.dropout or part.field_dropout for name in part.attributes}
        # A field that is no attribute, such as a description, may stand for one.
        others = [name for name in encoder.names if name not in (*encoder.attributes, OBSERVED, SOURCE)]
        given = encoder.attributes if any(name in fields for name in others) else fields
        never = [name for name in encoder.attributes if name not in learned and (guidance != 1.0 or name not in given)]
        if never and not self._said_null:
            self._said_null = True
            rank_zero_warn(
                f"trained without condition dropout: the null condition of {', '.join(never)} was never learned, "
                "unless values were missing in the data; train with model.condition.dropout",
                category=UserWarning,
            )
