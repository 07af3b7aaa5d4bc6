"""Condition encoders: raw fields -> the condition c, with a null embedding for missing fields.

A missing value is -1 for a category and NaN for a number. Dropping a condition in training means marking it missing,
so that the null embedding is learned and any part of the condition can be left out at generation time.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from common.batch import Batch
from common.conditions.attributes import OBSERVED, SOURCE, Attribute, Categorical, Continuous, Fields, as_field
from common.conditions.condition import Condition
from common.configurable import Configurable
from common.nn.transplant import taken


class ConditionEncoder(Configurable, nn.Module):
    """Base of the condition encoders: a module with `dim`, C, and `forward(fields) -> Condition`.

    Args:
        attributes: every attribute the encoder reads, by name.
        dropout: probability that all attributes of an example are dropped together in training: needed for guidance.
        field_dropout: probability that one is dropped on its own: lets any of them be left out at generation time.
    """

    dim: int
    reads_observed: bool = False  # whether the observed part of x is among its fields
    reads_source: bool = False  # whether a source sentence is among its fields

    def __init__(self, attributes: Mapping[str, Attribute], dropout: float = 0.0, field_dropout: float = 0.0) -> None:
        super().__init__()
        for name, rate in (("dropout", dropout), ("field_dropout", field_dropout)):
            if not 0 <= rate <= 1:
                raise ValueError(f"condition.{name} is a probability, from 0 to 1; got {rate:g}")
        self.attributes = dict(attributes)
        self.dropout = dropout
        self.field_dropout = field_dropout

    def forward(self, fields: Fields) -> Condition:
        """The condition of B examples; of one if there are no fields. Absent fields count as missing."""
        raise NotImplementedError

    def null(self, fields: Fields) -> Fields:
        """The fields of guidance's null condition: an observed part and a source sentence remain."""
        return {name: fields[name] for name in (OBSERVED, SOURCE) if name in fields}

    def drop(self, batch: Batch) -> Batch:
        """A training batch with attributes marked as missing at random, in the same rows of its view.

        It is called once per step, so that every term of the loss uses the same condition.
        """
        names = [name for name in self.attributes if name in batch.condition]
        if not (self.dropout or self.field_dropout) or not names:
            return batch
        together = torch.rand(len(batch), device=batch.x.device) < self.dropout
        gone = {name: together | (torch.rand(len(batch), device=batch.x.device) < self.field_dropout) for name in names}

        def without(fields: Fields) -> Fields:
            dropped = {n: self.attributes[n].without(fields[n], rows) for n, rows in gone.items() if n in fields}
            return {**fields, **dropped}

        view = None if batch.view is None else batch.view.replace(condition=without(batch.view.condition))
        return batch.replace(condition=without(batch.condition), view=view)

    @property
    def field_names(self) -> list[str]:
        """Names of the raw fields that `forward` reads."""
        further = {OBSERVED: self.reads_observed, SOURCE: self.reads_source}
        return [*self.attributes, *(name for name, reads in further.items() if reads)]

    @property
    def names(self) -> list[str]:
        """Names that a user can give."""
        return self.field_names

    def example(self) -> str:
        """A condition that the encoder knows, as a person writes it, `name=value`; empty without attributes."""
        for name, attribute in self.attributes.items():
            if isinstance(attribute, Categorical):
                trained = [value for value in attribute.values if value not in attribute.untrained]
                return f"{name}={trained[-1]}" if trained else ""
            if isinstance(attribute, Continuous):
                return f"{name}={attribute.mean:.3g}"
        return ""

    def parse(self, condition: Mapping[str, Any], further: Container[str] = ()) -> Fields:
        """Raw fields, each [1, ...] or [B, ...], from a user's values.

        Args:
            condition: values by name. A text names one, `"circle"`; a number or a tensor is a raw value; lists of
                texts or of numbers, and tensors [B, ...], are values of several examples.
            further: names of fields that may be there, as tensors, without being read: a batch has all of the data's.

        Raises:
            ValueError: for an unknown name or value; the message lists the valid ones.
        """
        self.check_names(condition, further)
        return {name: self._field(name, value) for name, value in condition.items()}

    def parse_texts(self, name: str, texts: Sequence[str]) -> Tensor:
        """The raw field [B, ...] of B texts. Raises ValueError for an unknown value, and lists the valid ones."""
        if name not in self.attributes:
            raise ValueError("is given as a tensor, not as text")
        return self.attributes[name].field(texts)

    def check_names(self, condition: Mapping[str, Any], further: Container[str] = ()) -> None:
        """Raises ValueError for an unknown name among a user's values, as `parse`; the message lists the valid ones."""
        for name, value in condition.items():
            if name not in self.names and not (isinstance(value, Tensor) and name in further):
                known = ", ".join(self.names) or "none: the model is unconditional"
                raise ValueError(f"unknown condition {name!r}; this model knows: {known}")

    def _field(self, name: str, value: Any) -> Tensor:
        texts = [value] if isinstance(value, str) else value
        try:
            if isinstance(texts, list | tuple) and texts and all(isinstance(text, str) for text in texts):
                return self.parse_texts(name, texts)
            field = as_field(value)
            if name in self.attributes:
                self.attributes[name].check(field)
            return field
        except ValueError as error:
            raise ValueError(f"condition {name}: {error}") from None


class CategoricalEmbedding(nn.Module):
    """One embedding for each value and one for none."""

    def __init__(self, attribute: Categorical, dim: int) -> None:
        super().__init__()
        self.values = list(attribute.values)
        self.table = nn.Embedding(len(attribute.values) + 1, dim)

    def forward(self, field: Tensor) -> Tensor:
        """[B] positions (-1 for missing), or shares [B, K] of the K values -> [B, dim]."""
        if field.dim() == 2:
            return field.to(self.table.weight.dtype) @ self.table.weight[1:]
        return self.table(field.long() + 1)

    def adapted(self, old: "CategoricalEmbedding") -> dict[str, Tensor]:
        """The embeddings of the values that an older module has. See `common.nn.transplant`."""
        rows = {row + 1: old.values.index(value) + 1 for row, value in enumerate(self.values) if value in old.values}
        return {"table.weight": taken(self.table.weight, old.table.weight, {0: 0, **rows})}


class ContinuousEmbedding(nn.Module):
    """A small network on the standardised value and its sines and cosines, and an embedding for none."""

    def __init__(self, attribute: Continuous, dim: int, frequencies: int = 4) -> None:
        super().__init__()
        self.mean, self.std, self.frequencies = attribute.mean, attribute.std, frequencies
        self.network = nn.Sequential(nn.Linear(1 + 2 * frequencies, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.null = nn.Parameter(torch.randn(dim))

    def forward(self, field: Tensor) -> Tensor:
        """[B] numbers (NaN for missing) -> [B, dim]."""
        value = torch.nan_to_num((field.float() - self.mean) / self.std).unsqueeze(-1)
        # Periods from 8 standard deviations downwards: embeddings of close values stay close.
        phases = value * (2.0 ** torch.arange(self.frequencies, device=field.device)) * (torch.pi / 4)
        embedded = self.network(torch.cat([value, phases.sin(), phases.cos()], dim=-1))
        return torch.where(field.isnan().unsqueeze(-1), self.null.to(embedded.dtype), embedded)


def embed_attribute(attribute: Attribute, dim: int) -> nn.Module:
    """The embedding module [B] -> [B, dim] that fits an attribute."""
    if isinstance(attribute, Categorical):
        return CategoricalEmbedding(attribute, dim)
    if isinstance(attribute, Continuous):
        return ContinuousEmbedding(attribute, dim)
    raise TypeError(f"no embedding for {type(attribute).__name__}")


class FieldEmbeddings(nn.Module):
    """The embeddings of several attributes side by side: fields -> [B, len(attributes) * dim]."""

    def __init__(self, attributes: Mapping[str, Attribute], dim: int) -> None:
        super().__init__()
        self.attributes = dict(attributes)
        self.dim = dim
        # A list, because a user's column may have a name that a ModuleDict refuses.
        self.embeddings = nn.ModuleList(embed_attribute(attribute, dim) for attribute in attributes.values())

    def forward(self, fields: Fields) -> Tensor:
        """Concatenated embeddings; absent fields are missing, other fields are ignored."""
        size = len(next(iter(fields.values()))) if fields else 1
        device = next(self.parameters()).device
        parts = []
        for (name, attribute), embedding in zip(self.attributes.items(), self.embeddings, strict=True):
            absent = -1 if isinstance(attribute, Categorical) else float("nan")
            parts.append(embedding(fields.get(name, torch.full((size,), absent, device=device))))
        return torch.cat(parts, dim=-1)

    def adapted(self, old: "FieldEmbeddings") -> dict[str, Tensor]:
        """The embeddings of the attributes that older ones have, by name. See `common.nn.transplant`."""
        before = dict(zip(old.attributes, old.embeddings, strict=True))
        result: dict[str, Tensor] = {}
        for number, (name, embedding) in enumerate(zip(self.attributes, self.embeddings, strict=True)):
            weights = {key: value.clone() for key, value in embedding.state_dict().items()}
            other = before.get(name)
            if isinstance(embedding, CategoricalEmbedding) and isinstance(other, CategoricalEmbedding):
                weights = embedding.adapted(other)
            elif type(other) is type(embedding) and self.dim == old.dim:
                weights = other.state_dict()
            result |= {f"embeddings.{number}.{key}": value for key, value in weights.items()}
        return result


class FieldEncoder(ConditionEncoder):
    """Categorical, binary and continuous fields, each optional at generation time, mixed into one embedding.

    Args:
        attributes: every field of the data, by name. In a configuration it comes from the data.
        dim: size of the embedding.
        dropout: probability that all fields of an example are dropped together in training (for guidance).
        field_dropout: probability that a field is dropped on its own (to leave any of them out at generation time).
        use: the fields to condition on; None uses all, an empty list gives an unconditional VAE of the same size.
    """

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        dim: int = 64,
        dropout: float = 0.0,
        field_dropout: float = 0.0,
        use: list[str] | None = None,
    ) -> None:
        unknown = [name for name in use or [] if name not in attributes]
        if unknown:
            raise ValueError(f"cannot condition on {', '.join(unknown)}; the data has: {', '.join(attributes)}")
        used = attributes if use is None else {name: attributes[name] for name in use}
        super().__init__(used, dropout, field_dropout)
        self.dim = dim
        self.embeddings = FieldEmbeddings(used, dim) if used else None
        if not used:
            self.constant = nn.Parameter(torch.zeros(1, dim))
        self.mix = nn.Sequential(nn.Linear(dim * max(len(used), 1), dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, fields: Fields) -> Condition:
        """The embedded attributes."""
        return Condition(self.vector({name: fields[name] for name in self.attributes if name in fields}))

    def vector(self, fields: Fields) -> Tensor:
        """The attributes among some fields as vectors, [B, dim]; [1, dim] without any."""
        return self.mix(self.constant if self.embeddings is None else self.embeddings(fields))

    def adapted(self, old: "FieldEncoder") -> dict[str, Tensor]:
        """The part that each attribute of an older encoder has in the mixture. See `common.nn.transplant`."""
        mine, theirs = ([] if e.embeddings is None else list(e.embeddings.attributes) for e in (self, old))
        mix, before = (encoder.mix[0] for encoder in (self, old))
        assert isinstance(mix, nn.Linear)
        assert isinstance(before, nn.Linear)
        width = mix.out_features
        shared = {mine.index(name): theirs.index(name) for name in mine if name in theirs}
        units = {new * width + unit: place * width + unit for new, place in shared.items() for unit in range(width)}
        return {"mix.0.weight": taken(mix.weight, before.weight, units, dim=1)}


class Composition(ConditionEncoder):
    """Several condition encoders side by side: their vectors are concatenated.

    Args:
        encoders: the parts, each with its own dropout. At most one reads an observed part, and one a source sentence.
    """

    def __init__(self, encoders: Sequence[ConditionEncoder]) -> None:
        attributes = {name: attribute for encoder in encoders for name, attribute in encoder.attributes.items()}
        super().__init__(attributes)
        self.encoders = nn.ModuleList(encoders)
        self.dim = sum(encoder.dim for encoder in encoders)
        self.reads_observed = any(encoder.reads_observed for encoder in encoders)
        self.reads_source = any(encoder.reads_source for encoder in encoders)

    @property
    def field_names(self) -> list[str]:
        """Those of all parts."""
        return list(dict.fromkeys(name for encoder in self._parts for name in encoder.field_names))

    @property
    def names(self) -> list[str]:
        """Those of all parts."""
        return list(dict.fromkeys(name for encoder in self._parts for name in encoder.names))

    def parse(self, condition: Mapping[str, Any], further: Container[str] = ()) -> Fields:
        """Each part reads its own fields."""
        self.check_names(condition, further)
        fields = {name: value for name, value in condition.items() if name not in self.names}
        for encoder in self._parts:
            own = encoder.names
            fields |= encoder.parse({name: value for name, value in condition.items() if name in own})
        return fields

    @property
    def _parts(self) -> list[ConditionEncoder]:
        return [encoder for encoder in self.encoders if isinstance(encoder, ConditionEncoder)]

    def drop(self, batch: Batch) -> Batch:
        """Each part drops its own attributes."""
        for encoder in self._parts:
            batch = encoder.drop(batch)
        return batch

    def forward(self, fields: Fields) -> Condition:
        """All parts together."""
        parts: list[Condition] = [encoder(fields) for encoder in self.encoders]
        size = max(len(part) for part in parts)
        parts = [part.expand(size) for part in parts]
        return Condition(
            torch.cat([part.vector for part in parts], dim=-1),
            next((part.observed for part in parts if part.observed is not None), None),
            next((part.source for part in parts if part.source is not None), None),
        )
