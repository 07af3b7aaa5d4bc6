"""The embedded condition that encoder, prior and decoder receive; each part has its own type."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Source:
    """A source sentence that the decoder reads token by token.

    Attributes:
        states: hidden states of its tokens, [B, S, E].
        tokens: [B, S], int64, padded to S.
    """

    states: Tensor
    tokens: Tensor


@dataclass(frozen=True)
class Condition:
    """The condition of B examples, embedded.

    Attributes:
        vector: all fields that are embedded as one vector, [B, C].
        observed: the part of x that is known beforehand, [B, ...], NaN where hidden; None where nothing is observed.
        source: a source sentence; None where the model reads none.
    """

    vector: Tensor
    observed: Tensor | None = None
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, rows: slice) -> "Condition":
        source = self.source
        return Condition(
            self.vector[rows],
            None if self.observed is None else self.observed[rows],
            None if source is None else Source(source.states[rows], source.tokens[rows]),
        )

    def expand(self, size: int) -> "Condition":
        """One condition, [1, ...], repeated for `size` examples; a condition of `size` examples unchanged."""
        if len(self) == size:
            return self
        observed, source = self.observed, self.source
        return Condition(
            self.vector.expand(size, -1),
            None if observed is None else observed.expand(size, *observed.shape[1:]),
            None if source is None else Source(source.states.expand(size, -1, -1), source.tokens.expand(size, -1)),
        )

    def interpolate(self, other: "Condition", share: float) -> "Condition":
        """The condition a share of the way to another one.

        Vectors are interpolated linearly; observed part and source sentence are those of the nearer end.
        """
        nearer = self if share < 0.5 else other
        return replace(nearer, vector=torch.lerp(self.vector, other.vector, share))
