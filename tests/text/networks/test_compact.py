import pytest
import torch
from torch import nn

from modalities.text.networks.attention import LatentReader, Pooling
from modalities.text.networks.compact import TextEncoder
from modalities.text.networks.context import Cache
from tests.text.models import random_decoder, random_memory, word_tokenizer

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
    log_p = decoder(tokens, decoder.remember(z, c))
    assert torch.allclose(log_p.logsumexp(-1), torch.zeros(1, 4), atol=1e-5)
    later = decoder(torch.tensor([[1, 4, 8, 7]]), decoder.remember(z, c))
    assert torch.allclose(later[:, :2], log_p[:, :2], atol=1e-5)
    assert not torch.allclose(later[:, 2:], log_p[:, 2:], atol=1e-2)
    for memory in (
        decoder.remember(z + torch.tensor([[[0.0], [1.0]]]), c),
        decoder.remember(z, c + 1),
        decoder.remember(None, c),
    ):
        assert not torch.allclose(decoder(tokens, memory), log_p, atol=1e-2)


def test_a_cache_continues_where_it_stopped_and_follows_reordered_rows():
    decoder = random_decoder(WORDS, 6, "both", source=True)
    memory, tokens = random_memory(decoder, WORDS, 3), torch.randint(4, 9, (3, 6))
    whole, cache = decoder(tokens, memory), Cache()
    parts = [decoder(tokens[:, :1], memory, cache), decoder(tokens[:, 1:4], memory, cache)]
    assert torch.allclose(torch.cat(parts, dim=1), whole[:, :4], atol=1e-4)
    order = torch.tensor([2, 2, 0])
    cache.select(order)
    assert torch.allclose(decoder(tokens[order, 4:], memory[order], cache), whole[order, 4:], atol=1e-4)


def test_a_reader_lets_every_vector_and_the_condition_reach_every_state_and_tells_vectors_apart():
    reader = LatentReader(3, 2, 4, width=8, heads=2, layers=1, dropout=0.0).requires_grad_(False)
    for weight in reader.parameters():
        nn.init.normal_(weight, std=0.5)
    z, c = torch.randn(2, 3, 2), torch.randn(2, 4)
    states = reader(z, c)
    assert states.shape == (2, 3, 8)
    for vector in range(3):
        moved = z.clone()
        moved[0, vector] += 1
        difference = (reader(moved, c) - states).abs().amax(-1)
        assert (difference[0] > 1e-3).all()
        assert (difference[1] == 0).all()
    assert ((reader(z, c + 1) - states).abs().amax(-1) > 1e-3).all()
    assert not torch.allclose(reader(z.flip(1), c).flip(1), states, atol=1e-2)


def pooling(vectors, stride):
    made = Pooling(8, vectors, outputs=6, heads=2, stride=stride)
    return made.requires_grad_(False)


def reads(pool, states, real):
    """Which vector changes with which token, [vectors, T]."""
    before, columns = pool(states, real), []
    for token in range(states.shape[1]):
        changed = states.clone()
        changed[:, token] += torch.randn(8)
        columns.append((pool(changed, real) - before).abs().amax(dim=(0, 2)) > 1e-5)
    return torch.stack(columns, dim=1).int().tolist()


def test_with_a_stride_each_vector_reads_its_own_tokens_and_the_last_one_the_rest():
    states, real = torch.randn(1, 7, 8), torch.ones(1, 7, dtype=torch.bool)
    assert reads(pooling(3, stride=2), states, real) == [
        [1, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 1, 1],
    ]


def test_without_a_stride_every_vector_reads_everything_but_padding():
    real = torch.tensor([[True, True, True, False]])
    assert reads(pooling(2, stride=0), torch.randn(1, 4, 8), real) == [[1, 1, 1, 0], [1, 1, 1, 0]]


def test_a_vector_without_a_token_of_its_own_is_zero():
    real = torch.tensor([[True, True, True, False, False, False]])
    pooled = pooling(3, stride=2)(torch.randn(1, 6, 8), real)
    assert pooled[0, 2].tolist() == [0] * 6
    assert (pooled[0, :2] != 0).all()
