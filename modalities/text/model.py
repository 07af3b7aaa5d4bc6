"""TextStyleCVAE: a conditional VAE of sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from common.batch import Batch
from common.conditions.attributes import SOURCE
from common.conditions.condition import Condition
from common.configurable import Configurable
from common.distributions.posterior import diagonal_normal
from common.evaluation.evaluation import Evaluation
from common.nn.film import expand
from common.objectives.samples import PosteriorSamples
from common.training.module import ConditionalELBO
from modalities.text.condition import StyleEncoder
from modalities.text.likelihood import TokenSequence
from modalities.text.networks.architectures import Architecture, Compact, DecoderSizes
from modalities.text.networks.attention import Pooling
from modalities.text.networks.checkpointing import Checkpointed
from modalities.text.networks.compact import no_probability
from modalities.text.networks.copying import LatentWords, Words
from modalities.text.tokenizer import Tokenizer, in_range

# What z alone passes through, which has no part in a step without z.
OF_LATENT = (
    *("encoder.", "pooling.", "words.", "decoder.reader.", "decoder.latent_prefix.", "decoder.slots"),
    *("decoder.latent_addition.", "decoder.copy_latent."),
)


@dataclass(frozen=True)
class Decoding(Configurable):
    """How sentences are generated.

    Attributes:
        temperature: temperature of sampled tokens; below 1 favours more probable ones, 0 takes the most probable one.
        top_p: samples from the fewest tokens that together have this probability.
        beams: width of the beam search where a sentence is not sampled; 1 is greedy decoding.
        length_penalty: beams are compared by log-probability / length ** length_penalty.
        guidance: guidance weight of rewriting: 1 is none, a larger one trades content for style.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        in_range("decoding.temperature", self.temperature, 0)
        in_range("decoding.top_p", self.top_p, 0, 1, above=True)
        in_range("decoding.beams", self.beams, 1)
        in_range("decoding.length_penalty", self.length_penalty, 0)
        in_range("decoding.guidance", self.guidance, 0)


class TextStyleCVAE(ConditionalELBO):
    """q(z | x, c) and p(x | z, c) of sentences of T tokens; z is the concatenation of M vectors.

    Args:
        condition: condition encoder.
        tokenizer: text <-> tokens. In a configuration it comes from the data.
        length: longest sentence in tokens. In a configuration it comes from the data.
        latent_dim: D, the size of all M vectors together.
        vectors: M, the number of latent vectors of a sentence.
        stride: 0 lets every vector pool the whole sentence; above 0, vector m pools `stride` tokens from m * stride on.
        latent: false decodes without z: a conditional language model of the same size.
        architecture: makes the encoder and the decoder.
        word_dropout: share of the decoder's input tokens masked in training, so that z has to encode them.
        hidden_tokens: tokens masked in the encoder's input, because they reveal the style.
        bag_of_words: weight of -log p_bow(x | z, c), which predicts the tokens from z in any order (Zhao et al. 2017,
            section 3.3); with a stride, each vector predicts the tokens that it pools.
        rewrites: number of test sentences that the test rewrites for every pair of styles.
        language_model_steps: first steps, which train the decoder without z. Weights that were saved in these steps are
            those of a language model: they are tested and sampled from without z.
        decoding: how sentences are generated.
        checkpointing: keeps a layer's input alone for the backward pass and computes the layer again in it: less
            memory, longer steps, the same gradients. Of a pretrained pair, the encoder does so.
        evaluation: sample counts and seed of validation and test.
        base: as in `ConditionalELBO`.
    """

    changeable = (*ConditionalELBO.changeable, "rewrites", "decoding", "language_model_steps", "word_dropout")
    draws_samples = True  # the most probable sentence is a poor sample
    condition: StyleEncoder
    encoder: Any
    # Numbers of 0 and 1: averages of weights include buffers, and there is no average of truth values.
    hidden: Tensor  # [V], 1 for hidden_tokens
    warm_start: Tensor  # language_model_phase, stored beside the weights

    def __init__(
        self,
        condition: StyleEncoder,
        tokenizer: Tokenizer,
        length: int = 48,
        latent_dim: int = 32,
        vectors: int = 1,
        stride: int = 0,
        latent: bool = True,
        architecture: Architecture = Compact(),  # noqa: B008 (frozen)
        word_dropout: float = 0.0,
        hidden_tokens: list[int] | None = None,
        bag_of_words: float = 0.0,
        language_model_steps: int = 0,
        rewrites: int = 200,
        decoding: Decoding = Decoding(),
        checkpointing: bool | None = None,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        **base: Any,
    ) -> None:
        least = {"length": 2, "latent_dim": 1, "vectors": 1, "stride": 0, "language_model_steps": 0, "rewrites": 0}
        given = (length, latent_dim, vectors, stride, language_model_steps, rewrites)
        for (name, low), value in zip(least.items(), given, strict=True):
            in_range(f"model.{name}", value, low)
        in_range("model.word_dropout", word_dropout, 0, 1)
        in_range("model.bag_of_words", bag_of_words, 0)
        if latent_dim % vectors:
            raise ValueError(f"latent_dim ({latent_dim}) must be a multiple of vectors ({vectors})")
        if not latent:  # without z, one importance sample is exact
            evaluation = replace(evaluation, num_samples=1, gain_samples=1)
        super().__init__(condition, latent_dim=latent_dim, shape=None, evaluation=evaluation, **base)
        self.tokenizer, self.length, self.vectors = tokenizer, length, vectors
        self.latent, self.stride, self.word_dropout, self.decoding = latent, stride, word_dropout, decoding
        self.bag_of_words, self.language_model_steps = bag_of_words, language_model_steps
        self.register_buffer("warm_start", torch.zeros((), dtype=torch.int64))
        self.language_model_phase = False
        self.rewrites = rewrites
        size = latent_dim // vectors
        source_dim = condition.source.width if condition.source is not None else 0
        sizes = DecoderSizes(length, vectors, size, condition.dim, source_dim)
        self.encoder = architecture.encoder(tokenizer, length, condition.dim)
        width: int = self.encoder.width
        self.pooling = Pooling(width, vectors, 2 * size, heads=4, stride=stride)
        self.decoder: Any = architecture.decoder(tokenizer, sizes)
        self.copies = getattr(self.decoder, "copy_latent", None) is not None
        if self.copies and not stride:
            raise ValueError("architecture.copy_latent copies tokens of each vector: it needs a stride above 0")
        if bag_of_words or self.copies:
            inputs = (size if stride else latent_dim) + condition.dim
            barrier = no_probability(tokenizer.special, len(tokenizer))
            self.words = LatentWords(inputs, self.encoder.table.shape[1], barrier)
        parts = [part for part in self.modules() if isinstance(part, Checkpointed)]
        if checkpointing and not parts:
            raise ValueError(
                f"model.checkpointing: {type(architecture).__name__} has no part that can be computed again"
            )
        for part in parts if checkpointing else []:
            part.checkpoint()
        hidden = torch.zeros(len(tokenizer), dtype=torch.int64)
        hidden[hidden_tokens or []] = 1
        self.register_buffer("hidden", hidden, persistent=False)

    # Methods of the base class.

    def encode(self, x: Tensor, c: Condition) -> Independent:
        """q(z | x, c) for tokens x [B, T]; N(0, I) where the model decodes without z."""
        if self.ignores_latent:
            size = self.latent_prior.size
            return diagonal_normal(torch.zeros(len(x), 2 * size, device=x.device))
        tokens = x.long()
        visible = tokens.masked_fill(self.hidden[tokens] > 0, self.tokenizer.mask)
        states = self.encoder(visible, c.vector)
        mean, log_scale = self.pooling(states, tokens != self.tokenizer.pad).chunk(2, dim=-1)
        return diagonal_normal(torch.cat([mean.flatten(1), log_scale.flatten(1)], dim=-1))

    def decode(self, z: Tensor, c: Condition) -> TokenSequence:
        """p(x | z, c) for z [..., B, D]."""
        vectors = None if self.ignores_latent else z.flatten(0, -2).unflatten(-1, (self.vectors, -1))
        vector = expand(c.vector, z).flatten(0, -2)
        words = self._words(vectors, vector) if self.copies and vectors is not None else None
        context = self.decoder.context(vectors, vector, c.source, words)
        dropout = self.word_dropout if self.training else 0.0
        return TokenSequence(self.decoder, context, z.shape[:-1], self.tokenizer, dropout)

    def sample_or_mean(self, likelihood: Distribution, draw: bool) -> Tensor:
        """Sentences [..., B, T]: sampled, or the most probable one that the search finds."""
        assert isinstance(likelihood, TokenSequence)
        if draw:
            return likelihood.sample((), self.decoding.temperature, self.decoding.top_p)
        if self.decoding.beams > 1:
            return likelihood.beam(self.decoding.beams, self.decoding.length_penalty)
        return likelihood.mode

    def set_decoding(self, **options: Any) -> None:
        """Changes how sentences are generated; options as in `Decoding`."""
        self.decoding = replace(self.decoding, **options)

    def texts(self, tokens: Tensor) -> list[str]:
        """Sentences [N, T] as text."""
        return self.tokenizer.decode(tokens)

    def transfer(
        self, batch: Batch, condition: Mapping[str, Any], guidance: float | None = None, draw: bool = False
    ) -> Tensor:
        """Sentences under another condition, [B, T].

        z comes from the posterior of x under its own condition and is decoded under the other. A translation model
        takes a sentence without a source as the source: p(x' | source = x, c') with z at the mean of its prior, or
        sampled from it.

        Args:
            batch: B sentences with their own conditions.
            condition: values of the fields that change, as in `sample`.
            guidance: as in `sample`; None takes that of `decoding`.
            draw: samples the sentence (and z of a translation) instead of searching for the most probable one.
        """
        guidance = self.decoding.guidance if guidance is None else guidance
        if self.condition.source is None or SOURCE in batch.condition:
            return super().transfer(batch, condition, guidance, draw)
        fields = {**batch.condition, **self.raw_fields(condition, batch), SOURCE: batch.x}
        return self.sample(fields, 1, 1.0 if draw else 0.0, guidance, draw)[0]

    def best_of(self, condition: Mapping[str, Any], count: int, num_samples: int = 50, seed: int = 0) -> Tensor:
        """The most probable of `count` sentences sampled under each condition, [B, T].

        They are compared by importance-sampled log p(x | c) per token, which does not favour short sentences.

        Args:
            condition: values by name, as in `sample`.
            count: sentences to choose from.
            num_samples: number of importance samples.
            seed: seed of the importance samples.
        """
        fields = self.raw_fields(condition)
        drawn = self.sample(fields, count)
        scores = []
        for sentences in drawn:
            batch = Batch(sentences, fields)
            scores.append(self.log_likelihood(batch, num_samples, seed) / self.lengths(sentences))
        chosen = torch.stack(scores).argmax(0)
        return drawn[chosen, torch.arange(drawn.shape[1], device=drawn.device)]

    def lengths(self, tokens: Tensor) -> Tensor:
        """Number of tokens of each sentence [B, T], `eos` included."""
        return (tokens != self.tokenizer.pad).sum(-1)

    # One token after the other, for other runtimes.

    def first_tokens(self, count: int) -> Tensor:
        """The token that begins each of `count` sentences, [count, 1]."""
        return torch.full((count, 1), self.tokenizer.bos, device=self._where)

    def next_token(self, tokens: Tensor, z: Tensor, c: Condition) -> Tensor:
        """Log-probabilities [B, V] of the token after `tokens` [B, T], which begin with `first_tokens`."""
        likelihood = self.decode(z, c)
        log_p: Tensor = self.decoder(tokens, likelihood.context)[:, -1]
        return log_p

    def vocabulary(self) -> dict[str, Any]:
        """The tokenizer as JSON, the special tokens, and the longest sentence in tokens."""
        named = {name: getattr(self.tokenizer, name) for name in ("pad", "bos", "eos", "mask")}
        return {"tokenizer": self.tokenizer.json, **named, "length": self.length}

    # Against posterior collapse.

    @property
    def ignores_latent(self) -> bool:
        """Whether the decoder works without z: always, or during the warm start as a language model."""
        return not self.latent or self.language_model_phase

    @property
    def language_model_phase(self) -> bool:
        """Whether the weights are those of the warm start, in which the decoder works without z."""
        return self._language_model_phase

    @language_model_phase.setter
    def language_model_phase(self, value: bool) -> None:
        self._language_model_phase = value  # read in every step: reading the buffer would wait for the device
        self.warm_start.fill_(value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        stored = state_dict.setdefault(f"{prefix}warm_start", torch.zeros_like(self.warm_start))  # older ones lack it
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._language_model_phase = bool(stored)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Ends the warm start after `language_model_steps` steps."""
        self.language_model_phase = self.global_step < self.language_model_steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """As in the base. DDP waits for the gradient of every parameter: those without a part in the step get zeros."""
        loss = super().training_step(batch, batch_idx)
        idle = self._idle()
        return loss + torch.stack([parameter.flatten()[:0].sum() for parameter in idle]).sum() if idle else loss

    def on_after_backward(self) -> None:
        """The optimiser leaves these parameters alone, as it does on one process."""
        for parameter in self._idle():
            parameter.grad = None

    def _idle(self) -> list[nn.Parameter]:
        """The parameters without a part in a step, where several processes train."""
        if not self.ignores_latent or self._trainer is None or self._trainer.world_size == 1:
            return []
        return [p for name, p in self.named_parameters() if name.startswith(OF_LATENT) and p.requires_grad]

    def on_train_end(self) -> None:
        """Warns where training ended within the warm start."""
        super().on_train_end()
        if self.language_model_phase and self.latent:
            rank_zero_warn(
                f"training ended after {self.global_step} steps, within the {self.language_model_steps} of its warm "
                "start (model.language_model_steps): z was never trained, and the model writes without it. Lower "
                "model.language_model_steps, and the delay of objective.beta with it, or train longer",
                category=UserWarning,
            )

    def auxiliary(self, batch: Batch, samples: PosteriorSamples) -> dict[str, Tensor]:
        """As in the base, with the bag-of-words term."""
        terms = super().auxiliary(batch, samples)
        if self.bag_of_words and not self.ignores_latent:
            terms["bag_of_words"] = self.bag_of_words * self._bag_loss(batch, samples)
        return terms

    def _words(self, z: Tensor, vector: Tensor) -> Words:
        """p(word | z, c) of vectors z [N, M, D] under condition vectors [N, C]."""
        words: Words = self.words(z, vector, self.encoder.table)
        return words

    def _bag_loss(self, batch: Batch, samples: PosteriorSamples) -> Tensor:
        """-log p_bow(x | z, c); with a stride, of the encoder's input, each token under its own vector."""
        z, target, c = samples.z[0], batch, samples.condition
        if self.stride:
            target, c = samples.encoder_input, samples.encoder_condition
        tokens, vector = target.x.long(), c.vector
        owner = torch.zeros(tokens.shape[1], dtype=torch.int64, device=tokens.device)
        vectors = z.unsqueeze(1)
        if self.stride:
            used = min(-(-tokens.shape[1] // self.stride), self.vectors)
            vectors = z.unflatten(-1, (self.vectors, -1))[:, :used]
            owner = (torch.arange(tokens.shape[1], device=tokens.device) // self.stride).clamp_max(used - 1)
        chosen = self._words(vectors, vector).of(tokens).gather(1, owner.expand(len(tokens), 1, -1)).squeeze(1)
        return -chosen.masked_fill(tokens == self.tokenizer.pad, 0.0).sum(-1).mean()
