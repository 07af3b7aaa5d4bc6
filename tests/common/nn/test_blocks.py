"""Blocks of the networks."""

import pytest
import torch
from torch import nn

from common.nn.blocks import TransposedConv2d


def test_what_the_product_does_not_do_is_left_to_torch():
    h = torch.randn(2, 5, 6, 7)
    for options in ({"dilation": 2}, {"output_padding": 1}, {"bias": False}):
        torch.manual_seed(0)
        ours = TransposedConv2d(5, 1, 4, 2, 1, **options)
        torch.manual_seed(0)
        torch.testing.assert_close(ours(h), nn.ConvTranspose2d(5, 1, 4, 2, 1, **options)(h))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((4, 4), (2, 2), (1, 1)), ((4, 4), (4, 2), (0, 1)), ((3, 5), (1, 3), (1, 0))]
)
def test_the_product_of_matrices_is_the_transposed_convolution_with_its_gradients(kernel, stride, padding):
    torch.manual_seed(0)
    ours = TransposedConv2d(5, 1, kernel, stride, padding)
    torch.manual_seed(0)
    usual = nn.ConvTranspose2d(5, 1, kernel, stride, padding)
    assert ours.state_dict().keys() == usual.state_dict().keys()
    h = torch.randn(3, 5, 6, 7).contiguous(memory_format=torch.channels_last)
    outcomes = []
    for layer in (ours, usual):
        x = h.clone().requires_grad_()
        y = layer(x)
        (y * torch.arange(y.numel()).view_as(y).sin()).sum().backward()
        outcomes.append((y, x.grad, layer.weight.grad, layer.bias.grad))
    for own, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)
