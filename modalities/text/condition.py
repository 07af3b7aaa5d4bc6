"""The condition encoder of text: style labels, a description in free text, an exemplar, and a source sentence."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.conditions.attributes import SOURCE, Attribute, Categorical, Fields
from common.conditions.condition import Condition, Source
from common.conditions.encoders import FieldEncoder
from common.configurable import Configurable
from modalities.text.descriptions import Descriptions
from modalities.text.networks.compact import TextEncoder
from modalities.text.tokenizer import Tokenizer

EXEMPLAR, DESCRIPTION = "exemplar", "description"  # fields of a condition that are not attributes, like SOURCE


@dataclass(frozen=True)
class SentenceReader(Configurable):
    """A small transformer that encodes a sentence of the condition.

    Attributes:
        width: width of its states.
        heads: attention heads.
        layers: number of blocks.
        dropout: dropout rate of embeddings and residual paths.
    """

    width: int = 160
    heads: int = 4
    layers: int = 2
    dropout: float = 0.0

    def encoder(self, tokenizer: Tokenizer, length: int) -> TextEncoder:
        """The transformer, for sentences of at most `length` tokens."""
        return TextEncoder(len(tokenizer), length, tokenizer.pad, self.width, self.heads, self.layers, self.dropout)


class StyleEncoder(FieldEncoder):
    """Embeds style, tone and other labels and, optionally, a description, an exemplar and a source sentence.

    Args:
        attributes: attributes of the data, by name. In a configuration they come from the data.
        tokenizer: tokenizer of the model. In a configuration it comes from the data.
        dim: size of the condition vector.
        dropout: probability that all labels of an example are dropped together in training (for guidance).
        field_dropout: probability that a label is dropped on its own.
        use: labels to condition on; None uses all, an empty list none.
        description: describes one label in free text: see `modalities.text.descriptions.Descriptions`.
        exemplar: encodes another sentence of the wanted style, the field `exemplar` (alone with `use: []`).
        source: encodes a source sentence, the field `source`, for translation.
        length: longest exemplar or source sentence in tokens. In a configuration it comes from the data.
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
        self.tokenizer, self.length = tokenizer, length
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
            self.reads_source = True

    def forward(self, fields: Fields) -> Condition:
        """The condition vector, and the states and tokens of the source sentence where the model reads one."""
        size = len(next(iter(fields.values()))) if fields else 1
        labels = {name: fields[name] for name in self.attributes if name in fields}
        vector = self.vector(labels).expand(size, -1)
        if self.description is not None:
            vector = vector + self.description(labels, fields.get(DESCRIPTION), size)
        if self.exemplar is not None and EXEMPLAR in fields:
            vector = vector + self.exemplar_out(_mean(self.exemplar, fields[EXEMPLAR].long()))
        if self.source is None:
            return Condition(vector)
        tokens = self._source_tokens(fields, size, vector.device)
        real = (tokens != self.source.pad).unsqueeze(-1)
        states = self.source(tokens) * real
        vector = vector + self.source_out(states.sum(1) / real.sum(1).clamp_min(1))
        return Condition(vector, source=Source(states, tokens))

    def parse(self, texts: Mapping[str, str]) -> Fields:
        """Raw fields, each [1], from `name=value` texts; `source`, `exemplar` and `description` are free text.

        Raises:
            ValueError: for an unknown name or value; the message lists the valid ones.
        """
        known = [*self.attributes, *self._text_fields()]
        unknown = [name for name in texts if name not in known]
        if unknown and self._text_fields():
            raise ValueError(f"unknown condition {unknown[0]!r}; this model knows: {', '.join(known)}")
        sentences = {name: text for name, text in texts.items() if name in self._text_fields()}
        fields = super().parse({name: text for name, text in texts.items() if name not in sentences})
        for name, text in sentences.items():
            if name == DESCRIPTION:
                assert self.description is not None
                fields[name] = self.description.embed([text])
            else:
                assert self.tokenizer is not None
                fields[name] = self.tokenizer.rows([text], self.length)
        return fields

    def _text_fields(self) -> list[str]:
        parts = {SOURCE: self.source, EXEMPLAR: self.exemplar, DESCRIPTION: self.description}
        return [name for name, part in parts.items() if part is not None]

    def _source_tokens(self, fields: Fields, size: int, device: torch.device) -> Tensor:
        """Source tokens [B, S], trimmed to the longest sentence; padding alone where there is no source."""
        assert self.source is not None
        if SOURCE not in fields:
            return torch.full((size, 1), self.source.pad, device=device)
        tokens = fields[SOURCE].long()
        return tokens[:, : max(1, int((tokens != self.source.pad).sum(1).max()))]


def _mean(encoder: TextEncoder, tokens: Tensor) -> Tensor:
    """Mean state of each sentence, [B, E]."""
    real = (tokens != encoder.pad).unsqueeze(-1)
    return (encoder(tokens) * real).sum(1) / real.sum(1).clamp_min(1)
