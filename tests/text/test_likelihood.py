import itertools
import math

import pytest
import torch
from torch import Tensor

from common.distributions.guidance import extrapolate
from modalities.text import likelihood
from modalities.text.likelihood import TokenSequence
from modalities.text.networks.compact import TextDecoder
from modalities.text.networks.copying import Words
from tests.text.models import WORDS, random_context, random_decoder, random_sentences, random_sources, word_tokenizer

TWO, FIVE = word_tokenizer("a", "b"), word_tokenizer("a", "b", "c", "d", "e")
KINDS = [("prefix", False), ("addition", False), ("both", False), ("prefix", True), ("both", True), ("prefix", WORDS)]
kinds = pytest.mark.parametrize(("inject", "source"), KINDS)


def random_rows(tokenizer, rows, length):
    """Sentences of one to `length` tokens, their ends included."""
    x = torch.randint(4, len(tokenizer), (rows, length))
    for row in range(rows):
        end = row % length
        x[row, end] = tokenizer.eos
        x[row, end + 1 :] = tokenizer.pad
    return x


def step_log_probs(p: TokenSequence, row: int, tokens: list[int]) -> Tensor:
    """Log-probabilities [V] of what follows some tokens: the network run on nothing but them."""
    given = torch.tensor([[p.tokenizer.bos, *tokens]])
    return p.decoder(given, p.context[torch.tensor([row])])[0, -1]


def all_sentences(tokenizer, length):
    """Every finished sentence of at most `length` tokens, and every unfinished one of that length, [N, length]."""
    words = [token for token in range(len(tokenizer)) if token not in [*tokenizer.special, tokenizer.eos]]
    finished = [[*chosen, tokenizer.eos] for n in range(length) for chosen in itertools.product(words, repeat=n)]
    unfinished = [list(chosen) for chosen in itertools.product(words, repeat=length)]
    rows = [row + [tokenizer.pad] * (length - len(row)) for row in finished + unfinished]
    return torch.tensor(rows), len(finished)


def only(p, row, count=1):
    """The distribution of one row, `count` times."""
    return TokenSequence(p.decoder, p.context[torch.full((count,), row)], (count,), p.tokenizer)


# Probability


@kinds
def test_the_probability_of_a_sentence_is_the_product_of_its_steps(inject, source):
    p, x = random_sentences(FIVE, 4, 5, inject, source), random_rows(FIVE, 4, 5)
    expected = torch.zeros(4, 5)
    for row, sentence in enumerate(x.tolist()):
        for step, token in enumerate(sentence[: sentence.index(FIVE.eos) + 1]):
            expected[row, step] = step_log_probs(p, row, sentence[:step])[token]
    assert torch.allclose(p.token_log_prob(x), expected, atol=1e-4)
    assert torch.allclose(p.log_prob(x), expected.sum(1), atol=1e-4)


@kinds
def test_padding_batch_and_chunks_change_no_probability(inject, source, monkeypatch):
    p, x = random_sentences(FIVE, 6, 8, inject, source), random_rows(FIVE, 6, 5)
    expected = p.log_prob(x)
    padded = torch.nn.functional.pad(x, (0, 3), value=FIVE.pad)
    assert torch.allclose(p.log_prob(padded), expected, atol=1e-4)
    alone = torch.cat([only(p, row).log_prob(x[row : row + 1]) for row in range(6)])
    assert torch.allclose(alone, expected, atol=1e-4)
    monkeypatch.setattr(likelihood, "SCORED_TOKENS", 11)
    with torch.no_grad():
        assert torch.allclose(p.log_prob(x), expected, atol=1e-4)


def test_chunks_are_used_only_where_no_gradient_is_needed(monkeypatch):
    p, x = random_sentences(FIVE, 6, 5), random_rows(FIVE, 6, 5)
    monkeypatch.setattr(likelihood, "SCORED_TOKENS", 10)
    calls = []
    p.decoder.norm.register_forward_hook(lambda module, given, result: calls.append(len(given[0])))
    with torch.no_grad():
        p.log_prob(x)
    with torch.enable_grad():
        p.log_prob(x)
    assert calls == [2, 2, 2, 6]


def test_writing_without_the_cache_writes_the_same():
    p = random_sentences(FIVE, 6, 5)
    torch.manual_seed(3)
    cached = p.sample((2,))
    torch.manual_seed(3)
    assert torch.equal(p.sample((2,), cached=False), cached)


@pytest.mark.parametrize("source", [False, True])
def test_targets_score_as_they_do_among_all_tokens(source):
    p, x = random_sentences(FIVE, 6, 5, source=source), random_rows(FIVE, 6, 5).long()
    given = p._shifted(x)
    among_all = p.decoder(given, p.context).gather(-1, x.unsqueeze(-1)).squeeze(-1)
    real = x != FIVE.pad
    torch.testing.assert_close(p.decoder.score(given, x, p.context)[real], among_all[real], atol=1e-5, rtol=1e-5)


def test_several_draws_of_z_share_one_source_sentence_each():
    decoder = random_decoder(FIVE, 5, source=True)
    z, c, source = torch.randn(3, 4, 2, 3), torch.randn(4, 4), random_sources(FIVE, 4)
    x = random_rows(FIVE, 4, 5)
    context = decoder.context(z.flatten(0, 1), c.repeat(3, 1), source)
    found = TokenSequence(decoder, context, (3, 4), FIVE).log_prob(x)
    alone = [TokenSequence(decoder, decoder.context(draw, c, source), (4,), FIVE).log_prob(x) for draw in z]
    assert torch.allclose(found, torch.stack(alone), atol=1e-4)


@kinds
def test_all_sentences_and_the_unfinished_rest_have_probability_one(inject, source):
    p = random_sentences(TWO, 3, 4, inject, source)
    x, _ = all_sentences(TWO, 4)
    for row in range(3):
        assert only(p, row, len(x)).log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_hidden_words_tell_the_decoder_nothing_but_their_number():
    p = random_sentences(FIVE, 2, 5)
    p.word_dropout = 1.0
    first, second = torch.tensor([[4, 5, 6, 7, 2]] * 2), torch.tensor([[8, 8, 4, 7, 2]] * 2)
    assert torch.equal(p.token_log_prob(first)[:, 3:], p.token_log_prob(second)[:, 3:])
    p.word_dropout = 0.0
    assert not torch.allclose(p.token_log_prob(first)[:, 3:], p.token_log_prob(second)[:, 3:], atol=1e-2)


def test_word_dropout_hides_its_share_and_never_the_start():
    p = random_sentences(FIVE, 1, 5)
    p.word_dropout = 0.3
    given = p._shifted(torch.full((4000, 6), 5))
    assert (given[:, 0] == FIVE.bos).all()
    assert (given[:, 1:] == FIVE.mask).float().mean().item() == pytest.approx(0.3, abs=0.02)


# Copying


def test_the_copy_gate_gives_probabilities_with_and_without_a_source():
    p = random_sentences(FIVE, 3, 5, source=True)
    log_p = p.decoder(torch.tensor([[FIVE.bos, 4, 5]] * 3), p.context)
    assert torch.allclose(log_p.logsumexp(-1), torch.zeros(3, 3), atol=1e-4)


def test_an_open_copy_gate_writes_tokens_of_the_source_alone_and_a_missing_source_closes_it():
    p = random_sentences(FIVE, 3, 5, source=True)
    p.context.source_tokens = torch.tensor([[4, 5, FIVE.pad], [6, 6, 6], [FIVE.pad] * 3])
    p.decoder.copy.gate.bias.fill_(100.0)
    given = torch.tensor([[FIVE.bos]] * 3)
    open_gate = p.decoder(given, p.context)[:, 0].exp()
    assert open_gate[0, [4, 5]].sum().item() == pytest.approx(1, abs=1e-4)
    assert open_gate[1, 6].item() == pytest.approx(1, abs=1e-4)
    p.decoder.copy.gate.bias.fill_(-100.0)
    closed = p.decoder(given, p.context)[:, 0].exp()
    assert torch.allclose(open_gate[2], closed[2])
    assert not torch.allclose(open_gate[0], closed[0], atol=1e-2)


def test_an_open_copy_gate_of_the_latent_writes_the_words_that_its_vectors_stand_for():
    p = random_sentences(FIVE, 2, 5, source=WORDS)
    words = torch.full((2, 2, len(FIVE)), 1e-9)
    words[0, 0, 4], words[0, 1, 5] = 1.0, 1.0
    words[1, :, 6], words[1, :, 7] = 0.75, 0.25
    vocabulary = len(FIVE)
    p.context.words = (p.context.words[0], Words(words.log(), torch.eye(vocabulary), torch.zeros(vocabulary)))
    p.decoder.copy_latent.gate.bias.fill_(100.0)
    given = torch.tensor([[FIVE.bos]] * 2)
    spoken = p.decoder(given, p.context)[:, 0].exp()
    assert spoken[0, [4, 5]].sum().item() == pytest.approx(1, abs=1e-4)
    assert spoken[1, [6, 7]].tolist() == pytest.approx([0.75, 0.25], abs=1e-4)
    p.decoder.copy_latent.gate.bias.fill_(-100.0)
    p.context.words = None
    assert not torch.allclose(spoken, p.decoder(given, p.context)[:, 0].exp(), atol=1e-2)


# Writing


@kinds
def test_cached_decoding_equals_decoding_from_the_start(inject, source):
    p = random_sentences(FIVE, 8, 6, inject, source)
    for row, sentence in enumerate(p.mode.tolist()):
        tokens: list[int] = []
        while FIVE.eos not in tokens:
            log_p = step_log_probs(p, row, tokens)
            tokens.append(int(log_p.argmax()) if len(tokens) < 5 else FIVE.eos)
        assert sentence == tokens + [FIVE.pad] * (6 - len(tokens))


def test_written_sentences_end_within_the_length_and_hold_no_special_token():
    p = random_sentences(FIVE, 50, 6)
    p.decoder.bias.fill_(0.0)  # special tokens are now as likely as any
    p.decoder.bias[FIVE.eos] = -20.0
    for x in (p.mode, p.sample(), p.beam(3)):
        ends = (x == FIVE.eos).float().argmax(1)
        assert (x == FIVE.eos).sum(1).tolist() == [1] * 50
        for row, end in zip(x.tolist(), ends.tolist(), strict=True):
            assert not set(row[:end]) & set(FIVE.special)
            assert set(row[end + 1 :]) <= {FIVE.pad}


def test_samples_come_as_often_as_they_are_likely():
    count, p = 20_000, random_sentences(TWO, 1, 3)
    x, _ = all_sentences(TWO, 3)
    log_p = only(p, 0, len(x)).log_prob(x)
    expected: dict[tuple[int, ...], float] = {}
    for row, value in zip(x.tolist(), log_p.exp().tolist(), strict=True):
        cut = (*row[:2], TWO.eos) if TWO.eos not in row[:2] else tuple(row)  # the last token is always the end
        expected[cut] = expected.get(cut, 0.0) + value
    assert sum(expected.values()) == pytest.approx(1, abs=1e-4)
    drawn = only(p, 0, count).sample().tolist()
    for sentence, probability in expected.items():
        assert drawn.count(list(sentence)) / count == pytest.approx(probability, abs=4 * math.sqrt(0.25 / count))


def test_samples_have_the_shape_of_the_draws_before_that_of_the_batch():
    decoder = random_decoder(FIVE, 5)
    p = TokenSequence(decoder, random_context(decoder, FIVE, 6), (2, 3), FIVE)
    assert p.sample((4,)).shape == (4, 2, 3, 5)
    assert p.mode.shape == p.beam(2).shape == p.sample().shape == (2, 3, 5)
    assert p.support.check(p.sample()).all()


def test_the_lower_the_temperature_the_nearer_to_the_mode():
    p = random_sentences(FIVE, 20, 5)
    assert torch.equal(p.sample((), temperature=1e-4), p.mode)
    assert torch.equal(p.sample((), temperature=0.0), p.mode)
    assert torch.equal(p.sample((2,), temperature=0.0, top_p=0.5), torch.stack([p.mode, p.mode]))


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (0.01, [1, 0, 0, 0]),
        (0.5, [1, 0, 0, 0]),
        (0.6, [0.625, 0.375, 0, 0]),
        (0.9, [0.5263, 0.3158, 0.1579, 0]),
        (1.0, [0.5, 0.3, 0.15, 0.05]),
    ],
)
def test_top_p_keeps_the_fewest_tokens_that_have_the_probability(top_p, expected):
    order = torch.tensor([2, 0, 3, 1])  # likeliest first: tokens 2, 0, 3, 1
    log_p = torch.empty(4)
    log_p[order] = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    drawn = likelihood._draw(log_p.expand(20_000, -1), top_p).bincount(minlength=4)[order] / 20_000
    assert drawn.tolist() == pytest.approx(expected, abs=0.015)
    assert all(share > 0 for share, kept in zip(drawn.tolist(), expected, strict=True) if kept)
    assert all(share == 0 for share, kept in zip(drawn.tolist(), expected, strict=True) if not kept)


# Beam search


@kinds
def test_a_beam_of_one_is_greedy(inject, source):
    p = random_sentences(FIVE, 8, 6, inject, source)
    assert torch.equal(p.beam(1, length_penalty=0.0), p.mode)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("source", [False, True])
def test_a_beam_as_wide_as_there_are_sentences_finds_the_best_of_all(penalty, source):
    p = random_sentences(TWO, 10, 5, source=source)
    p.decoder.bias[TWO.eos] = -3.0  # so that the best are long
    x, finished = all_sentences(TWO, 5)
    x = x[:finished]
    lengths = (x != TWO.pad).sum(1)
    found = p.beam(40, penalty)
    for row in range(10):
        best = (only(p, row, finished).log_prob(x) / lengths**penalty).argmax()
        assert found[row].tolist() == x[best].tolist()


def test_a_wider_beam_hardly_ever_finds_a_less_likely_sentence():
    p = random_sentences(FIVE, 200, 6)
    greedy, wide = p.log_prob(p.mode), p.log_prob(p.beam(4, length_penalty=0.0))
    assert (wide >= greedy - 1e-4).float().mean() >= 0.97
    assert (wide > greedy + 1e-3).float().mean() >= 0.05


def test_the_rows_of_a_batch_search_on_their_own():
    p = random_sentences(FIVE, 6, 6, source=True)
    alone = torch.cat([only(p, row).beam(3) for row in range(6)])
    assert torch.equal(p.beam(3), alone)


def test_a_higher_length_penalty_writes_longer_sentences():
    p = random_sentences(FIVE, 100, 8)
    short, long = (p.beam(8, penalty).ne(FIVE.pad).sum(1).float().mean() for penalty in (0.0, 1.0))
    assert long > short


# Guidance


def pair(inject="prefix", source=False):
    """A distribution and another of the same decoder, as the one under the null condition."""
    p = random_sentences(FIVE, 4, 5, inject, source)
    null = TokenSequence(p.decoder, random_context(p.decoder, FIVE, 4), (4,), FIVE)
    return p, null


def test_guidance_one_is_the_distribution_itself_and_zero_the_null_one():
    (p, null), x = pair(), random_rows(FIVE, 4, 5)
    assert extrapolate(p, null, 1.0) is p
    assert torch.allclose(p.extrapolate(null, 1.0).log_prob(x), p.log_prob(x), atol=1e-4)
    assert torch.allclose(extrapolate(p, null, 0.0).log_prob(x), null.log_prob(x), atol=1e-4)
    assert torch.equal(extrapolate(p, null, 0.0).mode, null.mode)


@kinds
def test_guidance_moves_every_step_and_renormalises_it(inject, source):
    (p, null), x = pair(inject, source), random_rows(FIVE, 4, 5)
    guided = extrapolate(p, null, 2.0)
    for row, sentence in enumerate(x.tolist()):
        steps = []
        for step, token in enumerate(sentence[: sentence.index(FIVE.eos) + 1]):
            own, other = step_log_probs(p, row, sentence[:step]), step_log_probs(null, row, sentence[:step])
            steps.append((2 * own - other).log_softmax(-1)[token])
        assert guided.log_prob(x)[row].item() == pytest.approx(float(sum(steps)), abs=1e-3)
    assert torch.equal(guided.beam(1, 0.0), guided.mode)


def test_training_reaches_every_weight_of_the_decoder():
    decoder = TextDecoder(
        len(FIVE), 6, FIVE.bos, FIVE.pad, width=8, heads=2, layers=2, vectors=2, vector_dim=3, condition_dim=4,
        inject="both", source_dim=5, copy=True,
    )  # fmt: skip
    p = TokenSequence(decoder, random_context(decoder, FIVE, 6), (6,), FIVE)
    p.log_prob(random_rows(FIVE, 6, 6)).sum().backward()
    assert [name for name, weight in decoder.named_parameters() if weight.grad is None or not weight.grad.any()] == []
