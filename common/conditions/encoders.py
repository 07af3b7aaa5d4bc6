"""Condition encoders: raw fields -> embedding c [B, C], with a null embedding for what is not given.

A missing value is -1 for a category and NaN for a number. Dropping a condition in training means marking it missing,
so that the null embedding is learned and any part of the condition can be left out at generation time.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from common.conditions.attributes import Attribute, Categorical, Continuous, Fields
from common.configurable import Configurable


class ConditionEncoder(Configurable, nn.Module):
    """Base of the condition encoders: a module with `dim` and `forward(fields) -> [B, dim]`.

    Args:
        attributes: every field the encoder reads, by name.
        dropout: probability that all fields of an example are dropped together in training: needed for guidance.
        field_dropout: probability that a field is dropped on its own: lets any part be left out at generation time.
    """

    dim: int
    reads_observed: bool = False  # whether the observed part of x is among its fields
    reads_source: bool = False  # whether another version of x is among its fields

    def __init__(self, attributes: Mapping[str, Attribute], dropout: float = 0.0, field_dropout: float = 0.0) -> None:
        super().__init__()
        self.attributes = dict(attributes)
        self.dropout = dropout
        self.field_dropout = field_dropout

    def forward(self, fields: Fields) -> Tensor:
        """Embedding [B, dim]. Fields that are absent count as missing; with none at all the result is [1, dim]."""
        raise NotImplementedError

    def null(self, c: Tensor) -> Tensor:
        """C [B, dim] without what guidance may take away: the embedding of no condition."""
        return self({}).expand_as(c)

    def given(self, c: Tensor) -> Tensor | None:
        """Values of x that the condition c [..., dim] holds, NaN elsewhere; None where it holds none."""
        return None

    def drop(self, fields: Fields) -> Fields:
        """Marks fields as missing at random, in training only."""
        if not self.training or not (self.dropout or self.field_dropout) or not fields:
            return fields
        template = next(iter(fields.values()))
        together = torch.rand(len(template), device=template.device) < self.dropout
        dropped = {}
        for name, field in fields.items():
            alone = torch.rand(len(field), device=field.device) < self.field_dropout
            attribute = self.attributes.get(name)
            continuous = isinstance(attribute, Continuous) or (attribute is None and field.is_floating_point())
            field = field.float() if continuous else field
            dropped[name] = field.masked_fill(together | alone, float("nan") if continuous else -1)
        return dropped

    def parse(self, texts: Mapping[str, str]) -> Fields:
        """Raw fields, each [1], from a person's `name=value` texts.

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
        # Periods from 8 standard deviations downwards: neighbouring ages stay neighbours.
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

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim]; [1, dim] where no field is given."""
        return self.mixed(self.drop({name: fields[name] for name in self.attributes if name in fields}))

    def mixed(self, fields: Fields) -> Tensor:
        """As `forward`, with nothing dropped."""
        return self.mix(self.constant if self.embeddings is None else self.embeddings(fields))


class Composition(ConditionEncoder):
    """Several condition encoders side by side; the embedding is the concatenation of theirs.

    Args:
        encoders: the parts. Dropout is theirs.
    """

    def __init__(self, encoders: Sequence[ConditionEncoder]) -> None:
        attributes = {name: attribute for encoder in encoders for name, attribute in encoder.attributes.items()}
        super().__init__(attributes)
        self.encoders = nn.ModuleList(encoders)
        self.dim = sum(encoder.dim for encoder in encoders)

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim]."""
        parts = [encoder(fields) for encoder in self.encoders]
        size = max(len(part) for part in parts)
        return torch.cat([part.expand(size, -1) for part in parts], dim=-1)
