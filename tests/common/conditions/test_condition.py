import pytest
import torch

from common.conditions.condition import Condition, Source

NAN = float("nan")


def whole(value, tokens):
    """One condition of every part: a vector, an observed image of two pixels, a source sentence of two tokens."""
    observed = torch.tensor([[[value, NAN]]])
    source = Source(torch.full((1, 2, 3), value), torch.tensor([tokens]))
    return Condition(torch.tensor([[value, 2 * value]]), observed, source)


def test_one_condition_becomes_that_of_many_in_every_part():
    many = whole(1.5, [7, 8]).expand(4)
    assert len(many) == 4
    assert many.vector.tolist() == [[1.5, 3.0]] * 4
    assert many.observed.shape == (4, 1, 2)
    assert many.observed[:, 0, 0].tolist() == [1.5] * 4
    assert many.observed[:, 0, 1].isnan().all()
    assert many.source.states.shape == (4, 2, 3)
    assert many.source.tokens.tolist() == [[7, 8]] * 4


def test_a_condition_of_that_size_stays_as_it_is():
    three = Condition(torch.randn(3, 2))
    assert three.expand(3) is three
    assert (three.observed, three.source) == (None, None)


def test_an_absent_part_stays_absent():
    many = Condition(torch.tensor([[1.0]])).expand(2)
    assert (many.observed, many.source) == (None, None)


def test_conditions_of_several_examples_become_no_other_number():
    with pytest.raises(RuntimeError):
        Condition(torch.randn(3, 2)).expand(4)


@pytest.mark.parametrize(("share", "vector"), [(0.0, [1.0, 2.0]), (0.25, [2.0, 4.0]), (0.75, [4.0, 8.0])])
def test_vectors_mix_on_the_way_to_another_condition(share, vector):
    assert whole(1.0, [1, 2]).interpolate(whole(5.0, [3, 4]), share).vector.tolist() == [vector]


@pytest.mark.parametrize(("share", "value", "tokens"), [(0.0, 1.0, [1, 2]), (0.49, 1.0, [1, 2]), (0.5, 5.0, [3, 4])])
def test_what_is_observed_or_read_comes_from_the_nearer_end(share, value, tokens):
    between = whole(1.0, [1, 2]).interpolate(whole(5.0, [3, 4]), share)
    assert between.observed[0, 0, 0].item() == value
    assert between.source.tokens.tolist() == [tokens]
    assert between.source.states.unique().tolist() == [value]


def test_rows_of_a_condition_have_all_of_its_parts():
    whole = Condition(torch.randn(4, 2), torch.randn(4, 3), Source(torch.randn(4, 5, 6), torch.arange(20).view(4, 5)))
    part = whole[1:3]
    assert (len(part), part.observed.shape, part.source.states.shape) == (2, (2, 3), (2, 5, 6))
    assert torch.equal(part.vector, whole.vector[1:3])
    assert torch.equal(part.source.tokens, whole.source.tokens[1:3])
    alone = Condition(torch.randn(4, 2))[slice(0, 1)]
    assert (len(alone), alone.observed, alone.source) == (1, None, None)
