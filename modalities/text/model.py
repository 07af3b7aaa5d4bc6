"""TextStyleCVAE: a conditional VAE of sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torch.distributions import Distribution, Independent

from common.batch import Batch
from common.conditions.attributes import SOURCE
from common.configurable import Configurable
from common.distributions.posterior import diagonal_normal
from common.distributions.priors import Prior
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media
from common.nn.film import expand
from common.objectives.invariance import Removal
from common.objectives.objectives import ELBO, Draws, Objective
from common.results import Measurement
from common.training.module import ConditionalELBO
from modalities.text.condition import StyleEncoder
from modalities.text.data.files import read_texts, write_texts
from modalities.text.evaluation.figures import text_figures, text_tables
from modalities.text.likelihood import TokenSequence
from modalities.text.networks.architectures import Architecture, Compact, DecoderSizes
from modalities.text.networks.attention import Pooling
from modalities.text.networks.compact import no_probability
from modalities.text.networks.copying import LatentWords, Words
from modalities.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Decoding(Configurable):
    """How sentences are written.

    Attributes:
        temperature: of drawn tokens; below 1 keeps to likelier ones.
        top_p: draws from the fewest tokens that together have this probability.
        beams: width of the beam search that stands for the mean of p(x | z, c); 1 is greedy.
        length_penalty: beams are compared by log-probability / length ** length_penalty.
        guidance: of rewriting: the wanted style's weight against none, as in `sample`; above 1 trades content for
            style.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    beams: int = 1
    length_penalty: float = 1.0
    guidance: float = 1.0


class TextStyleCVAE(ConditionalELBO):
    """q(z | x, c), p(x | z, c) of sentences as tokens [T]; z is M vectors side by side.

    Args:
        condition: condition encoder.
        tokenizer: text <-> tokens. In a configuration it comes from the data.
        length: longest sentence in tokens. In a configuration it comes from the data.
        latent_dim: D, the size of all M vectors together.
        vectors: M.
        stride: 0 lets every vector read the whole sentence; above 0, vector m reads the tokens from m * stride on.
        latent: false decodes without z: a conditional language model of the same size. Its encoder gets no gradient,
            so that DDP needs `find_unused_parameters`.
        architecture: what the networks are made of.
        word_dropout: share of the decoder's input tokens hidden in training: z has to say them.
        hidden_tokens: tokens that the encoder is not shown, because they give the style away.
        bag_of_words: weight of -log p_bow(x | z, c), which predicts the tokens from z in any order (Zhao et al. 2017,
            section 3.3); with a stride, each vector predicts the tokens that it was read from.
        rewrites: test sentences that the test rewrites for every pair of styles.
        language_model_steps: steps at the start that train the decoder without z; under DDP as `latent: false`.
        decoding: how sentences are written.
        prior: p(z | c); N(0, I) where none is given.
        objective: what training minimises.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser.
        compile: compiles the networks in place with torch.compile.
        evaluation: sample counts and seed of validation and test.
        removal: takes the style out of z.
    """

    shown = "draws from p(x|z,c)"
    condition: StyleEncoder
    encoder: Any
    hidden: Tensor

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
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        removal: Removal | None = None,
    ) -> None:
        if latent_dim % vectors:
            raise ValueError(f"latent_dim ({latent_dim}) must be a multiple of vectors ({vectors})")
        if not latent:  # one importance sample is exact
            evaluation = replace(evaluation, num_samples=1, gain_samples=1)
        super().__init__(
            condition, prior, objective, optimizer, scheduler, compile, latent_dim, None, evaluation, removal
        )
        self.tokenizer, self.length, self.vectors = tokenizer, length, vectors
        self.latent, self.stride, self.word_dropout, self.decoding = latent, stride, word_dropout, decoding
        self.bag_of_words, self.language_model_steps = bag_of_words, language_model_steps
        self.language_model_phase = False
        self.rewrites = rewrites
        size = latent_dim // vectors
        source_dim = condition.source.width if condition.source is not None else 0
        sizes = DecoderSizes(length, vectors, size, condition.vector_dim, source_dim)
        self.encoder = architecture.encoder(tokenizer, length, condition.vector_dim)
        width: int = self.encoder.width
        self.pooling = Pooling(width, vectors, 2 * size, heads=4, stride=stride)
        self.decoder: Any = architecture.decoder(tokenizer, sizes)
        self.copies = getattr(self.decoder, "copy_latent", None) is not None
        if self.copies and not stride:
            raise ValueError("architecture.copy_latent copies tokens of each vector: it needs a stride above 0")
        if bag_of_words or self.copies:
            inputs = (size if stride else latent_dim) + condition.vector_dim
            barrier = no_probability(tokenizer.special, len(tokenizer))
            self.words = LatentWords(inputs, self.encoder.table.shape[1], barrier)
        hidden = torch.zeros(len(tokenizer), dtype=torch.bool)
        hidden[hidden_tokens or []] = True
        self.register_buffer("hidden", hidden, persistent=False)

    # What the base asks for.

    def encode(self, x: Tensor, c: Tensor) -> Independent:
        """q(z | x, c) for tokens x [B, T] and c [B, C]; N(0, I) where the model decodes without z."""
        if self.without_latent:
            size = self.latent_prior.size
            return diagonal_normal(torch.zeros(len(x), 2 * size, device=x.device))
        tokens = x.long()
        shown = tokens.masked_fill(self.hidden[tokens], self.tokenizer.mask)
        states = self.encoder(shown, self.condition.split(c).vector)
        mean, log_scale = self.pooling(states, tokens != self.tokenizer.pad).chunk(2, dim=-1)
        return diagonal_normal(torch.cat([mean.flatten(1), log_scale.flatten(1)], dim=-1))

    def decode(self, z: Tensor, c: Tensor) -> TokenSequence:
        """p(x | z, c) for z [..., B, D] and c [B, C]."""
        given = self.condition.split(c)
        vectors = None if self.without_latent else z.flatten(0, -2).unflatten(-1, (self.vectors, -1))
        vector = expand(given.vector, z).flatten(0, -2)
        words = self._words(vectors, vector) if self.copies and vectors is not None else None
        memory = self.decoder.remember(vectors, vector, given.source, given.source_tokens, words)
        dropout = self.word_dropout if self.training else 0.0
        return TokenSequence(self.decoder, memory, z.shape[:-1], self.tokenizer, dropout)

    def prior(self, c: Tensor) -> Distribution:
        """p(z | c)."""
        return self.latent_prior(self.condition.split(c).vector)

    @property
    def prior_condition_dim(self) -> int:
        """Size of the condition's vector: the prior sees no source sentence."""
        return self.condition.vector_dim

    def between(self, first: Tensor, second: Tensor, share: float) -> Tensor:
        """Mixed styles; of two source sentences the nearer one, because tokens do not mix."""
        nearer = first if share < 0.5 else second
        vector = torch.lerp(first, second, share)[:, : self.condition.vector_dim]
        return torch.cat([vector, nearer[:, self.condition.vector_dim :]], dim=-1)

    def realise(self, likelihood: Distribution, draw: bool) -> Tensor:
        """Sentences [..., B, T]: drawn, or the likeliest that the search finds."""
        assert isinstance(likelihood, TokenSequence)
        if draw:
            return likelihood.sample((), self.decoding.temperature, self.decoding.top_p)
        if self.decoding.beams > 1:
            return likelihood.beam(self.decoding.beams, self.decoding.length_penalty)
        return likelihood.mode

    def texts(self, tokens: Tensor) -> list[str]:
        """Sentences [N, T] as text."""
        return self.tokenizer.decode(tokens)

    def transfer(self, batch: Batch, condition: Mapping[str, Any], guidance: float = 1.0, draw: bool = False) -> Tensor:
        """Sentences under another condition, [B, T].

        The posterior of x under its own condition, decoded under the other. A model of translations takes a sentence
        that comes without a source for the source itself: p(x' | source = x, c') with z at the mean of its prior, or
        drawn from it.

        Args:
            batch: B sentences with their own conditions.
            condition: the fields that change.
            guidance: as in `sample`.
            draw: draws sentences (and, of a translation, z) instead of searching for the likeliest.
        """
        if self.condition.source is None or SOURCE in batch.condition:
            return super().transfer(batch, condition, guidance, draw)
        fields = {**batch.condition, **condition, SOURCE: batch.x}
        return self.sample(fields, 1, 1.0 if draw else 0.0, guidance, draw)[0]

    def sample(
        self,
        condition: Mapping[str, Any],
        num_samples: int = 1,
        temperature: float = 1.0,
        guidance: float = 1.0,
        draw: bool = True,
    ) -> Tensor:
        """As in the base, but x is drawn where not asked otherwise: the likeliest sentence is a poor sample."""
        return super().sample(condition, num_samples, temperature, guidance, draw)

    def best_of(self, condition: Mapping[str, Any], count: int, num_samples: int = 50, seed: int = 0) -> Tensor:
        """Of `count` sentences drawn under each condition, the one that the model itself finds likeliest, [B, T].

        They are compared by importance-sampled log p(x | c) per token, so that length does not decide.

        Args:
            condition: raw fields, as in `sample`.
            count: sentences to choose from.
            num_samples: importance samples.
            seed: of the importance samples.
        """
        drawn = self.sample(condition, count)
        fields = self._fields(condition)
        scores = []
        for sentences in drawn:
            batch = Batch(sentences, fields)
            scores.append(self.log_likelihood(batch, num_samples, seed) / self.lengths(sentences))
        chosen = torch.stack(scores).argmax(0)
        return drawn[chosen, torch.arange(drawn.shape[1], device=drawn.device)]

    def lengths(self, tokens: Tensor) -> Tensor:
        """Tokens of each sentence [B, T], its end included."""
        return (tokens != self.tokenizer.pad).sum(-1)

    def figures(self, table: dict[str, Tensor]) -> dict[str, Measurement]:
        """Perplexity a token, diversity and fluency of samples, and rewriting between all pairs of styles."""
        return text_figures(self, table)

    def media(self, batch: Batch) -> Media:
        """Sentences with their reconstructions and rewritings, and samples under every style."""
        return Media(tables=text_tables(self, batch))

    def write(self, samples: Tensor, path: Path) -> None:
        """Sentences [N, T] as text, one a line, or as JSONL."""
        write_texts(self.texts(samples), path)

    def read(self, path: Path) -> Tensor:
        """Lines of a text file (`-` is the standard input) as sentences [N, T]."""
        return read_texts(path, self.tokenizer, self.length)

    # Against posterior collapse.

    @property
    def without_latent(self) -> bool:
        """Whether the decoder works as a language model: for good, or in the warm start."""
        return not self.latent or self.language_model_phase

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Ends the warm start."""
        self.language_model_phase = self.global_step < self.language_model_steps

    def auxiliary(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """The bag-of-words term."""
        if not self.bag_of_words or self.without_latent:
            return {}
        return {"bag_of_words": self.bag_of_words * self._bag_loss(batch, draws.z[0])}

    def _words(self, z: Tensor, vector: Tensor) -> Words:
        """The words that vectors z [N, M, D] stand for under a condition's vector [N, C]."""
        words: Words = self.words(z, vector, self.encoder.table)
        return words

    def _bag_loss(self, batch: Batch, z: Tensor) -> Tensor:
        """-log p_bow(x | z, c); with a stride, of what z [B, D] was read from, each token under its own vector."""
        read = self.evidence(batch) if self.stride else batch
        tokens, vector = read.x.long(), self.condition.split(self.embed(read)).vector
        owner = torch.zeros(tokens.shape[1], dtype=torch.int64, device=tokens.device)
        vectors = z.unsqueeze(1)
        if self.stride:
            used = min(-(-tokens.shape[1] // self.stride), self.vectors)
            vectors = z.unflatten(-1, (self.vectors, -1))[:, :used]
            owner = (torch.arange(tokens.shape[1], device=tokens.device) // self.stride).clamp_max(used - 1)
        chosen = self._words(vectors, vector).of(tokens).gather(1, owner.expand(len(tokens), 1, -1)).squeeze(1)
        return -chosen.masked_fill(tokens == self.tokenizer.pad, 0.0).sum(-1).mean()
