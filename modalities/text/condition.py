"""The condition encoder of text: style labels, a description in free text, an exemplar, and a source sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.batch import Batch
from common.conditions.attributes import SOURCE, Attribute, Categorical, Fields
from common.conditions.condition import Condition, Source
from common.conditions.encoders import ConditionEncoder, FieldEncoder
from common.configurable import Configurable
from modalities.text.descriptions import Descriptions
from modalities.text.networks.compact import TextEncoder
from modalities.text.tokenizer import Tokenizer, divisible, in_range, trimmed

EXEMPLAR, DESCRIPTION = "exemplar", "description"  # fields of a condition that are not attributes, like SOURCE


@dataclass(frozen=True)
class Sentence(Attribute):
    """The type of a field of sentences [B, T], of which padding alone is none.

    Attributes:
        pad: padding token.
    """

    pad: int

    def without(self, field: Tensor, rows: Tensor) -> Tensor:
        """Padding in the rows."""
        return field.masked_fill(rows.unsqueeze(1), self.pad)


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

    def __post_init__(self) -> None:
        for name in ("width", "heads", "layers"):
            in_range(name, getattr(self, name), 1)
        in_range("dropout", self.dropout, 0, 1)
        divisible(self.width, self.heads)

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
        if self.exemplar is not None:
            vector = vector + self.exemplar_out(_read(self.exemplar, fields.get(EXEMPLAR), size).mean)
        if self.source is None:
            return Condition(vector)
        source = _read(self.source, fields.get(SOURCE), size)
        return Condition(vector + self.source_out(source.mean), source=Source(source.states, source.tokens))

    def drop(self, batch: Batch) -> Batch:
        """As in the base class; an exemplar is dropped like one more label. What is dropped counts as absent."""
        if self.exemplar is None:
            return super().drop(batch)
        fields = {**self.attributes, EXEMPLAR: Sentence(self.exemplar.pad)}
        return ConditionEncoder(fields, self.dropout, self.field_dropout).drop(batch)

    @property
    def field_names(self) -> list[str]:
        """As in the base class; `exemplar` and `description` where the encoder reads them."""
        further = {EXEMPLAR: self.exemplar, DESCRIPTION: self.description}
        return [*super().field_names, *(name for name, part in further.items() if part is not None)]

    def parse_texts(self, name: str, texts: Sequence[str]) -> Tensor:
        """As in the base class; `source` and `exemplar` become tokens [B, T], `description` embeddings [B, F]."""
        if name == DESCRIPTION and self.description is not None:
            return self.description.embed(list(texts))
        if {SOURCE: self.source, EXEMPLAR: self.exemplar}.get(name) is not None:
            assert self.tokenizer is not None
            return self.tokenizer.rows(texts, self.length)
        return super().parse_texts(name, texts)


@dataclass(frozen=True)
class ReadSentences:
    """Sentences of the condition, as an encoder reads them.

    Attributes:
        tokens: [B, T], int64, trimmed to the longest; padding alone is no sentence.
        states: [B, T, E]; zero at padding.
        mean: mean state of each sentence, [B, E]; zero where there is none.
    """

    tokens: Tensor
    states: Tensor
    mean: Tensor


def _read(encoder: TextEncoder, sentences: Tensor | None, size: int) -> ReadSentences:
    """Sentences [B, T] as the encoder reads them; None stands for `size` rows without one."""
    if sentences is None:
        sentences = torch.full((size, 1), encoder.pad, device=encoder.positions.device)
    tokens = trimmed(sentences.long(), encoder.pad)
    real = (tokens != encoder.pad).unsqueeze(-1)
    states = encoder(tokens) * real
    return ReadSentences(tokens, states, states.sum(1) / real.sum(1).clamp_min(1))
