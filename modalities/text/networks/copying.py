"""Copy gates: a decoder may copy tokens of a source sentence, or words predicted from its latent vectors."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

ROWS = 64  # rows whose word probabilities are computed at once without gradients


class CopyGate(nn.Module):
    """p = (1 - g) p_vocabulary + g p_copy: a mixture with the source's own tokens under attention.

    Source: See, Liu and Manning 2017, "Get To The Point", equations 8 and 9.

    Args:
        width: E.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)
        self.query = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, log_p: Tensor, h: Tensor, keys: Tensor, source_tokens: Tensor, pad: int) -> Tensor:
        """Log-probabilities [N, T, V] of the mixture, from states h [N, T, E] and source keys [N, H, S, E / H]."""
        attention, log_vocabulary, log_copy = self._weights(h, keys, source_tokens, pad)
        positions = source_tokens.long().unsqueeze(1).expand_as(attention)
        copied = torch.zeros_like(log_p).scatter_add_(2, positions, attention)
        return torch.logaddexp(log_p + log_vocabulary, copied.clamp_min(1e-12).log() + log_copy)

    def score(self, log_p: Tensor, target: Tensor, h: Tensor, keys: Tensor, source_tokens: Tensor, pad: int) -> Tensor:
        """As `forward`, for one target at each place: [N, T] from its log-probability under the vocabulary [N, T]."""
        attention, log_vocabulary, log_copy = self._weights(h, keys, source_tokens, pad)
        copied = (attention * (source_tokens.unsqueeze(1) == target.unsqueeze(2))).sum(-1)
        return torch.logaddexp(log_p + log_vocabulary.squeeze(-1), copied.clamp_min(1e-12).log() + log_copy.squeeze(-1))

    def _weights(self, h: Tensor, keys: Tensor, source_tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, Tensor]:
        """Attention over the source [N, T, S], and log-weights of the vocabulary and the copy, each [N, T, 1]."""
        flat_keys = keys.transpose(1, 2).flatten(-2)
        scores = (self.query(h) @ flat_keys.transpose(1, 2)).float() / h.shape[-1] ** 0.5
        real = (source_tokens != pad).unsqueeze(1)
        attention = torch.softmax(scores.masked_fill(~real, -1e9), dim=-1) * real
        # A row without a source has nothing to copy: the vocabulary gets all of its probability.
        gate = self.gate(h).float().masked_fill(~real.any(-1, keepdim=True), -1e9)
        return attention, nn.functional.logsigmoid(-gate), nn.functional.logsigmoid(gate)


class _Kept:
    """A property that is computed once: functools.cached_property without its lock, which no compiler traces.

    Python's own has none from 3.12 on.
    """

    def __init__(self, compute: Callable[["Words"], Tensor]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, words: "Words", owner: type) -> Tensor:
        value = self.compute(words)
        object.__setattr__(words, self.name, value)  # found before this property from now on
        return value


@dataclass(frozen=True)
class Words:
    """p(word | z_m, c) of N x M vectors: the softmax of the products of their states with a table of embeddings.

    The probabilities [N, M, V] are large and computed only on demand; without gradients, mean embeddings are computed
    for some rows at a time.

    Attributes:
        states: [N, M, E].
        table: [V, E].
        bias: [V].
    """

    states: Tensor
    table: Tensor
    bias: Tensor

    def __getitem__(self, rows: slice | Tensor) -> "Words":
        if isinstance(rows, slice) and rows.indices(len(self.states)) == (0, len(self.states), 1):
            return self  # keeps its cached values
        return Words(self.states[rows], self.table, self.bias)

    @_Kept
    def scores(self) -> Tensor:
        """Unnormalised log-probabilities, [N, M, V], float32."""
        return nn.functional.linear(self.states, self.table, self.bias).float()

    @_Kept
    def probabilities(self) -> Tensor:
        """[N, M, V]; cached, because every decoding step needs them."""
        return self.scores.softmax(-1)

    @_Kept
    def embeddings(self) -> Tensor:
        """Mean embedding under p(word | z_m, c), [N, M, E]: close to that of one word, without the noise in z."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.probabilities.to(self.table.dtype) @ self.table
        parts = (self[start : start + ROWS] for start in range(0, len(self.states), ROWS))
        return torch.cat([part.probabilities.to(self.table.dtype) @ self.table for part in parts])

    def of(self, target: Tensor) -> Tensor:
        """Log-probability of each target [N, T] under each vector, [N, M, T]."""
        chosen = (self.states @ self.table[target].transpose(1, 2)).float() + self.bias[target].unsqueeze(1)
        return chosen - self.scores.logsumexp(-1, keepdim=True)


class LatentWords(nn.Module):
    """Predicts `Words` from latent vectors and a condition.

    It scores the encoder's embeddings, so that rare words are reconstructed too, and their directions alone: random
    embeddings of different words are far apart, and z identifies its word after a few hundred steps.

    Args:
        inputs: size of a vector and a condition together.
        width: of the table's embeddings.
        barrier: [V], added to the logits.
    """

    barrier: Tensor

    def __init__(self, inputs: int, width: int, barrier: Tensor) -> None:
        super().__init__()
        self.direct = nn.Linear(inputs, width)
        self.network = nn.Sequential(nn.Linear(inputs, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(15.0)))
        self.bias = nn.Parameter(torch.zeros(len(barrier)))
        self.register_buffer("barrier", barrier, persistent=False)

    def forward(self, z: Tensor, c: Tensor, table: Tensor) -> Words:
        """Words of vectors z [N, M, D] under conditions c [N, C], from embeddings [V, E]."""
        inputs = torch.cat([z, c.unsqueeze(1).expand(-1, z.shape[1], -1)], dim=-1)
        states = nn.functional.normalize(self.direct(inputs) + self.network(inputs), dim=-1)
        return Words(self.log_scale.exp() * states, nn.functional.normalize(table, dim=-1), self.bias + self.barrier)


class LatentCopyGate(nn.Module):
    """p = (1 - g) p_vocabulary + g sum_m a_m p(word | z_m, c): a copy gate whose source is the latent.

    Attention a and gate g come from the decoder's state. The words in z then generalise word by word, as
    p(word | z_m, c) does, where a decoder alone would memorise the training sentences.

    Args:
        width: E.
        vectors: M.
        vector_dim: size of one vector, or of its state.
    """

    def __init__(self, width: int, vectors: int, vector_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(vector_dim, width)
        self.slots = nn.Parameter(0.02 * torch.randn(vectors, width))

    def keys(self, z: Tensor) -> Tensor:
        """Keys [N, M, E] of vectors z [N, M, D]."""
        return self.key(z) + self.slots

    def forward(self, log_p: Tensor, h: Tensor, keys: Tensor, words: Words) -> Tensor:
        """Log-probabilities [N, T, V] of the mixture, from states h [N, T, E] and keys [N, M, E]."""
        log_attention, log_vocabulary, log_copy = self._weights(h, keys)
        copied = (log_attention.exp() @ words.probabilities).clamp_min(1e-12).log()
        return torch.logaddexp(log_p + log_vocabulary, copied + log_copy)

    def score(self, log_p: Tensor, target: Tensor, h: Tensor, keys: Tensor, words: Words) -> Tensor:
        """As `forward`, for one target at each place: [N, T] from its log-probability under the vocabulary [N, T]."""
        log_attention, log_vocabulary, log_copy = self._weights(h, keys)
        copied = torch.logsumexp(log_attention.transpose(1, 2) + words.of(target), dim=1)
        return torch.logaddexp(log_p + log_vocabulary.squeeze(-1), copied.clamp_min(-27.6) + log_copy.squeeze(-1))

    def _weights(self, h: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-attention over the vectors [N, T, M], and log-weights of the vocabulary and the words, each [N, T, 1]."""
        scores = (self.query(h) @ keys.transpose(1, 2)).float() / h.shape[-1] ** 0.5
        gate = self.gate(h).float()
        return scores.log_softmax(-1), nn.functional.logsigmoid(-gate), nn.functional.logsigmoid(gate)
