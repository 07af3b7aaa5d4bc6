"""Compact pre-norm transformers on `scaled_dot_product_attention`.

Shapes: N rows, T tokens, S source tokens, P prefix slots, M latent vectors, H heads, E width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from common.conditions.condition import Source
from modalities.text.networks.attention import Block, LatentReader
from modalities.text.networks.checkpointing import Checkpointed
from modalities.text.networks.context import DecoderContext, KeyValueCache, joined, tile
from modalities.text.networks.copying import CopyGate, LatentCopyGate, Words


class TextEncoder(nn.Module):
    """A bidirectional transformer: tokens [N, T] -> states [N, T, E].

    Args:
        vocabulary: V.
        length: longest sentence in tokens.
        pad: padding token.
        width: E.
        heads: H.
        layers: number of blocks.
        dropout: dropout rate of embeddings and residual paths.
        condition_dim: C, the size of a condition that becomes one more position of the input; 0 is none.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        pad: int,
        width: int,
        heads: int,
        layers: int,
        dropout: float = 0.0,
        condition_dim: int = 0,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.condition = nn.Linear(condition_dim, width) if condition_dim else None
        self.layers: Any = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    @property
    def table(self) -> Tensor:
        """Embeddings of all tokens, [V, E]."""
        return self.embedding.weight

    def forward(self, tokens: Tensor, c: Tensor | None = None) -> Tensor:
        """States of tokens [N, T] under a condition [N, C]; those of padding are meaningless."""
        h = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        real = tokens != self.pad
        if self.condition is not None and c is not None:
            h = torch.cat([self.condition(c).unsqueeze(1), h], dim=1)
            real = nn.functional.pad(real, (1, 0), value=True)
        mask = real[:, None, None, :]
        for block in self.layers:
            h = block.over(h, mask)
        return self.norm(h)[:, -tokens.shape[1] :]


class TextDecoder(Checkpointed):
    """A causal transformer with tied embeddings: log-probabilities of each next token.

    The latent's M vectors and the condition become one slot each of keys and values in every layer (prefix tuning: Li
    and Liang 2021, section 4.2; for VAEs: OPTIMUS, Li et al. 2020, "memory"). With a source sentence, cross-attention
    reads it, and a gate may copy its tokens (See, Liu and Manning 2017, equations 8 and 9).

    Args:
        vocabulary: V.
        length: longest sentence in tokens.
        bos: token that decoding starts from.
        pad: padding token.
        width: E.
        heads: H.
        layers: number of blocks.
        vectors: M, the number of latent vectors of a sentence.
        vector_dim: size of one latent vector.
        condition_dim: C.
        dropout: dropout rate of embeddings and residual paths.
        inject: how latent and condition enter: "prefix", "addition" to the embeddings, or "both".
        source_dim: width of a source sentence's states; 0 is none.
        copy: adds the copy gate over the source sentence.
        copy_latent: adds the copy gate over words predicted from the latent vectors.
        latent_layers: blocks of a `LatentReader`, whose states replace the latent vectors; 0 is none.
        special: tokens that no sentence contains, which get no probability.
    """

    barrier: Tensor

    def __init__(
        self,
        vocabulary: int,
        length: int,
        bos: int,
        pad: int,
        width: int,
        heads: int,
        layers: int,
        vectors: int,
        vector_dim: int,
        condition_dim: int,
        dropout: float = 0.0,
        inject: str = "prefix",
        source_dim: int = 0,
        copy: bool = False,
        copy_latent: bool = False,
        latent_layers: int = 0,
        special: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.bos, self.pad, self.width, self.vectors, self.length = bos, pad, width, vectors, length
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer("barrier", no_probability(special, vocabulary), persistent=False)
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.layers: Any = nn.ModuleList(Block(width, heads, dropout, source_dim > 0) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.inject = inject
        self.reader = None
        if latent_layers:
            word_dim = width if copy_latent else 0
            self.reader = LatentReader(
                vectors, vector_dim, condition_dim, width, heads, latent_layers, dropout, word_dim
            )
            vector_dim = width
        if inject != "addition":
            self.latent_prefix = nn.Linear(vector_dim, 2 * layers * width)
            self.slots = nn.Parameter(0.02 * torch.randn(vectors, 2 * layers * width))
            self.condition_prefix = nn.Linear(condition_dim, 2 * layers * width)
        if inject != "prefix":
            self.latent_addition = nn.Linear(vectors * vector_dim, width)
            self.condition_addition = nn.Linear(condition_dim, width)
        if source_dim:
            self.source_input = nn.Linear(source_dim, width)
        self.copy = CopyGate(width) if copy else None
        self.copy_latent = LatentCopyGate(width, vectors, vector_dim) if copy_latent else None

    def context(
        self,
        z: Tensor | None,
        c: Tensor,
        source: Source | None = None,
        words: Words | None = None,
    ) -> DecoderContext:
        """Everything the decoder knows before the first token.

        Args:
            z: latent vectors [N, M, vector_dim]; None decodes without a latent.
            c: condition [N, C].
            source: a source sentence of B rows; N = K * B with the K importance samples outermost.
            words: p(word | z_m, c) of each latent vector.
        """
        prefix, addition = [], None
        latent = z
        if z is not None and self.reader is not None:
            latent = self.reader(z, c, None if words is None else words.embeddings)
        if self.inject != "addition":
            slots = self.condition_prefix(c).unsqueeze(1)
            if latent is not None:
                slots = torch.cat([slots, self.latent_prefix(latent) + self.slots], dim=1)
            for block, keys_values in zip(self.layers, slots.chunk(len(self.layers), dim=-1), strict=True):
                keys, values = keys_values.chunk(2, dim=-1)
                prefix.append((block.attention.split(keys), block.attention.split(values)))
        if self.inject != "prefix":
            addition = self.condition_addition(c)
            if latent is not None:
                addition = addition + self.latent_addition(latent.flatten(1))
        pairs = []
        if source is not None:
            states = self.source_input(source.states)
            projected = (block.cross.project(states) for block in self.layers)
            pairs = [(tile(keys, len(c)), tile(values, len(c))) for keys, values in projected]
        latent_words = None
        if self.copy_latent is not None and latent is not None and words is not None:
            latent_words = (self.copy_latent.keys(latent), words)
        tiled = None if source is None else tile(source.tokens, len(c))
        return DecoderContext(prefix, addition, pairs, tiled, latent_words)

    def forward(self, tokens: Tensor, context: DecoderContext, cache: KeyValueCache | None = None) -> Tensor:
        """Log-probabilities [N, T, V] of the token that follows each of `tokens` [N, T], float32.

        With a cache, `tokens` are those that follow the cached ones.
        """
        h = self.states(tokens, context, cache)
        log_p = torch.log_softmax(self._logits(h), dim=-1)
        if self.copy is not None and context.source_tokens is not None:
            log_p = self.copy(log_p, h, context.source[-1][0], context.source_tokens, self.pad)
        if self.copy_latent is not None and context.words is not None:
            log_p = self.copy_latent(log_p, h, *context.words)
        return log_p

    def score(self, tokens: Tensor, target: Tensor, context: DecoderContext) -> Tensor:
        """Log-probabilities [N, T] of `target` [N, T], as in `forward` but without those of all other tokens."""
        h = self.states(tokens, context)
        log_p = self.recomputed(self._of_vocabulary, h, target)
        if self.copy is not None and context.source_tokens is not None:
            log_p = self.copy.score(log_p, target, h, context.source[-1][0], context.source_tokens, self.pad)
        if self.copy_latent is not None and context.words is not None:
            log_p = self.copy_latent.score(log_p, target, h, *context.words)
        return log_p

    def _of_vocabulary(self, h: Tensor, target: Tensor) -> Tensor:
        lost = nn.functional.cross_entropy(self._logits(h).flatten(0, 1), target.flatten(), reduction="none")
        return -lost.view_as(target)

    def _logits(self, h: Tensor) -> Tensor:
        return nn.functional.linear(h, self.embedding.weight, self.bias + self.barrier).float()

    def states(self, tokens: Tensor, context: DecoderContext, cache: KeyValueCache | None = None) -> Tensor:
        """States [N, T, E] from which the next token is predicted."""
        start = cache.length if cache is not None else 0
        h = self.embedding(tokens) + self.positions[start : start + tokens.shape[1]]
        if context.addition is not None:
            h = h + context.addition.unsqueeze(1)
        h = self.dropout(h)
        source_mask = None
        if context.source_tokens is not None:
            real = context.source_tokens != self.pad
            # Without a source the states are zero, and all may be attended to.
            source_mask = (real | ~real.any(-1, keepdim=True))[:, None, None, :]
        for layer, block in enumerate(self.layers):
            prefix = context.prefix[layer] if context.prefix else None
            source = context.source[layer] if context.source else None
            steps = tokens.shape[1]
            known = start + steps + (0 if prefix is None else prefix[0].shape[2])
            mask = _causal(steps, known, h.device) if steps > 1 else None
            if cache is None:
                h = block.over(h, mask, prefix, source, source_mask)
            else:
                pair = cache.extend(layer, *block.attention.project(block.attention_norm(h)))
                h = block(h, pair if prefix is None else joined(prefix, pair), mask, source, source_mask)
        if cache is not None:
            cache.length += tokens.shape[1]
        return self.norm(h)


def no_probability(tokens: Sequence[int], vocabulary: int) -> Tensor:
    """A term for logits [V] that gives some tokens no probability; finite, so that gradients stay finite."""
    barrier = torch.zeros(vocabulary)
    barrier[list(tokens)] = -1e9
    return barrier


def _causal(queries: int, keys: int, device: torch.device) -> Tensor:
    """True where a query may attend: up to its own position, where the queries are the last of the keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
