"""Sprites: pictures that are drawn from known factors, so that it can be measured what a latent tells of them."""

import math
from typing import Any

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Continuous, Fields
from common.conditions.columns import fit_continuous
from common.data.examples import Examples
from common.data.splits import Split, random_split
from modalities.image.data import ImageData

SIDE = 64  # pixels
SHAPES = ("square", "ellipse", "heart")
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "magenta": (1, 0, 1),
           "cyan": (0, 1, 1)}  # fmt: skip
# Half the size of a sprite in pixels, degrees, and the pixel of its centre. Beyond 45 degrees a square repeats itself.
SCALES = (6.0, 7.5, 9.0, 10.5, 12.0, 13.5)
ROTATIONS = tuple(45 * number / 7 for number in range(8))
PLACES = tuple(16.0 + 32 * number / 15 for number in range(16))
LEVELS = {"shape": len(SHAPES), "colour": len(COLOURS), "scale": len(SCALES), "rotation": len(ROTATIONS),
          "x": len(PLACES), "y": len(PLACES)}  # fmt: skip
ORDERED = {"scale": SCALES, "rotation": ROTATIONS, "x": PLACES, "y": PLACES}
KNOWN = "factor {}"  # the name of a field that is no condition: the number of a factor's value
AT_ONCE = 500  # pictures that are drawn at once


class Sprites(ImageData):
    """A coloured shape on black, 64 x 64, drawn from six independent factors; the same pictures at each start.

    The factors are those of dSprites (Matthey, Higgins, Hassabis and Lerchner 2017) and a colour, on coarser grids. A
    channel of a pixel is on or off, so that a Bernoulli likelihood is normalised. All factors are drawn uniformly, and
    any of them may be the condition: `condition: [shape, colour]`.

    Args:
        count: pictures; 80 % train, 10 % validation, 10 % test.
        scored_factors: factors that the test looks for in single units of z; None is all that are no condition. To
            compare models of several conditions, name factors that are a condition of none.
        base: as in `ImageData`.
    """

    def __init__(self, count: int = 20_000, scored_factors: list[str] | None = None, **base: Any) -> None:
        super().__init__(**base)
        if count < 10:
            raise ValueError(f"count must be at least 10; got {count}")
        unknown = [name for name in scored_factors or [] if name not in LEVELS]
        if unknown or scored_factors == []:
            named = ", ".join(unknown) or "no factor"
            raise ValueError(f"data.scored_factors names {named}; there are {', '.join(LEVELS)}")
        self.count, self.scored_factors = count, scored_factors

    def load(self) -> Examples:
        """Draws the pictures."""
        generator = torch.Generator().manual_seed(0)
        codes = {name: torch.randint(size, (self.count,), generator=generator) for name, size in LEVELS.items()}
        attributes: dict[str, Attribute] = {"shape": Categorical(SHAPES), "colour": Categorical(tuple(COLOURS))}
        fields: Fields = {name: codes[name] for name in attributes}
        for name, values in ORDERED.items():
            fields[name] = torch.tensor(values)[codes[name]]
            attributes[name] = Continuous()
        splits = random_split(self.count, (0.1, 0.1), seed=0)
        return Examples(
            drawn(codes),
            fields | {KNOWN.format(name): code for name, code in codes.items()},
            fit_continuous(attributes, fields, splits["train"]),
            splits,
        )

    def factors(self, split: Split) -> dict[str, Tensor]:
        """The number of each factor's value, [N] by name, of the examples of a split."""
        rows = self.examples.splits[split]
        return {name: self.examples.fields[KNOWN.format(name)][rows] for name in LEVELS}


def drawn(codes: dict[str, Tensor]) -> Tensor:
    """Pictures [N, 3, 64, 64] of 0 and 255, from the numbers [N] of their factors' values."""
    colours = torch.tensor(list(COLOURS.values()), dtype=torch.uint8) * 255
    count = len(codes["shape"])
    inside = torch.cat([
        _inside({name: code[rows] for name, code in codes.items()}) for rows in torch.arange(count).split(AT_ONCE)
    ])  # fmt: skip
    return inside.unsqueeze(1) * colours[codes["colour"]][:, :, None, None]


def _inside(codes: dict[str, Tensor]) -> Tensor:
    """Which pixels [N, 64, 64] a sprite covers."""
    scale, rotation, x, y = (torch.tensor(values)[codes[name]][:, None, None] for name, values in ORDERED.items())
    centres = torch.arange(SIDE) + 0.5
    across, down = centres[None, None, :] - x, centres[None, :, None] - y
    angle = rotation * (math.pi / 180)
    u = (across * angle.cos() + down * angle.sin()) / scale
    v = (down * angle.cos() - across * angle.sin()) / scale
    square = torch.maximum(u.abs(), v.abs()) <= 0.8
    ellipse = u**2 + (v / 0.5) ** 2 <= 1
    a, b = 1.2 * u, -1.2 * v + 0.1  # the heart's curve is 1.2 wide and leans upwards
    heart = (a**2 + b**2 - 1) ** 3 <= a**2 * b**3
    shape = codes["shape"][:, None, None]
    return torch.where(shape == 0, square, torch.where(shape == 1, ellipse, heart)).to(torch.uint8)
