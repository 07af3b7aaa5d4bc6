"""The condition encoders of images."""

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from common.conditions.attributes import OBSERVED, Attribute, Fields
from common.conditions.encoders import FieldEncoder

HIDDEN = -0.125  # what networks see in place of a hidden pixel; exact in every floating-point format


class AttributeEncoder(FieldEncoder):
    """Class labels, categorical or binary attributes and continuous ones (age), each optional at generation time."""


class ObservedEncoder(FieldEncoder):
    """The observed part of the image, and attributes where they are wanted: [B, dim + pixels].

    Hidden pixels are a little below zero. With the -1 of Sohn, Lee and Yan 2015 (section 5.1) hundreds of equal inputs
    are one bias, which Adam moves hundreds of times too fast. An image that is not given at all is hidden whole.

    Args:
        attributes: every field of the data, by name. In a configuration it comes from the data.
        shape: channels, height and width of the images.
        dim: size of the attributes' embedding.
        dropout: probability that all attributes of an example are dropped together in training (for guidance).
        field_dropout: probability that an attribute is dropped on its own.
        use: the attributes to condition on beside the observed pixels.
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

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim + pixels]."""
        embedded = super().forward(fields)
        observed = fields.get(OBSERVED)
        if observed is None:
            observed = torch.full((len(embedded), *self.shape), float("nan"), device=embedded.device)
        if observed.shape[1:] != self.shape:
            raise ValueError(f"the observed images are {tuple(observed.shape[1:])}, condition.shape is {self.shape}")
        pixels = torch.nan_to_num(observed, nan=HIDDEN).flatten(1)
        size = max(len(embedded), len(pixels))
        return torch.cat([embedded.expand(size, -1), pixels.expand(size, -1)], dim=-1)

    def null(self, c: Tensor) -> Tensor:
        """No attribute; the observed pixels stay."""
        pixels = prod(self.shape)
        return torch.cat([super().null(c)[:, :-pixels], c[:, -pixels:]], dim=-1)

    def given(self, c: Tensor) -> Tensor:
        """Observed pixels [..., *shape], NaN where hidden."""
        pixels = c[..., -prod(self.shape) :].unflatten(-1, self.shape)
        return torch.where(pixels == HIDDEN, float("nan"), pixels)
