import pytest
import torch

from common.seeding import seeded


def test_the_generator_goes_on_as_if_nothing_had_been_drawn():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    with seeded(7):
        torch.randn(100)
    assert torch.equal(torch.randn(4), expected)


def test_the_seed_alone_decides_what_is_drawn_inside():
    draws = []
    for outside, seed in ((0, 5), (1, 5), (1, 6)):
        torch.manual_seed(outside)
        with seeded(seed):
            draws.append(torch.randn(3))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[1], draws[2])
    assert torch.equal(draws[0], torch.randn(3, generator=torch.Generator().manual_seed(5)))


def test_an_error_inside_leaves_the_generator_as_it_was_too():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="drawn"), seeded(1):
        raise ValueError(f"drawn {torch.randn(3)}")
    assert torch.equal(torch.get_rng_state(), before)
