"""Networks of the image CVAE. An `Architecture` makes the encoder and the decoder of an image of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from common.configurable import Configurable
from common.nn.blocks import ResidualBlock, TransposedConv2d
from common.nn.film import FiLM, concatenate

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Architecture(Configurable):
    """Base of the architectures."""

    def encoder(self, shape: Shape, condition_dim: int, outputs: int) -> nn.Module:
        """A module (x [B, *shape], c [B, C]) -> [B, outputs]."""
        raise NotImplementedError

    def decoder(self, latent_dim: int, condition_dim: int, shape: Shape) -> nn.Module:
        """A module (z [N, D], c [N, C]) -> [N, *shape]."""
        raise NotImplementedError


@dataclass(frozen=True)
class MLP(Architecture):
    """Fully connected layers; the condition is concatenated to their input.

    Attributes:
        hidden: widths of the hidden layers of the encoder; the decoder takes them in reverse.
    """

    hidden: Sequence[int] = (512, 512)

    def encoder(self, shape: Shape, condition_dim: int, outputs: int) -> nn.Module:
        """Pixels and condition to `outputs`."""
        return ConcatMLP(prod(shape), condition_dim, tuple(self.hidden), (outputs,))

    def decoder(self, latent_dim: int, condition_dim: int, shape: Shape) -> nn.Module:
        """Latent and condition to pixels."""
        return ConcatMLP(latent_dim, condition_dim, tuple(reversed(self.hidden)), shape)


class ConcatMLP(nn.Module):
    """(x [N, ...], c [N, C]) -> [N, *shape] through fully connected layers on [x, c]."""

    def __init__(self, inputs: int, condition_dim: int, hidden: tuple[int, ...], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        layers: list[nn.Module] = []
        width = inputs + condition_dim
        for size in hidden:
            layers += [nn.Linear(width, size), nn.SiLU()]
            width = size
        self.layers = nn.Sequential(*layers, nn.Linear(width, prod(shape)))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """[N, *shape]."""
        return self.layers(concatenate(x.flatten(1), c)).unflatten(1, self.shape)


@dataclass(frozen=True)
class ResidualConv(Architecture):
    """Strided convolutions, residual blocks and a fully connected bottleneck, all under FiLM.

    Attributes:
        channels: channels of each stage, from fine to coarse; every stage halves the sides.
        blocks: residual blocks of each stage. They are what is not linear in it: where all are 0, shapes and places are
            hardly learned.
        width: width of the bottleneck.
    """

    channels: Sequence[int] = (16, 32)
    blocks: Sequence[int] = (0, 1)
    width: int = 512

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks):
            raise ValueError(f"channels {self.channels} and blocks {self.blocks} must name the same number of stages")

    def encoder(self, shape: Shape, condition_dim: int, outputs: int) -> nn.Module:
        """Convolutions down to the coarsest stage, then the bottleneck."""
        return ConvEncoder(shape, condition_dim, outputs, self)

    def decoder(self, latent_dim: int, condition_dim: int, shape: Shape) -> nn.Module:
        """The mirror image of the encoder."""
        return ConvDecoder(latent_dim, condition_dim, shape, self)

    def coarsest(self, shape: Shape) -> Shape:
        """Channels, height and width after the last stage of the encoder.

        Raises:
            ValueError: if an image of this size cannot be halved that often.
        """
        _, height, width = shape
        factor = 2 ** len(self.channels)
        if height % factor or width % factor:
            raise ValueError(
                f"{height} x {width} images cannot be halved {len(self.channels)} times: name fewer stages"
            )
        return self.channels[-1], height // factor, width // factor


class Stage(nn.Module):
    """A change of resolution, then residual blocks."""

    def __init__(self, resize: nn.Module, channels: int, condition_dim: int, blocks: int) -> None:
        super().__init__()
        self.resize = resize
        self.blocks = nn.ModuleList(ResidualBlock(channels, condition_dim) for _ in range(blocks))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """[N, channels, height, width]."""
        h = self.resize(h)
        for block in self.blocks:
            h = block(h, c)
        return h


class ConvEncoder(nn.Module):
    """x [B, *shape], c [B, C] -> [B, outputs]."""

    def __init__(self, shape: Shape, condition_dim: int, outputs: int, architecture: ResidualConv) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        previous = shape[0]
        for size, blocks in zip(architecture.channels, architecture.blocks, strict=True):
            # The first convolution overlaps, because its input is raw pixels; the others only pool.
            kernel, padding = (4, 1) if previous == shape[0] else (2, 0)
            down = nn.Conv2d(previous, size, kernel, stride=2, padding=padding)
            self.stages.append(Stage(down, size, condition_dim, blocks))
            previous = size
        self.bottleneck = nn.Linear(prod(architecture.coarsest(shape)), architecture.width)
        self.film = FiLM(condition_dim, architecture.width)
        self.head = nn.Linear(architecture.width, outputs)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """[B, outputs]."""
        h = (2 * x - 1).contiguous(memory_format=torch.channels_last)  # the fast layout on CPU and GPU
        for stage in self.stages:
            h = stage(h, c)
        return self.head(silu(self.film(self.bottleneck(silu(h).flatten(1)), c)))


class ConvDecoder(nn.Module):
    """z [N, D], c [N, C] -> [N, *shape]."""

    def __init__(self, latent_dim: int, condition_dim: int, shape: Shape, architecture: ResidualConv) -> None:
        super().__init__()
        self.coarsest = architecture.coarsest(shape)
        self.bottleneck = nn.Linear(latent_dim, architecture.width)
        self.film = FiLM(condition_dim, architecture.width)
        self.unfold = nn.Linear(architecture.width, prod(self.coarsest))
        self.stages = nn.ModuleList()
        previous = self.coarsest[0]
        for size, blocks in zip(reversed(architecture.channels), reversed(architecture.blocks), strict=True):
            up = TransposedConv2d(previous, size, 2, stride=2) if self.stages else nn.Identity()
            self.stages.append(Stage(up, size, condition_dim, blocks))
            previous = size
        self.head = TransposedConv2d(previous, shape[0], 4, stride=2, padding=1)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """[N, *shape]."""
        h = self.unfold(silu(self.film(self.bottleneck(z), c))).unflatten(1, self.coarsest)
        h = h.contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            h = stage(h, c)
        return self.head(silu(h))
