"""The condition encoders of images."""

from collections.abc import Mapping
from math import prod

import torch

from common.conditions.attributes import OBSERVED, Attribute, Fields
from common.conditions.condition import Condition
from common.conditions.encoders import FieldEncoder

HIDDEN_PIXEL = -0.125  # input of the networks in place of a hidden pixel


class AttributeEncoder(FieldEncoder):
    """Class labels, categorical or binary attributes and continuous ones (age), each optional at generation time."""


class ObservedPixelsEncoder(FieldEncoder):
    """The observed part of the image and, optionally, attributes.

    Hidden pixels are slightly below zero. With the -1 of Sohn, Lee and Yan 2015 (section 5.1), hundreds of equal inputs
    act as one bias, which Adam moves hundreds of times too fast. Without the field `observed` all pixels are hidden.

    Args:
        attributes: attributes of the data, by name. In a configuration they come from the data.
        shape: channels, height and width of the images.
        dim: size of the attributes' embedding.
        dropout: probability that all attributes of an example are dropped together in training (for guidance).
        field_dropout: probability that an attribute is dropped on its own.
        use: attributes to condition on besides the observed pixels; None uses all.
    """

    reads_observed = True

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        shape: tuple[int, int, int] = (1, 28, 28),
        dim: int = 16,
        dropout: float = 0.0,
        field_dropout: float = 0.0,
        use: list[str] | None = [],  # noqa: B006 (never changed)
    ) -> None:
        super().__init__(attributes, dim, dropout, field_dropout, use)
        self.shape = tuple(shape)
        self.dim = dim + prod(self.shape)

    def forward(self, fields: Fields) -> Condition:
        """The embedded attributes and the pixels as one vector, and the observed part itself."""
        embedded = super().forward(fields).vector
        observed = fields.get(OBSERVED)
        if observed is None:
            observed = torch.full((len(embedded), *self.shape), float("nan"), device=embedded.device)
        if observed.shape[1:] != self.shape:
            raise ValueError(f"the observed images are {tuple(observed.shape[1:])}, condition.shape is {self.shape}")
        pixels = torch.nan_to_num(observed, nan=HIDDEN_PIXEL).flatten(1)
        size = max(len(embedded), len(pixels))
        vector = torch.cat([embedded.expand(size, -1), pixels.expand(size, -1)], dim=-1)
        return Condition(vector, observed.expand(size, *self.shape))
