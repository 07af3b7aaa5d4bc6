"""p(x | z, c) of sentences, token by token: likelihood, sampling, greedy decoding and beam search."""

from collections.abc import Callable
from functools import partial
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from common.conditions.condition import Source
from modalities.text.networks.context import DecoderContext, KeyValueCache
from modalities.text.networks.copying import Words
from modalities.text.tokenizer import Tokenizer

SCORED_TOKENS = 4096  # tokens at once without gradients, so that their log-probabilities fit into the cache
Size = torch.Size | list[int] | tuple[int, ...]


class Decoder(Protocol):
    """A causal network over sentences of at most `length` tokens."""

    length: int

    def context(
        self,
        z: Tensor | None,
        c: Tensor,
        source: Source | None = None,
        words: Words | None = None,
    ) -> DecoderContext:
        """Everything the decoder knows before the first token."""

    def __call__(self, tokens: Tensor, context: DecoderContext, cache: KeyValueCache | None = None) -> Tensor:
        """Log-probabilities [N, T, V] of the token that follows each of `tokens` [N, T]."""

    def score(self, tokens: Tensor, target: Tensor, context: DecoderContext) -> Tensor:
        """Log-probabilities [N, T] of `target` [N, T], each given the tokens [N, T] up to its position."""


class TokenSequence(Distribution):
    """A distribution over sentences: tokens up to the first `eos`, then padding, which has log-probability 0.

    Batch shape [..., B]; a value is [B, T] with any T that the sentences fit into.

    Args:
        decoder: supplies the next token's log-probabilities.
        context: what the decoder knows before the first token, for N = prod(batch_shape) rows.
        batch_shape: [..., B].
        tokenizer: supplies the special tokens.
        word_dropout: share of the decoder's input tokens that are masked (Bowman et al. 2016, section 3.1).
        null: context under the null condition, for guidance.
        guidance: weight of this condition against the null one; 1 is no guidance.
    """

    arg_constraints: ClassVar = {}
    has_rsample = False

    def __init__(
        self,
        decoder: Decoder,
        context: DecoderContext,
        batch_shape: Size,
        tokenizer: Tokenizer,
        word_dropout: float = 0.0,
        null: DecoderContext | None = None,
        guidance: float = 1.0,
    ) -> None:
        self.decoder, self.context, self.tokenizer = decoder, context, tokenizer
        self.word_dropout, self.null, self.guidance = word_dropout, null, guidance
        # The decoder runs under the autocast settings of this moment; log-probabilities are summed in float32.
        device = context.device.type
        self.precision = partial(
            torch.autocast, device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        )
        super().__init__(torch.Size(batch_shape), torch.Size([decoder.length]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Sequences of token numbers."""
        return constraints.independent(constraints.integer_interval(0, len(self.tokenizer) - 1), 1)

    def extrapolate(self, null: "TokenSequence", weight: float) -> "TokenSequence":
        """Guidance: each step's log-probabilities, extrapolated from those under the null condition, renormalised."""
        return TokenSequence(
            self.decoder, self.context, self.batch_shape, self.tokenizer, 0.0, null=null.context, guidance=weight
        )

    def _next(self, tokens: Tensor, rows: slice, caches: tuple[KeyValueCache, KeyValueCache] | None = None) -> Tensor:
        own, other = caches or (None, None)
        with self.precision():
            log_p = self.decoder(tokens, self.context[rows], own)
            if self.null is None:
                return log_p
            null = self.decoder(tokens, self.null[rows], other)
        return torch.log_softmax(torch.lerp(null, log_p, self.guidance), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x | z, c) in nats, [..., B], for sentences [B, T]."""
        return self.token_log_prob(value).sum(-1)

    def token_log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each token given those before it, [..., B, T]; 0 at padding."""
        value = value.expand(*self.batch_shape, value.shape[-1])
        rows = value.reshape(-1, value.shape[-1]).long()
        if torch.is_grad_enabled():
            return self._scored(rows, slice(None)).unflatten(0, self.batch_shape)
        size = max(1, SCORED_TOKENS // rows.shape[1])
        chunks = [slice(start, start + size) for start in range(0, len(rows), size)]
        return torch.cat([self._scored(rows[chunk], chunk) for chunk in chunks]).unflatten(0, self.batch_shape)

    def _scored(self, target: Tensor, chunk: slice) -> Tensor:
        """Log-probability of each token of some rows, [n, T]."""
        if self.null is None:
            with self.precision():
                chosen = self.decoder.score(self._shifted(target), target, self.context[chunk])
        else:
            chosen = self._next(self._shifted(target), chunk).gather(-1, target.unsqueeze(-1)).squeeze(-1)
        return chosen.masked_fill(target == self.tokenizer.pad, 0.0)

    def _shifted(self, target: Tensor) -> Tensor:
        """The decoder's input: `bos` and all tokens but the last, some of them masked by word dropout."""
        inputs = nn.functional.pad(target[:, :-1], (1, 0), value=self.tokenizer.bos)
        if self.word_dropout:
            masked = torch.rand(inputs.shape, device=inputs.device) < self.word_dropout
            masked[:, 0] = False
            inputs = inputs.masked_fill(masked & (inputs != self.tokenizer.pad), self.tokenizer.mask)
        return inputs

    @property
    def mode(self) -> Tensor:
        """Greedy decoding, [..., B, T]: the most probable token at every step. It replaces the mean of other data."""
        return self._decode(lambda log_p: log_p.argmax(-1))

    def sample(
        self, sample_shape: Size = (), temperature: float = 1.0, top_p: float = 1.0, cached: bool = True
    ) -> Tensor:
        """Sentences sampled token by token, [*sample_shape, ..., B, T].

        Args:
            sample_shape: number of draws.
            temperature: divides the log-probabilities; below 1 favours more probable tokens, 0 takes the most probable
                one.
            top_p: samples from the fewest tokens with this total probability (Holtzman et al. 2020, section 3.1).
            cached: caches keys and values of earlier tokens; otherwise every step recomputes the whole sentence.
        """
        choose = partial(_draw, temperature=temperature, top_p=top_p)
        draws = [self._decode(choose, cached) for _ in range(torch.Size(sample_shape).numel())]
        return torch.stack(draws).reshape(*sample_shape, *draws[0].shape)

    @torch.no_grad()
    def _decode(self, choose: Callable[[Tensor], Tensor], cached: bool = True) -> Tensor:
        count, length = self.batch_shape.numel(), self.decoder.length
        device = self.context.device
        sentences = torch.full((count, length), self.tokenizer.pad, dtype=torch.int32, device=device)
        token = torch.full((count, 1), self.tokenizer.bos, device=device)
        ended = torch.zeros(count, dtype=torch.bool, device=device)
        caches = (KeyValueCache(), KeyValueCache()) if cached else None
        for step in range(length):
            log_p = self._next(token, slice(None), caches)[:, -1]
            chosen = choose(log_p) if step < length - 1 else torch.full_like(token[:, 0], self.tokenizer.eos)
            chosen = torch.where(ended, self.tokenizer.pad, chosen)
            sentences[:, step] = chosen
            ended |= chosen == self.tokenizer.eos
            if ended.all():
                break
            token = chosen.unsqueeze(1) if cached else torch.cat([token, chosen.unsqueeze(1)], dim=1)
        return sentences.unflatten(0, self.batch_shape)

    @torch.no_grad()
    def beam(self, width: int = 4, length_penalty: float = 1.0) -> Tensor:
        """Beam search: the best finished sentence found for each row, [..., B, T].

        Args:
            width: number of beams.
            length_penalty: finished sentences are compared by log-probability / length ** length_penalty.
        """
        count, length = self.batch_shape.numel(), self.decoder.length
        device = self.context.device
        rows = torch.arange(count, device=device).repeat_interleave(width)
        wide = TokenSequence(
            self.decoder,
            self.context[rows],
            (count * width,),
            self.tokenizer,
            null=None if self.null is None else self.null[rows],
            guidance=self.guidance,
        )
        sentences = torch.full((count, width, length), self.tokenizer.pad, dtype=torch.int64, device=device)
        scores = torch.full((count, width), float("-inf"), device=device)
        scores[:, 0] = 0.0  # all beams of a row start equal: only the first may branch
        ended = torch.zeros(count, width, dtype=torch.bool, device=device)
        lengths = torch.zeros(count, width, device=device)
        token = torch.full((count * width, 1), self.tokenizer.bos, device=device)
        caches = (KeyValueCache(), KeyValueCache())
        vocabulary = len(self.tokenizer)
        for step in range(length):
            log_p = wide._next(token, slice(None), caches)[:, -1].unflatten(0, (count, width))
            if step == length - 1:  # only the end of the sentence may follow
                only_end = torch.full_like(log_p, float("-inf"))
                only_end[..., self.tokenizer.eos] = log_p[..., self.tokenizer.eos]
                log_p = only_end
            # A finished beam continues with padding alone, at log-probability 0.
            log_p = log_p.masked_fill(ended.unsqueeze(-1), float("-inf"))
            log_p[..., self.tokenizer.pad] = torch.where(ended, 0.0, log_p[..., self.tokenizer.pad])
            grown = (lengths + (~ended).float()).clamp_min(1.0)
            totals = scores.unsqueeze(-1) + log_p
            ranked = (totals / grown.unsqueeze(-1) ** length_penalty).flatten(1)
            best = ranked.topk(width, dim=1).indices
            parent, chosen = best // vocabulary, best % vocabulary
            scores = totals.flatten(1).gather(1, best)
            sentences = sentences.gather(1, parent.unsqueeze(-1).expand(-1, -1, length))
            lengths = grown.gather(1, parent)
            ended = ended.gather(1, parent) | (chosen == self.tokenizer.eos)
            sentences[:, :, step] = chosen
            if ended.all():
                break
            order = (torch.arange(count, device=device).unsqueeze(1) * width + parent).flatten()
            for cache in caches:
                cache.select(order)
            token = chosen.reshape(-1, 1)
        winner = (scores / lengths.clamp_min(1.0) ** length_penalty).argmax(1)
        chosen_sentences = sentences[torch.arange(count, device=device), winner].int()
        return chosen_sentences.unflatten(0, self.batch_shape)


def _draw(log_p: Tensor, top_p: float, temperature: float = 1.0) -> Tensor:
    """A token sampled for each row of log-probabilities [N, V]."""
    if temperature == 0.0:
        return log_p.argmax(-1)
    probabilities = torch.softmax(log_p / temperature, dim=-1)
    if top_p < 1.0:
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        probabilities = probabilities.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
    return torch.multinomial(probabilities, 1).squeeze(-1)
