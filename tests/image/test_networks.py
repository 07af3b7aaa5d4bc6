import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modalities.image.networks import MLP, ResidualConv


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.sampled_from([1, 3]), st.sampled_from([MLP([16]), ResidualConv()]))
def test_any_size_that_is_a_multiple_of_four_goes_in_and_comes_out(height, width, channels, architecture):
    shape = (channels, 4 * height, 4 * width)
    x, z, c = torch.rand(2, *shape), torch.randn(2, 5), torch.randn(2, 3)
    assert architecture.encoder(shape, 3, 10)(x, c).shape == (2, 10)
    assert architecture.decoder(5, 3, shape)(z, c).shape == (2, *shape)


def test_more_stages_go_deeper_where_the_size_allows_it():
    architecture = ResidualConv(channels=(4, 8, 16, 16), blocks=(0, 1, 1, 2), width=32)
    assert architecture.coarsest((3, 64, 64)) == (16, 4, 4)
    with pytest.raises(ValueError, match="28 x 28 images cannot be halved 4 times"):
        architecture.encoder((1, 28, 28), 3, 10)


def test_channels_and_blocks_must_agree():
    with pytest.raises(ValueError, match="same number of stages"):
        ResidualConv(channels=(4, 8), blocks=(1,))


@pytest.mark.parametrize("architecture", [MLP([16]), ResidualConv(width=32)])
def test_the_condition_reaches_encoder_and_decoder(architecture):
    shape, c = (1, 8, 8), torch.randn(1, 3, requires_grad=True)
    for output in (
        architecture.encoder(shape, 3, 10)(torch.rand(1, *shape), c),
        architecture.decoder(5, 3, shape)(torch.randn(1, 5), c),
    ):
        # FiLM starts at the identity: its weights have a gradient even where c has none yet
        output.sum().backward()
    weights = architecture.decoder(5, 3, shape)
    loss = weights(torch.randn(4, 5), torch.randn(4, 3)).pow(2).sum()
    loss.backward()
    reached = [name for name, weight in weights.named_parameters() if weight.grad is not None and weight.grad.any()]
    assert any("film" in name or "layers.0" in name for name in reached)
