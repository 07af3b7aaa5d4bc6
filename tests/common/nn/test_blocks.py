"""Blocks of the networks."""

import pytest
import torch
from torch import nn

from common.nn.blocks import TransposedConv2d


def test_what_the_product_does_not_do_is_left_to_torch():
    h = torch.randn(2, 5, 6, 7)
    for options in ({"dilation": 2}, {"output_padding": 1}, {"bias": False}, {"out_channels": 5, "groups": 5}):
        torch.manual_seed(0)
        ours = TransposedConv2d(5, **{"out_channels": 1, "kernel_size": 4, "stride": 2, "padding": 1} | options)
        usual = nn.ConvTranspose2d(5, **{"out_channels": 1, "kernel_size": 4, "stride": 2, "padding": 1} | options)
        usual.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(h), usual(h))


KERNELS = [  # output channels, kernel, stride, padding
    (1, (4, 4), (2, 2), (1, 1)),  # the head of images
    (1, (4, 4), (4, 2), (0, 1)),  # the head of spectrograms
    (1, (6, 9), (2, 3), (2, 3)),  # shifts by several rows and columns
    (1, (3, 3), (3, 3), (0, 0)),
    (4, (2, 2), (2, 2), (0, 0)),  # a stage of images
    (4, (2, 3), (2, 3), (0, 0)),
    (4, (4, 4), (2, 2), (1, 1)),
    (1, (3, 5), (1, 3), (1, 0)),  # enlarges by other sizes than the stride
]


@pytest.mark.parametrize(("outputs", "kernel", "stride", "padding"), KERNELS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_product_of_matrices_is_the_transposed_convolution_with_its_gradients(
    outputs, kernel, stride, padding, layout
):
    ours = TransposedConv2d(5, outputs, kernel, stride, padding)
    usual = nn.ConvTranspose2d(5, outputs, kernel, stride, padding)
    usual.load_state_dict(ours.state_dict())
    h = torch.randn(3, 5, 6, 7).contiguous(memory_format=layout)
    outcomes = []
    for layer in (ours, usual):
        x = h.clone().requires_grad_()
        y = layer(x)
        (y * torch.arange(y.numel()).view_as(y).sin()).sum().backward()
        with torch.no_grad():
            outcomes.append((y, layer(h), x.grad, layer.weight.grad, layer.bias.grad))
    for own, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
