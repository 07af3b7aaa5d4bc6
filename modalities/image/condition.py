"""The condition encoder of images."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.conditions import Attribute, ConditionEncoder, FieldEmbeddings, Fields


class AttributeEncoder(ConditionEncoder):
    """Class labels, categorical or binary attributes and continuous ones (age), each optional at generation time.

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
        if used:
            self.embeddings = FieldEmbeddings(used, dim)
        else:
            self.constant = nn.Parameter(torch.zeros(1, dim))
        self.mix = nn.Sequential(nn.Linear(dim * max(len(used), 1), dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim]; [1, dim] where no field is given."""
        if not self.attributes:
            return self.mix(self.constant)
        known = {name: fields[name] for name in self.attributes if name in fields}
        return self.mix(self.embeddings(self.drop(known)))
