"""The condition encoder of audio."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from common.conditions import Attribute, FieldEncoder, Fields

SOURCE = "source"  # condition field of another version of x, which z may be read from in training


class GenreEncoder(FieldEncoder):
    """Genre, instrument, artist, speaker and the like, each optional at generation time; and the tempo they imply.

    The embedding [B, dim + 1] ends with the logarithm of the speed at which a clip of this condition runs against the
    fastest one: the networks read and write the latent at that speed, so that z itself runs in bars, whatever the dance.

    Args:
        attributes: every field of the data, by name. In a configuration it comes from the data.
        dim: size of the embedding, without the speed.
        dropout: probability that all fields of an example are dropped together in training (for guidance).
        field_dropout: probability that a field is dropped on its own (to leave any of them out at generation time).
        use: the fields to condition on; None uses all, an empty list gives an unconditional VAE of the same size.
        speeds: by field, the speed of each of its values; other fields do not change it. In a configuration it comes
            from the data.
    """

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        dim: int = 32,
        dropout: float = 0.0,
        field_dropout: float = 0.0,
        use: list[str] | None = None,
        speeds: dict[str, dict[str, float]] | None = None,
    ) -> None:
        super().__init__(attributes, dim, dropout, field_dropout, use)
        self.embedded = dim
        self.dim = dim + 1
        self.timed = [name for name in speeds or {} if name in self.attributes]
        for name in self.timed:
            values = [math.log((speeds or {})[name][value]) for value in self.attributes[name].values]  # type: ignore[attr-defined]
            # The last one, which -1 chooses, is that of a field that is not given.
            self.register_buffer(f"log_speed_{name}", torch.tensor([*values, sum(values) / len(values)]))

    def forward(self, fields: Fields) -> Tensor:
        """[B, dim + 1]; [1, dim + 1] where no field is given."""
        shown = self.drop({name: fields[name] for name in self.attributes if name in fields})
        embedded = self.mixed(shown)
        log_speed = embedded.new_zeros(len(embedded))
        for name in self.timed:
            field = shown.get(name, torch.full((len(embedded),), -1, device=embedded.device))
            log_speed = log_speed + getattr(self, f"log_speed_{name}")[field.long()]
        return torch.cat([embedded, log_speed.unsqueeze(-1)], dim=-1)

    def speed(self, c: Tensor) -> Tensor:
        """Speed of the conditions c [N, dim + 1], [N, 1]."""
        return c[:, -1:].float().exp()
