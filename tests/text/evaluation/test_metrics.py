import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modalities.text.evaluation.metrics import NgramModel, bleu, distinct, rows_of, self_bleu

VERSES = ["in the beginning god created the heaven", "and god saw the light that it was good"]


def test_identical_texts_have_bleu_100_and_strangers_none():
    same = bleu(VERSES, [[verse] for verse in VERSES])
    assert same.value == pytest.approx(100)
    assert same.n == 2
    assert "sacrebleu nrefs:1|case:mixed" in same.estimator
    assert "version:" in same.estimator
    assert bleu(VERSES, [["quite another text"], ["nothing of it"]]).value < 5


def test_bleu_takes_the_best_of_several_references():
    assert bleu(VERSES, [["nothing of it", verse] for verse in VERSES]).value == pytest.approx(100)


def test_bleu_of_a_shorter_text_is_its_brevity_penalty():
    short = bleu(["in the beginning god created"], [["in the beginning god created the heaven and all"]])
    assert short.value == pytest.approx(100 * math.exp(1 - 9 / 5), rel=1e-4)


@pytest.mark.parametrize(("n", "share"), [(1, 4 / 7), (2, 4 / 5), (3, 3 / 3)])
def test_distinct_counts_different_ngrams(n, share):
    assert distinct(["a b a c", "a b d"], n).value == pytest.approx(share)


def test_distinct_of_nothing_is_zero():
    assert distinct(["", "a"], 2).value == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), max_size=6),
    st.tuples(st.integers(-1, 5), st.integers(-1, 5)),
    st.integers(1, 3),
)
def test_ngram_probabilities_sum_to_one_in_every_context(sentences, context, order):
    model = NgramModel(sentences, 6, order)
    given = context[2 - (order - 1) :]
    assert sum(model.probability(given, token) for token in range(6)) == pytest.approx(1)
    assert all(model.probability(given, token) > 0 for token in range(6)) or not sentences


def test_kneser_ney_bigrams_by_hand():
    model = NgramModel([[0, 1], [0, 1], [2, 1]], vocabulary=4, order=2, discount=0.75)
    # Different contexts of each token: 0 begins a sentence, so does 2; 1 follows 0 and 2.
    single = {token: max(count - 0.75, 0) / 4 + 0.75 * 3 / 4 / 4 for token, count in enumerate([1, 2, 1, 0])}
    assert model.probability((0,), 1) == pytest.approx((2 - 0.75) / 2 + 0.75 / 2 * single[1])
    assert model.probability((0,), 3) == pytest.approx(0.75 / 2 * single[3])
    assert model.probability((3,), 2) == pytest.approx(single[2])  # a context never seen


def test_a_model_that_has_read_nothing_has_the_perplexity_of_the_vocabulary():
    assert NgramModel([], 50).perplexity([[1, 2, 3], [4]]).value == pytest.approx(50)


def test_perplexity_is_that_of_a_token_whatever_the_length_of_sentences():
    model = NgramModel([[0, 1, 2]] * 50, 10)
    once, twice = model.perplexity([[0, 1, 2]]), model.perplexity([[0, 1, 2]] * 2)
    assert once.value == pytest.approx(twice.value)
    assert once.value < 1.1
    assert model.perplexity([[2, 1, 0]]).value > 10


def test_rows_lose_their_padding():
    assert rows_of(torch.tensor([[3, 2, 0], [2, 0, 0]]), pad=0) == [[3, 2], [2]]


def test_self_bleu_tells_the_same_from_the_different():
    same = ["the cat sat on the mat today", "the cat sat on the mat today"]
    other = ["the cat sat on the mat today", "a dog ran through my old garden"]
    assert self_bleu([same, same]).value == pytest.approx(100)
    assert self_bleu([other, other]).value < 10
    assert self_bleu([same, same]).n == 4


def test_bleu_and_diversity_count_characters_of_a_script_without_spaces():
    output, reference = "今天天气非常好", "今天天气真的好"
    assert bleu([output], [[reference]], "chinese").value > 30  # 今天天气 is common to both
    assert "tok:zh" in bleu([output], [[reference]], "chinese").estimator
    assert bleu([output], [[reference]]).value < 10  # a single word between spaces
    assert "tok:char" in bleu(["สวัสดี"], [["สวัสดี"]], "characters").estimator
    assert distinct(["今天天气"], 1).value == pytest.approx(3 / 4)
    assert self_bleu([[output, output]], "chinese").value == pytest.approx(100)
