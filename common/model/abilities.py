"""What only some models can do, as protocols that a script checks with isinstance."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from common.conditions.attributes import Fields
from common.conditions.condition import Condition


@runtime_checkable
class InfersConditions(Protocol):
    """A model that infers the condition of an example."""

    def infer_conditions(self, x: Tensor) -> Fields:
        """The likeliest condition of each example [B, ...], each field [B]."""


@runtime_checkable
class WritesText(Protocol):
    """A model whose examples are sentences of tokens."""

    def set_decoding(self, **options: Any) -> None:
        """Changes how sentences are written; options as in the model's `decoding`."""

    def texts(self, tokens: Tensor) -> list[str]:
        """Sentences [N, T] as text."""

    def lengths(self, tokens: Tensor) -> Tensor:
        """Tokens of each sentence [N, T], its end included."""

    def best_of(self, condition: Mapping[str, Any], count: int, num_samples: int = 50, seed: int = 0) -> Tensor:
        """Of `count` sentences drawn under each condition, the likeliest one under the model, [B, T].

        Raises:
            ValueError: for an unknown condition or value; the message lists the valid ones.
        """


@runtime_checkable
class WritesTokens(Protocol):
    """A model that decodes one token after the other."""

    def first_tokens(self, count: int) -> Tensor:
        """The token that begins each of `count` sentences, [count, 1]."""

    def next_token(self, tokens: Tensor, z: Tensor, c: Condition) -> Tensor:
        """Log-probabilities [B, V] of the token after `tokens` [B, T], the first of which begins a sentence.

        Args:
            tokens: [B, T].
            z: [B, D].
            c: the condition of B examples.
        """

    def vocabulary(self) -> dict[str, Any]:
        """How text becomes tokens: `tokenizer`, JSON of the package `tokenizers`, and the special tokens by name."""
