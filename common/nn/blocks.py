"""Blocks shared by the networks of several modalities."""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, silu

from common.nn.film import FiLM


class ResidualBlock(nn.Module):
    """h + conv(silu(FiLM(conv(silu(h))))) over two axes.

    Args:
        channels: channels of h.
        condition_dim: C.
    """

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = FiLM(condition_dim, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight *= 0.1  # close to the identity at first: deep stacks need no normalisation

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """h [N, channels, height, width] and c [N, C] -> [N, channels, height, width]."""
        return h + self.second(silu(self.film(self.first(silu(h)), c)))


class TransposedConv2d(nn.ConvTranspose2d):
    """torch's own, but faster on a CPU where kernels do not overlap, or to one channel.

    A product of matrices gives what each value of h contributes to each place of its kernel: the columns. Where kernels
    overlap, columns are added up by `torch.nn.functional.fold` or, if no gradient is asked for and each side is
    enlarged by exactly its stride, by `_sum_of_shifts`. That takes a tenth to two thirds of the time of torch's kernel.
    Other devices, groups, dilation, output padding, and programs that are compiled or exported are left to torch.
    """

    def forward(self, h: Tensor, output_size: list[int] | None = None) -> Tensor:
        """h [N, channels, height, width] -> [N, out_channels, ...]."""
        usual = self.groups == 1 and set(self.dilation) == {1} and set(self.output_padding) == {0}
        here = h.device.type == "cpu" and not torch.compiler.is_compiling()
        if not (usual and here) or output_size is not None or self.bias is None:
            return super().forward(h, output_size)
        if self.kernel_size == self.stride and set(self.padding) == {0}:
            return self._blocks(h)
        if self.out_channels > 1:
            return super().forward(h)
        axes = zip(self.kernel_size, self.stride, self._margins, strict=True)
        enlarges = all(size - 2 * margin == step for size, step, margin in axes)
        return self._sum_of_shifts(h) if enlarges and not torch.is_grad_enabled() else self._fold(h)

    @property
    def _margins(self) -> tuple[int, ...]:
        padding = self.padding
        assert isinstance(padding, tuple)
        return padding

    def _blocks(self, h: Tensor) -> Tensor:
        """Kernels that do not overlap: each value of h becomes a block of values."""
        assert self.bias is not None
        count, channels, height, width = h.shape
        (down, right), outputs = self.stride, self.out_channels
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # [channels, down * right * outputs]
        rows = h.permute(0, 2, 3, 1).reshape(-1, channels)
        blocks = torch.addmm(self.bias.repeat(down * right), rows, weight)
        blocks = blocks.view(count, height, width, down, right, outputs).transpose(2, 3)
        return blocks.reshape(count, height * down, width * right, outputs).permute(0, 3, 1, 2)

    def _fold(self, h: Tensor) -> Tensor:
        """To one channel, with gradients."""
        assert self.bias is not None
        kernel, stride, padding = self.kernel_size, self.stride, self._margins
        columns = self.weight.flatten(1).t() @ h.flatten(2)  # [N, values of the kernel, positions]
        sizes = tuple(
            (length - 1) * step - 2 * margin + size
            for length, size, step, margin in zip(h.shape[2:], kernel, stride, padding, strict=True)
        )
        # As channels of one example: torch would add up example by example.
        summed = fold(columns.flatten(0, 1), sizes, kernel, padding=padding, stride=stride)
        return summed.unsqueeze(1) + self.bias.view(-1, 1, 1)

    def _sum_of_shifts(self, h: Tensor) -> Tensor:
        """To one channel, without gradients: along each axis, output stride * i + a receives, from each value t of the
        kernel with t = a + padding modulo stride, input i + (a + padding - t) / stride.

        All images lie behind each other, so that a column is shifted as a whole. That also moves values across the
        edges of rows and of images: those are set to zero before.
        """
        assert self.bias is not None
        count, channels, height, width = h.shape
        kernel, stride, padding = self.kernel_size, self.stride, self._margins
        rows = h.permute(0, 2, 3, 1).reshape(-1, channels)
        columns = (self.weight.flatten(1).t() @ rows.t()).view(*kernel, count, height, width)
        out = h.new_empty(count, height, stride[0], width, stride[1])
        for place in product(*map(range, stride)):
            total = self.bias.expand(count * height * width).clone()
            starts = [(a + margin) % step for a, margin, step in zip(place, padding, stride, strict=True)]
            for values in product(*map(range, starts, kernel, stride)):
                down, right = (
                    (a + margin - t) // step for a, margin, t, step in zip(place, padding, values, stride, strict=True)
                )
                column = columns[values]
                _clear_edge(column, 1, down)
                _clear_edge(column, 2, right)
                shift = down * width + right
                end = len(total) - abs(shift)
                total[max(0, -shift) :][:end] += column.flatten()[max(0, shift) :][:end]
            out[:, :, place[0], :, place[1]] = total.view(count, height, width)
        return out.view(count, 1, height * stride[0], width * stride[1])


def _clear_edge(images: Tensor, axis: int, shift: int) -> None:
    """Sets to zero what a shift of [N, H, W] by whole rows or columns would move across an edge."""
    if shift > 0:
        images.narrow(axis, 0, shift).zero_()
    elif shift < 0:
        images.narrow(axis, images.shape[axis] + shift, -shift).zero_()
