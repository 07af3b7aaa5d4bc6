"""Condition encoders: raw fields -> the condition c, with a null embedding for missing fields.

A missing value is -1 for a category and NaN for a number. Dropping a condition in training means marking it missing,
so that the null embedding is learned and any part of the condition can be left out at generation time.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from common.batch import Batch
from common.conditions.attributes import OBSERVED, SOURCE, Attribute, Categorical, Continuous, Fields
from common.conditions.condition import Condition
from common.configurable import Configurable


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

    def parse(self, texts: Mapping[str, str]) -> Fields:
        """Raw fields, each [1], from a user's `name=value` texts.

        Raises:
            ValueError: for an unknown name or value; the message lists the valid ones.
        """
        fields = {}
        for name, text in texts.items():
            if name not in self.attributes:
                known = ", ".join(self.attributes) or "none: the model is unconditional"
                raise ValueError(f"unknown condition {name!r}; this model knows: {known}")
            try:
                fields[name] = self.attributes[name].tensor([self.attributes[name].parse(text)])
            except ValueError as error:
                raise ValueError(f"condition {name}: {error}") from None
        return fields


class CategoricalEmbedding(nn.Module):
    """One embedding for each value and one for none."""

    def __init__(self, attribute: Categorical, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(len(attribute.values) + 1, dim)

    def forward(self, field: Tensor) -> Tensor:
        """[B] positions (-1 for missing) -> [B, dim]."""
        return self.table(field.long() + 1)


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

    def drop(self, batch: Batch) -> Batch:
        """Each part drops its own attributes."""
        for encoder in self.encoders:
            assert isinstance(encoder, ConditionEncoder)
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
