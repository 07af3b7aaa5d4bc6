import pytest
import torch
from torch import nn

from modalities.text.networks.attention import LatentReader
from modalities.text.networks.copying import ROWS, LatentWords, Words


@pytest.fixture
def words():
    torch.manual_seed(0)
    return Words(torch.randn(2, 3, 4), torch.randn(7, 4), torch.randn(7))


def test_probabilities_targets_and_mean_embeddings_agree(words):
    p = torch.softmax(torch.einsum("nme,ve->nmv", words.states, words.table) + words.bias, -1)
    assert torch.allclose(words.probabilities, p, atol=1e-6)
    target = torch.tensor([[0, 6, 2, 2], [5, 1, 3, 0]])
    of = torch.stack([p[row][:, target[row]] for row in range(2)])
    assert torch.allclose(words.of(target), of.log(), atol=1e-5)
    expected = sum(p[..., word, None] * words.table[word] for word in range(7))
    assert torch.allclose(words.embeddings, expected, atol=1e-5)


def test_some_rows_have_their_own_words_and_all_rows_what_is_known_already(words):
    assert torch.allclose(words[torch.tensor([1])].probabilities, words.probabilities[1:], atol=1e-6)
    assert torch.allclose(words[1:].probabilities, words.probabilities[1:], atol=1e-6)
    assert words[:] is words[0:2] is words


def test_without_a_gradient_words_are_told_some_rows_at_a_time():
    rows, told = 2 * ROWS + 5, []

    class Watched(Words):
        def __getitem__(self, chosen):
            part = super().__getitem__(chosen)
            told.append(len(part.states))
            return part

    many = Watched(torch.randn(rows, 3, 4), torch.randn(7, 4), torch.randn(7))
    with torch.no_grad():
        parts = many.embeddings
    assert told == [ROWS, ROWS, 5]
    assert torch.allclose(parts, Words(many.states, many.table, many.bias).embeddings, atol=1e-6)


def latent_words(inputs, width, vocabulary):
    torch.manual_seed(0)
    return LatentWords(inputs, width, torch.zeros(vocabulary)).requires_grad_(False)


def test_words_are_told_by_the_direction_of_their_embedding_alone():
    network, table = latent_words(5, 8, 20), torch.randn(20, 8)
    z, c, lengths = torch.randn(2, 3, 3), torch.randn(2, 2), torch.rand(20, 1) + 0.1
    given, longer = network(z, c, table), network(z, c, lengths * table)
    assert torch.allclose(given.probabilities, longer.probabilities, atol=1e-5)
    assert not torch.allclose(given.probabilities, network(z, c + 1, table).probabilities, atol=1e-2)


def test_random_embeddings_seen_through_a_random_projection_are_told_apart():
    width, size, vocabulary = 160, 48, 2000
    network, table = latent_words(size + 1, width, vocabulary), 0.02 * torch.randn(vocabulary, width)
    for weight in network.network.parameters():
        nn.init.zeros_(weight)
    projection = torch.randn(width, size)
    network.direct.weight[:, :size] = projection
    z = (nn.functional.normalize(table, dim=-1) @ projection).unsqueeze(0)
    p = network(z, torch.zeros(1, 1), table).probabilities[0]
    assert (p.argmax(-1) == torch.arange(vocabulary)).float().mean() > 0.95
    assert p.diagonal().mean() > 0.2  # where one of 2,000 at random has .0005


def test_a_reader_reads_the_words_as_well():
    reader = LatentReader(3, 2, 4, width=8, heads=2, layers=1, dropout=0.0, word_dim=5).requires_grad_(False)
    z, c, words = torch.randn(2, 3, 2), torch.randn(2, 4), nn.functional.normalize(torch.randn(2, 3, 5), dim=-1)
    states, others = reader(z, c, words), words.clone()
    others[0, 1] = -others[0, 1]
    difference = (reader(z, c, others) - states).abs().amax(-1)
    assert (difference[0] > 1e-3).all()
    assert (difference[1] == 0).all()
