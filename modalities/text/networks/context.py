"""State of a decoder: its context before the first token, and the cache of the tokens decoded so far.

Shapes: N rows, T tokens, S source tokens, P prefix slots, M latent vectors, H heads, E width, V vocabulary.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from modalities.text.networks.copying import Words

KeyValue = tuple[Tensor, Tensor]  # keys and values, each [N, H, length, E / H]


def joined(first: KeyValue, second: KeyValue) -> KeyValue:
    """Keys and values one after the other."""
    return torch.cat([first[0], second[0]], dim=2), torch.cat([first[1], second[1]], dim=2)


@dataclass
class DecoderContext:
    """Everything a decoder knows before the first token.

    Attributes:
        prefix: keys and values of each layer, [N, H, P, E / H]: the latent and the condition.
        addition: [N, E], added to every token's embedding; None adds nothing.
        source: keys and values of each layer, [N, H, S, E / H], for cross-attention; empty without a source sentence.
        source_tokens: [N, S], for a copy gate and for the mask of cross-attention.
        words: keys [N, M, E] of the latent vectors, and p(word | z_m, c) of each.
    """

    prefix: list[KeyValue]
    addition: Tensor | None = None
    source: list[KeyValue] = field(default_factory=list)
    source_tokens: Tensor | None = None
    words: tuple[Tensor, Words] | None = None

    @property
    def device(self) -> torch.device:
        """The device of its tensors."""
        return self.prefix[0][0].device if self.addition is None else self.addition.device

    def __getitem__(self, rows: slice | Tensor) -> "DecoderContext":
        addition = None if self.addition is None else self.addition[rows]
        tokens = None if self.source_tokens is None else self.source_tokens[rows]
        words = None if self.words is None else (self.words[0][rows], self.words[1][rows])
        prefix = [(keys[rows], values[rows]) for keys, values in self.prefix]
        source = [(keys[rows], values[rows]) for keys, values in self.source]
        return DecoderContext(prefix, addition, source, tokens, words)


@dataclass
class KeyValueCache:
    """Keys and values of the tokens decoded so far, layer by layer."""

    layers: list[KeyValue] = field(default_factory=list)
    length: int = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> KeyValue:
        """Appends the newest tokens of a layer and returns all of its keys and values."""
        if layer == len(self.layers):
            self.layers.append((keys, values))
        else:
            self.layers[layer] = joined(self.layers[layer], (keys, values))
        return self.layers[layer]

    def select(self, rows: Tensor) -> None:
        """Keeps, repeats or reorders rows (beam search)."""
        self.layers = [(keys[rows], values[rows]) for keys, values in self.layers]


def tile(x: Tensor, rows: int) -> Tensor:
    """x [B, ...] repeated to [K * B, ...], K outermost, for the importance samples of each example."""
    return x if len(x) == rows else x.repeat(rows // len(x), *[1] * (x.dim() - 1))
