"""AudioGenreCVAE: a conditional VAE of sound."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent

from common.batch import Batch
from common.conditions.attributes import Categorical, Fields
from common.conditions.condition import Condition
from common.conditions.encoders import ConditionEncoder
from common.distributions.likelihoods import Gaussian, Likelihood
from common.distributions.posterior import diagonal_normal
from common.eval_mode import eval_mode
from common.nn.film import expand
from common.training.module import ConditionalELBO
from modalities.audio.networks.convolutions import Decoder, Encoder, SpectrogramConv
from modalities.audio.networks.prior import SequencePrior, counterfactual_latent
from modalities.audio.signal import windows
from modalities.audio.signal.features import LogMel
from modalities.audio.signal.vocoder import ROWS, GriffinLim, Vocoder


class AudioGenreCVAE(ConditionalELBO):
    """q(z | x, c) and p(x | z, c) of log-mel features [1, mels, frames]; z is a flattened sequence of latent vectors.

    Args:
        condition: condition encoder.
        features: parameters of the features, stored in the checkpoint. On the command line they come from the data.
        latent_dim: D, the size of all latent vectors together: a multiple of frames / architecture.stride.
        architecture: sizes of encoder and decoder.
        vocoder: turns features into waveforms.
        counterfactual: conditions that z depends on as well: when a transfer changes one of them, z becomes its
            counterfactual under the new prior (`modalities.audio.networks.prior`). Other changes leave z as it is.
        counterfactual_temperature: scale of the base noise of that counterfactual.
        transfers: number of test clips that the test transfers to another value of each field.
        likelihood: p(x | z, c); by default a Gaussian with an optimal sigma for each mel band.
        base: as in `ConditionalELBO`.
    """

    changeable = (*ConditionalELBO.changeable, "transfers", "vocoder", "counterfactual", "counterfactual_temperature")

    def __init__(
        self,
        condition: ConditionEncoder,
        features: LogMel = LogMel(),  # noqa: B008 (frozen)
        latent_dim: int = 256,
        architecture: SpectrogramConv = SpectrogramConv(),  # noqa: B008 (frozen)
        vocoder: Vocoder = GriffinLim(),  # noqa: B008 (frozen)
        counterfactual: list[str] | None = None,
        counterfactual_temperature: float = 1.0,
        transfers: int = 300,
        likelihood: Likelihood | None = None,
        **base: Any,
    ) -> None:
        self.steps = architecture.steps(features.shape)
        if latent_dim % self.steps:
            raise ValueError(f"latent_dim ({latent_dim}) must be a multiple of the {self.steps} steps of a clip")
        super().__init__(condition, latent_dim=latent_dim, shape=features.shape, **base)
        self.features, self.vocoder, self.transfers = features, vocoder, transfers
        self.counterfactual, self.counterfactual_temperature = counterfactual or [], counterfactual_temperature
        self.overlap = features.frames // 4  # frames that two windows of a long clip share
        channels = latent_dim // self.steps
        self.likelihood = likelihood or Gaussian("optimal", 0.7, shape=[features.mels, 1])
        self.encoder = Encoder(features.shape, condition.dim, 2 * channels, architecture)
        self.decoder = Decoder(features.shape, channels, condition.dim, architecture)

    def encode(self, x: Tensor, c: Condition) -> Independent:
        """q(z | x, c) for x [B, 1, mels, frames]."""
        mean, log_scale = self.encoder(x, c.vector).chunk(2, dim=-1)
        return diagonal_normal(torch.cat([mean.flatten(1), log_scale.flatten(1)], dim=-1))

    def decode(self, z: Tensor, c: Condition) -> Independent:
        """p(x | z, c) for z [..., B, D]."""
        rows = expand(c.vector, z).flatten(0, -2)
        mean = self.decoder(z.flatten(0, -2).unflatten(-1, (self.steps, -1)), rows)
        return self.likelihood(mean.unflatten(0, z.shape[:-1]), event_ndim=3)

    def sound(self, x: Tensor) -> Tensor:
        """Waveforms [B, T * hop] of features [B, 1, mels, T]."""
        return self.vocoder.sound(x, self.features)

    def hear(self, waveform: Tensor) -> Tensor:
        """Features [B, 1, mels, T // hop] of waveforms [B, T], which are scaled to the common level first."""
        return self.features.hear(waveform)

    # Generation, for clips of any length.

    def sample(
        self,
        condition: Mapping[str, Any],
        num_samples: int = 1,
        temperature: float = 1.0,
        guidance: float = 1.0,
        draw: bool | None = None,
        seconds: float | None = None,
    ) -> Tensor:
        """As in the base class; `seconds` gives clips of another length than the training clips, to a frame.

        The prior draws as many latent vectors as are needed, and cross-faded windows of them are decoded.

        Raises:
            ValueError: as in the base class, or if the prior does not draw one latent vector after the other.
        """
        if seconds is None:
            return super().sample(condition, num_samples, temperature, guidance, draw)
        if not isinstance(self.latent_prior, SequencePrior):
            raise ValueError(
                f"the length of a sample is fixed at {self.features.seconds:g} s: the model's prior is "
                f"{type(self.latent_prior).__name__}, and only a SequencePrior (model.prior) goes on beyond a clip"
            )
        frames = max(1, round(seconds * self.features.sample_rate / self.features.hop))
        steps = max(self.steps, -(-frames * self.steps // self.features.frames))
        draw = self.draws_samples if draw is None else draw
        with eval_mode(self):
            fields = self.raw_fields(condition)
            c: Condition = self.condition(fields)
            count = max([len(c), *map(len, fields.values())])
            vectors = c.expand(count).vector.repeat(num_samples, 1)
            z = self.latent_prior.continued(vectors, steps * self.latent_prior.size // self.steps, temperature)
            repeated = {name: torch.cat([field.expand(count, *field.shape[1:])] * num_samples)
                        for name, field in fields.items()}  # fmt: skip
            x = self._decode_windows(z.unflatten(1, (steps, -1)), repeated, guidance, draw)[..., :frames]
        return x.unflatten(0, (num_samples, count))

    def _decode_windows(self, z: Tensor, fields: Fields, guidance: float, draw: bool) -> Tensor:
        """x [N, 1, mels, S * frames / steps] of latent vectors z [N, S, channels], as many as a clip has or more."""
        overlap, stride = self.steps // 4, self.features.frames // self.steps
        parts = windows.cut(z.transpose(1, 2), self.steps, overlap, 0.0).transpose(1, 2).flatten(1)
        rows = {name: field.repeat_interleave(len(parts) // len(z), 0) for name, field in fields.items()}
        done = []
        for start in range(0, len(parts), ROWS):
            part = parts[start : start + ROWS]
            own = {name: field[start : start + ROWS] for name, field in rows.items()}
            done.append(self._generate(part, self.condition(own).expand(len(part)), own, guidance, draw))
        return windows.join(torch.cat(done), z.shape[1] * stride, overlap * stride)

    def transfer(self, batch: Batch, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool = False) -> Tensor:
        """As in the base class; clips of another length than the training clips go through cross-faded windows."""
        if batch.x.shape[-1] == self.features.frames:
            return super().transfer(batch, condition, guidance, draw)
        fields = self.raw_fields(condition, batch)
        parts = self._windows(batch, self.overlap)
        repeats = len(parts) // max(1, len(batch))
        repeated = {name: field.repeat_interleave(repeats, 0) for name, field in fields.items()}
        done = []
        for start in range(0, len(parts), ROWS):
            rows = slice(start, start + ROWS)
            requested = {name: field[rows] for name, field in repeated.items()}
            done.append(self.transfer(parts[rows], requested, guidance, draw))
        return windows.join(torch.cat(done), batch.x.shape[-1], self.overlap)

    def counterfactual_latent(self, z: Tensor, own: Condition, other: Condition, changed: list[str]) -> Tensor:
        """z unchanged, or its counterfactual under the other prior if a changed field is in `counterfactual`."""
        if not any(name in self.counterfactual for name in changed):
            return z
        return counterfactual_latent(z, self.prior(own), self.prior(other), self.counterfactual_temperature)

    def interpolate(self, first: Batch, second: Batch, steps: int = 8) -> Tensor:
        """As in the base class, between the beginnings of two clips, cut or padded to the training length."""
        start, end = (
            self._windows(batch.replace(x=batch.x[..., : self.features.frames]), 0) for batch in (first, second)
        )
        return super().interpolate(start, end, steps)

    def log_likelihood(self, batch: Batch, num_samples: int, seed: int = 0, at_once: int | None = None) -> Tensor:
        """As in the base class; for another clip length, the sum over consecutive windows, padded with silence."""
        if batch.x.shape[-1] == self.features.frames:
            return super().log_likelihood(batch, num_samples, seed, at_once)
        count = max(1, -(-batch.x.shape[-1] // self.features.frames))
        whole = count * self.features.frames
        padded = torch.nn.functional.pad(batch.x, (0, whole - batch.x.shape[-1]), value=self.features.silence)
        parts = self._windows(batch.replace(x=padded), 0)
        # Noise of a window's own, whatever other clips are in the batch.
        window = torch.arange(count, device=batch.x.device).repeat(len(batch))
        parts = parts.replace(index=batch.positions.repeat_interleave(count) * count + window)
        return super().log_likelihood(parts, num_samples, seed, at_once).unflatten(0, (len(batch), count)).sum(1)

    def setup(self, stage: str) -> None:
        """As in the base class; before training, also compares `counterfactual` with the conditions of the data.

        Raises:
            ValueError: for a name in `counterfactual` that is no condition; the message lists them.
        """
        super().setup(stage)
        known = self.condition.attributes if self.data is None else self.data.attributes
        unknown = [name for name in self.counterfactual if name not in known]
        if stage == "fit" and unknown and self.condition.attributes:
            raise ValueError(
                f"model.counterfactual names {', '.join(unknown)}, which is no condition; there are: {', '.join(known)}"
            )

    def infer_conditions(self, x: Tensor) -> Fields:
        """The likeliest categories of clips [B, 1, mels, T] under the model, each [B].

        argmax_c of log p(x, z | c) at the mean of q(z | x, c), plus the entropy of q: the ELBO with one value of z in
        place of log p(x | c), and a uniform prior over c.
        """
        counts = {
            name: len(attribute.values)
            for name, attribute in self.condition.attributes.items()
            if isinstance(attribute, Categorical)
        }
        choices = torch.tensor(list(product(*map(range, counts.values()))), device=x.device)
        scores = []
        with eval_mode(self):
            parts = self._windows(Batch(x, {}), 0)
            for choice in choices:
                chosen = {name: choice[place].expand(len(parts)) for place, name in enumerate(counts)}
                score = torch.cat([self._score(parts.replace(condition=chosen)[slice(n, n + ROWS)])
                                   for n in range(0, len(parts), ROWS)])  # fmt: skip
                scores.append(score.unflatten(0, (len(x), -1)).sum(1))
        best = torch.stack(scores).argmax(0)
        return {name: choices[best, place] for place, name in enumerate(counts)}

    def _score(self, batch: Batch) -> Tensor:
        c = self.embed(batch)
        posterior = self.encode(batch.x, c)
        z = posterior.base_dist.loc
        return self.decode(z, c).log_prob(batch.x) + self.prior(c).log_prob(z) + posterior.entropy()

    def _windows(self, batch: Batch, overlap: int) -> Batch:
        """Windows of the training length with their clip's condition; those of one clip are consecutive rows."""
        x = windows.cut(batch.x, self.features.frames, overlap, self.features.silence)
        repeats = len(x) // max(1, len(batch))
        return Batch(x, {name: field.repeat_interleave(repeats, 0) for name, field in batch.condition.items()})
