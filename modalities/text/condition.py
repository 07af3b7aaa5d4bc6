"""The condition encoder of text: style labels, a description in free text, an exemplar, and a source sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.conditions.attributes import SOURCE, Attribute, Categorical, Fields
from common.conditions.encoders import FieldEncoder
from common.configurable import Configurable
from modalities.text.descriptions import Descriptions
from modalities.text.networks.compact import TextEncoder
from modalities.text.tokenizer import Tokenizer

EXEMPLAR, DESCRIPTION = "exemplar", "description"  # condition fields that are no attributes, as SOURCE


@dataclass(frozen=True)
class SentenceReader(Configurable):
    """A small transformer that reads a sentence that is part of the condition.

    Attributes:
        width: of its states.
        heads: attention heads.
        layers: number of blocks.
        dropout: on embeddings and residual paths.
    """

    width: int = 160
    heads: int = 4
    layers: int = 2
    dropout: float = 0.0

    def encoder(self, tokenizer: Tokenizer, length: int) -> TextEncoder:
        """The transformer."""
        return TextEncoder(len(tokenizer), length, tokenizer.pad, self.width, self.heads, self.layers, self.dropout)


@dataclass(frozen=True)
class TextCondition:
    """What a condition embedding [B, dim] holds.

    Attributes:
        vector: style and all else that is one vector a sentence, [B, C].
        source: states of the source sentence [B, S, E]; None where the model reads none.
        source_tokens: its tokens [B, S].
    """

    vector: Tensor
    source: Tensor | None = None
    source_tokens: Tensor | None = None


class StyleEncoder(FieldEncoder):
    """Style, tone and other labels; and, where asked for, a description, an exemplar, a source sentence.

    The embedding [B, dim] is the style's vector, followed by the states and the tokens of a source sentence where
    there is one; `split` takes it apart.

    Args:
        attributes: every field of the data, by name. In a configuration it comes from the data.
        tokenizer: the model's. In a configuration it comes from the data.
        dim: size of the vector.
        dropout: probability that all labels of an example are dropped together in training (for guidance).
        field_dropout: probability that a label is dropped on its own.
        use: the labels to condition on; None uses all, an empty list none.
        description: reads a label as free text: see `modalities.text.descriptions.Descriptions`.
        exemplar: reads the style off another sentence in the field `exemplar` (with `use: []`, off nothing else).
        source: reads a source sentence in the field `source`, for translation.
        length: longest exemplar or source in tokens. In a configuration it comes from the data.
    """

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        tokenizer: Tokenizer | None = None,
        dim: int = 64,
        dropout: float = 0.0,
        field_dropout: float = 0.0,
        use: list[str] | None = None,
        description: Descriptions | None = None,
        exemplar: SentenceReader | None = None,
        source: SentenceReader | None = None,
        length: int = 48,
    ) -> None:
        labels = list(attributes) if use is None else use
        if description is not None:
            labels = [name for name in labels if name != description.label]
        super().__init__(attributes, dim, dropout, field_dropout, labels)
        if tokenizer is None and (exemplar or source):
            raise ValueError("reading an exemplar or a source sentence needs the tokenizer")
        self.tokenizer, self.length, self.vector_dim = tokenizer, length, dim
        self.description = None
        if description is not None:
            field = attributes.get(description.label)
            if not isinstance(field, Categorical):
                raise ValueError(f"description.label {description.label!r} is no category of the data")
            self.description = description.reader(field, dim)
            self.attributes[description.label] = field
        self.exemplar = self.source = None
        if exemplar is not None and tokenizer is not None:
            self.exemplar = exemplar.encoder(tokenizer, length)
            self.exemplar_out = nn.Linear(exemplar.width, dim)
        if source is not None and tokenizer is not None:
            self.source = source.encoder(tokenizer, length)
            self.source_out = nn.Linear(source.width, dim)
            self.dim = dim + length * (source.width + 1)
            self.reads_source = True

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim]; [1, dim] where no field is given."""
        size = len(next(iter(fields.values()))) if fields else 1
        shown = self.drop({name: fields[name] for name in self.attributes if name in fields})
        vector = self.mixed(shown).expand(size, -1)
        if self.description is not None:
            vector = vector + self.description(shown, fields.get(DESCRIPTION), size)
        if self.exemplar is not None and EXEMPLAR in fields:
            vector = vector + self.exemplar_out(_mean(self.exemplar, fields[EXEMPLAR].long()))
        if self.source is None:
            return vector
        tokens = self._source_tokens(fields, size, vector.device)
        states = self.source(tokens) * (tokens != self.source.pad).unsqueeze(-1)
        vector = vector + self.source_out(states.sum(1) / (tokens != self.source.pad).sum(1, keepdim=True).clamp_min(1))
        missing = self.length - tokens.shape[1]
        states = nn.functional.pad(states, (0, 0, 0, missing))
        tokens = nn.functional.pad(tokens, (0, missing), value=self.source.pad)
        # Tokens as float32: exact below 2^24.
        return torch.cat([vector.float(), states.flatten(1).float(), tokens.float()], dim=-1)

    def null(self, c: Tensor) -> Tensor:
        """The null style, with the source sentence that there is."""
        size = self.vector_dim
        return torch.cat([super().null(c)[:, :size], c[:, size:]], dim=-1)

    def split(self, c: Tensor) -> TextCondition:
        """Takes an embedding [B, dim] apart."""
        if self.source is None:
            return TextCondition(c)
        vector, states, tokens = c.split([self.vector_dim, self.length * self.source.width, self.length], dim=-1)
        tokens = tokens.round().long()
        longest = max(1, int((tokens != self.source.pad).sum(1).max()))
        return TextCondition(vector, states.unflatten(-1, (self.length, -1))[:, :longest], tokens[:, :longest])

    def parse(self, texts: Mapping[str, str]) -> Fields:
        """Raw fields, each [1], from a person's `name=value` texts; `source`, `exemplar` and `description` are text.

        Raises:
            ValueError: for an unknown name or value; the message lists the valid ones.
        """
        known = [*self.attributes, *self._sentences()]
        unknown = [name for name in texts if name not in known]
        if unknown and self._sentences():
            raise ValueError(f"unknown condition {unknown[0]!r}; this model knows: {', '.join(known)}")
        sentences = {name: text for name, text in texts.items() if name in self._sentences()}
        fields = super().parse({name: text for name, text in texts.items() if name not in sentences})
        for name, text in sentences.items():
            if name == DESCRIPTION:
                assert self.description is not None
                fields[name] = self.description.embed([text])
            else:
                assert self.tokenizer is not None
                fields[name] = self.tokenizer.rows([text], self.length)
        return fields

    def _sentences(self) -> list[str]:
        parts = {SOURCE: self.source, EXEMPLAR: self.exemplar, DESCRIPTION: self.description}
        return [name for name, part in parts.items() if part is not None]

    def _source_tokens(self, fields: Fields, size: int, device: torch.device) -> Tensor:
        assert self.source is not None
        if SOURCE in fields:
            return fields[SOURCE].long()
        return torch.full((size, 1), self.source.pad, device=device)


def _mean(encoder: TextEncoder, tokens: Tensor) -> Tensor:
    """Mean state of each sentence, [B, E]."""
    real = (tokens != encoder.pad).unsqueeze(-1)
    return (encoder(tokens) * real).sum(1) / real.sum(1).clamp_min(1)
