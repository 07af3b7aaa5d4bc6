"""AudioGenreCVAE: a conditional VAE of sound."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.distributions import Independent

from common.batch import Batch
from common.conditions.attributes import Categorical, Fields
from common.conditions.encoders import ConditionEncoder
from common.distributions.likelihoods import Gaussian, Likelihood
from common.distributions.posterior import diagonal_normal
from common.distributions.priors import Prior
from common.eval_mode import in_evaluation
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media
from common.nn.film import expand
from common.objectives.invariance import Removal
from common.objectives.objectives import ELBO, Objective
from common.results import Measurement
from common.training.module import ConditionalELBO
from modalities.audio.evaluation.figures import audio_figures
from modalities.audio.evaluation.pictures import audio_media
from modalities.audio.networks.convolutions import Decoder, Encoder, ResidualConv
from modalities.audio.networks.prior import carried_over
from modalities.audio.signal import windows
from modalities.audio.signal.audio_files import SUFFIXES, read_sound, write_sound
from modalities.audio.signal.features import LogMel
from modalities.audio.signal.vocoder import ROWS, GriffinLim, Vocoder


class AudioGenreCVAE(ConditionalELBO):
    """q(z | x, c), p(x | z, c) of log-mel features [1, mels, frames]; z is a sequence of vectors side by side.

    Args:
        condition: condition encoder.
        features: parameters of the features, kept in the checkpoint. In a configuration they come from the data.
        latent_dim: D, the size of all latent vectors together: a multiple of frames / architecture.stride.
        architecture: what the networks are made of.
        vocoder: how features become sound again.
        carried: conditions that z holds as well: where one is changed, z is carried over by the prior (see
            `modalities.audio.networks.prior.carried_over`). Other changes leave z as it is.
        carry_temperature: scale of the noise that is carried over.
        transfers: test clips that the test gives another condition, for each field.
        likelihood: p(x | z, c); a Gaussian with one optimal sigma for each mel band where none is given.
        prior: p(z | c); N(0, I) where none is given.
        objective: what training minimises.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser.
        compile: compiles the networks in place with torch.compile.
        evaluation: sample counts and seed of validation and test.
        removal: takes the condition out of z.
    """

    def __init__(
        self,
        condition: ConditionEncoder,
        features: LogMel = LogMel(),  # noqa: B008 (frozen)
        latent_dim: int = 256,
        architecture: ResidualConv = ResidualConv(),  # noqa: B008 (frozen)
        vocoder: Vocoder = GriffinLim(),  # noqa: B008 (frozen)
        carried: list[str] | None = None,
        carry_temperature: float = 1.0,
        transfers: int = 300,
        likelihood: Likelihood | None = None,
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        removal: Removal | None = None,
    ) -> None:
        self.steps = architecture.steps(features.shape)
        if latent_dim % self.steps:
            raise ValueError(f"latent_dim ({latent_dim}) must be a multiple of the {self.steps} steps of a clip")
        super().__init__(
            condition, prior, objective, optimizer, scheduler, compile, latent_dim, features.shape, evaluation, removal
        )
        self.features, self.vocoder, self.transfers = features, vocoder, transfers
        self.carried, self.carry_temperature = carried or [], carry_temperature
        self.overlap = features.frames // 4  # frames that two windows of a long clip share
        channels = latent_dim // self.steps
        self.likelihood = likelihood or Gaussian("optimal", 0.7, shape=[features.mels, 1])
        self.encoder = Encoder(features.shape, condition.dim, 2 * channels, architecture)
        self.decoder = Decoder(features.shape, channels, condition.dim, architecture)

    def encode(self, x: Tensor, c: Tensor) -> Independent:
        """q(z | x, c) for x [B, 1, mels, frames] and c [B, C]."""
        mean, log_scale = self.encoder(x, c).chunk(2, dim=-1)
        return diagonal_normal(torch.cat([mean.flatten(1), log_scale.flatten(1)], dim=-1))

    def decode(self, z: Tensor, c: Tensor) -> Independent:
        """p(x | z, c) for z [..., B, D] and c [B, C]."""
        rows = expand(c, z).flatten(0, -2)
        mean = self.decoder(z.flatten(0, -2).unflatten(-1, (self.steps, -1)), rows)
        return self.likelihood(mean.unflatten(0, z.shape[:-1]), event_ndim=3)

    # Sound.

    def sound(self, x: Tensor) -> Tensor:
        """Waveforms [B, T * hop] of features [B, 1, mels, T]."""
        return self.vocoder.sound(x, self.features)

    def hear(self, waveform: Tensor) -> Tensor:
        """Features [B, 1, mels, T // hop] of waveforms [B, T], brought to the common level."""
        return self.features.hear(waveform)

    def write(self, samples: Tensor, path: Path) -> None:
        """Samples [N, 1, mels, T] as sound: a file (`.wav`, `.flac`, `.ogg`) where there is one, else a folder of WAVs.

        Raises:
            ValueError: for several samples and a file, or a suffix that is not written.
        """
        waves = self.sound(samples.cpu())
        if path.suffix.lower() in SUFFIXES or (path.suffix and not path.is_dir()):
            if len(waves) > 1:
                raise ValueError(f"{path}: {len(waves)} clips need a folder, --out {path.stem}/")
            write_sound(waves[0], path, self.features.sample_rate)
            return
        for number, waveform in enumerate(waves):
            write_sound(waveform, path / f"{number:03d}.wav", self.features.sample_rate)

    def read(self, path: Path) -> Tensor:
        """A sound file of any length as features [1, 1, mels, T]."""
        return self.hear(read_sound(path, self.features.sample_rate)[None])

    # Verbs, for clips of any length.

    def transfer(self, batch: Batch, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool = False) -> Tensor:
        """As in the base; clips of another length than a training clip go in windows that fade into each other."""
        if batch.x.shape[-1] == self.features.frames:
            return super().transfer(batch, condition, guidance, draw)
        fields = {name: field.expand(len(batch)) for name, field in self._fields(condition).items()}
        parts = self._windows(batch, self.overlap)
        repeats = len(parts) // max(1, len(batch))
        repeated = {name: field.repeat_interleave(repeats) for name, field in fields.items()}
        done = []
        for start in range(0, len(parts), ROWS):
            rows = slice(start, start + ROWS)
            asked = {name: field[rows] for name, field in repeated.items()}
            done.append(self.transfer(parts[rows], asked, guidance, draw))
        return windows.join(torch.cat(done), batch.x.shape[-1], self.overlap)

    def carry(self, z: Tensor, own: Tensor, other: Tensor, changed: list[str]) -> Tensor:
        """Z as it is, or carried over by the prior where it holds what changes."""
        if not any(name in self.carried for name in changed):
            return z
        return carried_over(z, self.prior(own), self.prior(other), self.carry_temperature)

    def interpolate(self, first: Batch, second: Batch, steps: int = 8) -> Tensor:
        """As in the base, between the first training lengths of two clips."""
        start, end = (
            self._windows(batch.replace(x=batch.x[..., : self.features.frames]), 0) for batch in (first, second)
        )
        return super().interpolate(start, end, steps)

    def log_likelihood(self, batch: Batch, num_samples: int, seed: int = 0) -> Tensor:
        """As in the base; a clip of another length is the sum of its consecutive windows, silence at the end."""
        if batch.x.shape[-1] == self.features.frames:
            return super().log_likelihood(batch, num_samples, seed)
        whole = -(-batch.x.shape[-1] // self.features.frames) * self.features.frames
        padded = torch.nn.functional.pad(batch.x, (0, whole - batch.x.shape[-1]), value=self.features.silence)
        parts = self._windows(batch.replace(x=padded), 0).replace(index=None)
        return super().log_likelihood(parts, num_samples, seed).unflatten(0, (len(batch), -1)).sum(1)

    def recognise(self, x: Tensor) -> Fields:
        """The categories under which the model finds clips [B, 1, mels, T] likeliest by their ELBO, each [B].

        argmax_c of log p(x, z | c) at the mean of q(z | x, c), plus the entropy of q: Bayes' rule with equal weights.
        """
        values = {
            name: range(len(attribute.values))
            for name, attribute in self.condition.attributes.items()
            if isinstance(attribute, Categorical)
        }
        choices = list(product(*values.values()))
        scores = []
        with in_evaluation(self):
            parts = self._windows(Batch(x, {}), 0)
            for choice in choices:
                chosen = {name: torch.full((len(parts),), v) for name, v in zip(values, choice, strict=True)}
                score = torch.cat([self._score(parts.replace(condition=chosen)[slice(n, n + ROWS)])
                                   for n in range(0, len(parts), ROWS)])  # fmt: skip
                scores.append(score.unflatten(0, (len(x), -1)).sum(1))
        best = torch.stack(scores).argmax(0).tolist()
        return {name: torch.tensor([choices[row][place] for row in best]) for place, name in enumerate(values)}

    def _score(self, batch: Batch) -> Tensor:
        c = self.embed(batch)
        posterior = self.encode(batch.x, c)
        z = posterior.base_dist.loc
        return self.decode(z, c).log_prob(batch.x) + self.prior(c).log_prob(z) + posterior.entropy()

    def _windows(self, batch: Batch, overlap: int) -> Batch:
        """Windows of the training length, those of one clip side by side, each with its clip's condition."""
        x = windows.cut(batch.x, self.features.frames, overlap, self.features.silence)
        repeats = len(x) // max(1, len(batch))
        return Batch(x, {name: field.repeat_interleave(repeats, 0) for name, field in batch.condition.items()})

    # What the test measures and a person sees and hears.

    def figures(self, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """Control after the way through sound, spread, tempo, transfer, and baselines."""
        return audio_figures(self, table)

    def media(self, batch: Batch) -> Media:
        """Spectrograms of reconstructions and of samples by condition, and some of them to listen to."""
        return audio_media(self, batch)
