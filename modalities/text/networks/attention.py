"""Attention, pre-norm blocks, pooling of states into latent vectors, and a reader of latent vectors.

Shapes: N rows, T tokens, M vectors of size D, C the condition's size, H heads, E width.
"""

from typing import Any

import torch
from torch import Tensor, nn

from modalities.text.networks.checkpointing import Checkpointed
from modalities.text.networks.context import KeyValue, joined


class Attention(nn.Module):
    """Multi-head attention; queries from one sequence, keys and values from the same or from another.

    Args:
        width: E.
        heads: H.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def project(self, h: Tensor) -> KeyValue:
        """Keys and values of h [N, T, E]."""
        keys, values = self.key_value(h).chunk(2, dim=-1)
        return self.split(keys), self.split(values)

    def split(self, h: Tensor) -> Tensor:
        """[N, T, E] -> [N, H, T, E / H]."""
        return h.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, h: Tensor, pair: KeyValue, mask: Tensor | None = None) -> Tensor:
        """Attends from h [N, T, E] to keys and values; `mask` is True where attention is allowed."""
        query = self.split(self.query(h))
        attended = nn.functional.scaled_dot_product_attention(query, *pair, attn_mask=mask)
        return self.out(attended.transpose(1, 2).flatten(-2))


class Block(Checkpointed):
    """Pre-norm attention, optional cross-attention and a feed-forward layer, each with a residual path.

    Args:
        width: E.
        heads: H.
        dropout: dropout rate of each residual path.
        cross: adds cross-attention to a source sentence.
    """

    def __init__(self, width: int, heads: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        if cross:
            self.cross_norm = nn.LayerNorm(width)
            self.cross = Attention(width, heads)
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, h: Tensor, pair: KeyValue, mask: Tensor | None, source: KeyValue | None, source_mask: Tensor | None
    ) -> Tensor:
        """h [N, T, E] after the block, from h and the keys and values that it attends to."""
        h = h + self.dropout(self.attention(self.attention_norm(h), pair, mask))
        if source is not None:
            h = h + self.dropout(self.cross(self.cross_norm(h), source, source_mask))
        return h + self.dropout(self.feed(self.feed_norm(h)))

    def over(
        self,
        h: Tensor,
        mask: Tensor | None = None,
        prefix: KeyValue | None = None,
        source: KeyValue | None = None,
        source_mask: Tensor | None = None,
    ) -> Tensor:
        """h [N, T, E] after the block, from h, which attends to itself and to keys and values in front of it."""
        return self.recomputed(self._over, h, mask, prefix, source, source_mask)

    def _over(
        self,
        h: Tensor,
        mask: Tensor | None,
        prefix: KeyValue | None,
        source: KeyValue | None,
        source_mask: Tensor | None,
    ) -> Tensor:
        pair = self.attention.project(self.attention_norm(h))
        return self(h, pair if prefix is None else joined(prefix, pair), mask, source, source_mask)


class Pooling(nn.Module):
    """States [N, T, E] of a sentence -> M vectors [N, M, outputs].

    Args:
        width: E.
        vectors: M.
        outputs: size of one vector.
        heads: attention heads.
        stride: 0 pools the whole sentence with M learned queries; above 0, vector m pools the tokens from m * stride
            to (m + 1) * stride.
    """

    def __init__(self, width: int, vectors: int, outputs: int, heads: int, stride: int = 0) -> None:
        super().__init__()
        self.vectors, self.stride = vectors, stride
        self.queries = nn.Parameter(0.02 * torch.randn(vectors, width))
        self.attention = Attention(width, heads)
        self.out = nn.Linear(width, outputs)

    def forward(self, states: Tensor, real: Tensor) -> Tensor:
        """Vectors from states; `real` [N, T] is False at padding. A vector without a token of its own is zero."""
        allowed = real.unsqueeze(1).expand(-1, self.vectors, -1)
        if self.stride:
            chunk = torch.arange(states.shape[1], device=states.device) // self.stride
            slots = torch.arange(self.vectors, device=states.device).unsqueeze(1)
            # The last vector also pools all tokens beyond its own.
            allowed = allowed & (chunk.clamp_max(self.vectors - 1) == slots)
        empty = ~allowed.any(-1, keepdim=True)
        queries = self.queries.expand(len(states), -1, -1)
        pooled = self.attention(queries, self.attention.project(states), (allowed | empty).unsqueeze(1))
        return self.out(pooled).masked_fill(empty, 0.0)


class LatentReader(nn.Module):
    """Bidirectional blocks over latent vectors: z [N, M, D] and c [N, C] -> states [N, M, E].

    A factorised prior makes information shared by neighbouring vectors cost KL twice, so that each encodes its own
    words alone. The blocks combine them after the bottleneck, under the condition of the output.

    Args:
        vectors: M.
        vector_dim: D.
        condition_dim: C.
        width: E.
        heads: H.
        layers: number of blocks.
        dropout: dropout rate of residual paths.
        word_dim: W, the width of mean word embeddings of the vectors; 0 reads z alone.
    """

    def __init__(
        self,
        vectors: int,
        vector_dim: int,
        condition_dim: int,
        width: int,
        heads: int,
        layers: int,
        dropout: float,
        word_dim: int = 0,
    ) -> None:
        super().__init__()
        self.latent = nn.Linear(vector_dim, width)
        self.word = nn.Linear(word_dim, width) if word_dim else None
        # The scale of `latent` on z ~ N(0, I): a vector's position must weigh as much as its content.
        self.slots = nn.Parameter(3**-0.5 * torch.randn(vectors, width))
        self.condition = nn.Linear(condition_dim, width)
        self.layers: Any = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor, c: Tensor, words: Tensor | None = None) -> Tensor:
        """States [N, M, E] of the vectors, from z and the mean unit-length embeddings [N, M, W] of their words."""
        h = self.latent(z) + self.slots
        if self.word is not None and words is not None:
            h = h + self.word(words * words.shape[-1] ** 0.5)
        h = torch.cat([self.condition(c).unsqueeze(1), h], dim=1)
        for block in self.layers:
            h = block.over(h)
        return self.norm(h[:, 1:])
