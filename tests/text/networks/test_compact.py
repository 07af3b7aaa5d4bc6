import pytest
import torch
from torch import nn

from modalities.text.networks.compact import TextEncoder
from modalities.text.networks.context import KeyValueCache
from tests.text.models import random_context, random_decoder, word_tokenizer

WORDS = word_tokenizer("a", "b", "c", "d", "e")


def encoder(condition_dim=0):
    made = TextEncoder(len(WORDS), 8, WORDS.pad, width=8, heads=2, layers=2, condition_dim=condition_dim)
    for weight in made.parameters():
        nn.init.normal_(weight, std=0.5)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("condition_dim", [0, 3])
def test_padding_changes_no_state(condition_dim):
    network, c = encoder(condition_dim), torch.randn(2, 3) if condition_dim else None
    tokens = torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]])
    states, padded = network(tokens, c), network(nn.functional.pad(tokens, (0, 4), value=WORDS.pad), c)
    assert states.shape == (2, 4, 8)
    assert torch.allclose(states[0], padded[0, :4], atol=1e-5)
    assert torch.allclose(states[1, :2], padded[1, :2], atol=1e-5)
    alone = network(tokens[1:, :2], None if c is None else c[1:])
    assert torch.allclose(states[1, :2], alone[0], atol=1e-5)


def test_every_token_and_the_condition_reach_every_state():
    network, tokens, c = encoder(3), torch.tensor([[4, 5, 6, 2]]), torch.randn(1, 3)
    states = network(tokens, c)
    for changed, condition in [
        (torch.tensor([[8, 5, 6, 2]]), c),
        (torch.tensor([[4, 5, 8, 2]]), c),
        (torch.tensor([[5, 4, 6, 2]]), c),
        (tokens, c + 1),
    ]:
        assert ((network(changed, condition) - states).abs().amax(-1) > 1e-3).all()


@pytest.mark.parametrize(
    ("inject", "layers"), [("prefix", 0), ("addition", 0), ("both", 0), ("prefix", 2), ("both", 1)]
)
def test_the_decoder_sees_latent_and_condition_but_no_later_token(inject, layers):
    decoder = random_decoder(WORDS, 6, inject, latent_layers=layers)
    tokens, z, c = torch.tensor([[1, 4, 5, 6]]), torch.randn(1, 2, 3), torch.randn(1, 4)
    log_p = decoder(tokens, decoder.context(z, c))
    assert torch.allclose(log_p.logsumexp(-1), torch.zeros(1, 4), atol=1e-5)
    later = decoder(torch.tensor([[1, 4, 8, 7]]), decoder.context(z, c))
    assert torch.allclose(later[:, :2], log_p[:, :2], atol=1e-5)
    assert not torch.allclose(later[:, 2:], log_p[:, 2:], atol=1e-2)
    for context in (
        decoder.context(z + torch.tensor([[[0.0], [1.0]]]), c),
        decoder.context(z, c + 1),
        decoder.context(None, c),
    ):
        assert not torch.allclose(decoder(tokens, context), log_p, atol=1e-2)


def test_a_cache_continues_where_it_stopped_and_follows_reordered_rows():
    decoder = random_decoder(WORDS, 6, "both", source=True)
    context, tokens = random_context(decoder, WORDS, 3), torch.randint(4, 9, (3, 6))
    whole, cache = decoder(tokens, context), KeyValueCache()
    parts = [decoder(tokens[:, :1], context, cache), decoder(tokens[:, 1:4], context, cache)]
    assert torch.allclose(torch.cat(parts, dim=1), whole[:, :4], atol=1e-4)
    order = torch.tensor([2, 2, 0])
    cache.select(order)
    assert torch.allclose(decoder(tokens[order, 4:], context[order], cache), whole[order, 4:], atol=1e-4)
