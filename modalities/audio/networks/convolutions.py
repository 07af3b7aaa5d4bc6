"""Networks of the audio CVAE: residual convolutions over time and frequency, with FiLM in every block.

The latent is a sequence with one vector for every `stride` frames. A global vector would have to encode the times of
all notes; here the same weights encode and decode a note wherever it occurs. N rows, S steps.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from common.configurable import Configurable
from common.nn.blocks import ResidualBlock, TransposedConv2d
from common.nn.film import FiLM

Shape = tuple[int, int, int]
FREQUENCY_STRIDE = 4


@dataclass(frozen=True)
class SpectrogramConv(Configurable):
    """Sizes of encoder and decoder.

    Attributes:
        channels: channels of the convolutions over time and frequency.
        blocks: residual blocks over time and frequency in each network.
        width: channels of the convolutions over time alone, each of which combines all frequencies.
        depth: residual blocks over time in each network.
        stride: frames for each latent vector; a multiple of 2.
    """

    channels: int = 16
    blocks: int = 1
    width: int = 192
    depth: int = 2
    stride: int = 4

    def __post_init__(self) -> None:
        if self.stride % 2 or self.stride < 2:
            raise ValueError(f"stride must be a multiple of 2; got {self.stride}")

    def steps(self, shape: Shape) -> int:
        """Number of latent vectors of a clip.

        Raises:
            ValueError: if a clip cannot be divided into steps and bands.
        """
        _, mels, frames = shape
        if mels % FREQUENCY_STRIDE or frames % self.stride:
            raise ValueError(
                f"clips of {mels} mel bands, {frames} frames: bands must be a multiple of {FREQUENCY_STRIDE}, frames "
                f"of the stride ({self.stride})"
            )
        return frames // self.stride


class Residual1d(nn.Module):
    """h + conv(silu(FiLM(conv(silu(h))))) over time."""

    def __init__(self, width: int, condition_dim: int, dilation: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.film = FiLM(condition_dim, width)
        self.second = nn.Conv1d(width, width, 1)
        with torch.no_grad():
            self.second.weight *= 0.1  # close to the identity at first: deep stacks need no normalisation

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """[N, width, S]."""
        return h + self.second(silu(self.film(self.first(silu(h)), c)))


class Encoder(nn.Module):
    """x [N, 1, mels, frames], c [N, C] -> [N, S, outputs]."""

    def __init__(self, shape: Shape, condition_dim: int, outputs: int, sizes: SpectrogramConv) -> None:
        super().__init__()
        _, mels, _ = shape
        bands, step = mels // FREQUENCY_STRIDE, sizes.stride // 2
        self.stem = nn.Conv2d(1, sizes.channels, (FREQUENCY_STRIDE, 4), (FREQUENCY_STRIDE, 2), (0, 1))
        self.local = nn.ModuleList(ResidualBlock(sizes.channels, condition_dim) for _ in range(sizes.blocks))
        self.gather = nn.Conv1d(sizes.channels * bands, sizes.width, step, step)
        self.film = FiLM(condition_dim, sizes.width)
        self.trunk = nn.ModuleList(Residual1d(sizes.width, condition_dim, 2**layer) for layer in range(sizes.depth))
        self.head = nn.Conv1d(sizes.width, outputs, 1)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """[N, S, outputs]."""
        h = self.stem(x.contiguous(memory_format=torch.channels_last))  # the fast layout on CPU and GPU
        for block in self.local:
            h = block(h, c)
        h = self.film(self.gather(silu(h).flatten(1, 2)), c)
        for block in self.trunk:
            h = block(h, c)
        return self.head(silu(h)).transpose(1, 2)


class Decoder(nn.Module):
    """z [N, S, channels], c [N, C] -> [N, 1, mels, frames].

    The condition enters at the latent, in every block, and as a spectral envelope added to the output, which models the
    average sound of an instrument directly.
    """

    def __init__(self, shape: Shape, latent_channels: int, condition_dim: int, sizes: SpectrogramConv) -> None:
        super().__init__()
        _, mels, _ = shape
        self.bands, step = mels // FREQUENCY_STRIDE, sizes.stride // 2
        self.stem = nn.Conv1d(latent_channels + condition_dim, sizes.width, 3, padding=1)
        self.trunk = nn.ModuleList(
            Residual1d(sizes.width, condition_dim, 2**layer) for layer in reversed(range(sizes.depth))
        )
        self.spread = nn.ConvTranspose1d(sizes.width, sizes.channels * self.bands, step, step)
        self.film = FiLM(condition_dim, sizes.channels)
        self.local = nn.ModuleList(ResidualBlock(sizes.channels, condition_dim) for _ in range(sizes.blocks))
        self.head = TransposedConv2d(sizes.channels, 1, (FREQUENCY_STRIDE, 4), (FREQUENCY_STRIDE, 2), (0, 1))
        self.envelope = nn.Linear(condition_dim, mels)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """[N, 1, mels, frames]."""
        steps = c.unsqueeze(-1).expand(-1, -1, z.shape[1])
        h = self.stem(torch.cat([z.transpose(1, 2), steps], dim=1))
        for block in self.trunk:
            h = block(h, c)
        h = self.spread(silu(h)).unflatten(1, (-1, self.bands))
        h = self.film(h, c).contiguous(memory_format=torch.channels_last)
        for block in self.local:
            h = block(h, c)
        return self.head(silu(h)) + self.envelope(c).view(len(c), 1, -1, 1)
