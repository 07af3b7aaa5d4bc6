import torch

from common.nn.film import FiLM, concatenate, expand


def test_a_condition_is_repeated_for_every_draw_of_its_example():
    c, z = torch.randn(3, 2), torch.randn(5, 4, 3, 6)
    expanded = expand(c, z)
    assert expanded.shape == (5, 4, 3, 2)
    assert torch.equal(expanded[2, 1], c)


def test_one_condition_serves_every_example():
    c = torch.randn(1, 2)
    assert torch.equal(expand(c, torch.randn(4, 3, 6))[2], c.expand(3, 2))


def test_concatenation_puts_the_condition_behind():
    h, c = torch.randn(4, 3, 6), torch.randn(3, 2)
    joined = concatenate(h, c)
    assert torch.equal(joined[..., :6], h)
    assert torch.equal(joined[1, :, 6:], c)


def test_concatenation_keeps_the_type_of_the_network():
    assert concatenate(torch.randn(3, 6).bfloat16(), torch.randn(3, 2)).dtype == torch.bfloat16


def test_film_starts_as_the_identity():
    h = torch.randn(2, 5, 4, 4)
    assert torch.equal(FiLM(3, 5)(h, torch.randn(2, 3)), h)


def test_film_scales_and_shifts_each_channel_by_the_condition():
    film = FiLM(3, 5)
    torch.nn.init.normal_(film.linear.weight)
    torch.nn.init.normal_(film.linear.bias)
    c = torch.randn(2, 3)
    scale, shift = film.linear(c)[:, :5], film.linear(c)[:, 5:]
    for shape in [(2, 5), (2, 5, 7), (2, 5, 4, 4)]:
        h = torch.randn(shape)
        moved = film(h, c)
        assert moved.shape == h.shape
        expected = h[1, 3] * (1 + scale[1, 3]) + shift[1, 3]
        assert torch.allclose(moved[1, 3], expected, atol=1e-6)
