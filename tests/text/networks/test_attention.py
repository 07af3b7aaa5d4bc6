import torch
from torch import nn

from modalities.text.networks.attention import LatentReader, Pooling


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
