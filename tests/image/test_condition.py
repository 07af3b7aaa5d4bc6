import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from modalities.image.condition import AttributeEncoder

ATTRIBUTES = {
    "gender": Categorical(["male", "female"]),
    "race": Categorical(["a", "b", "c"]),
    "age": Continuous(30.0, 10.0, 0.0, 90.0),
}


def fields():
    return {"gender": torch.tensor([0, 1, 1]), "race": torch.tensor([2, 0, 1]), "age": torch.tensor([5.0, 30.0, 60.0])}


def test_several_attributes_become_one_embedding_of_the_given_size():
    assert AttributeEncoder(ATTRIBUTES, dim=16)(fields()).shape == (3, 16)


@pytest.mark.parametrize("name", list(ATTRIBUTES))
def test_every_attribute_moves_the_embedding_of_its_example_alone(name):
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    changed = fields()
    changed[name][0] = 1
    difference = (encoder(changed) - encoder(fields())).abs().amax(1)
    assert difference[0] > 1e-3
    assert difference[1:].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_attributes_left_out_count_as_missing():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    missing = {**fields(), "race": torch.full((3,), -1), "age": torch.full((3,), float("nan"))}
    given = {"gender": fields()["gender"]}
    assert torch.equal(encoder(given), encoder(missing))
    assert not torch.allclose(encoder(given), encoder(fields()), atol=1e-3)


def test_no_attribute_at_all_gives_the_null_embedding():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    missing = {"gender": torch.tensor([-1]), "race": torch.tensor([-1]), "age": torch.tensor([float("nan")])}
    assert encoder({}).shape == (1, 16)
    assert torch.allclose(encoder({}), encoder(missing))


def test_attributes_that_are_not_used_change_nothing():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16, use=["race"])
    assert list(encoder.attributes) == ["race"]
    assert torch.equal(encoder(fields()), encoder({"race": fields()["race"]}))


def test_using_no_attribute_gives_a_constant_of_the_same_size():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16, dropout=0.5, use=[])
    assert encoder(fields()).shape == (1, 16)
    assert torch.equal(encoder(fields()), encoder({}))


def test_using_an_unknown_attribute_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"cannot condition on height; the data has: gender, race, age"):
        AttributeEncoder(ATTRIBUTES, use=["race", "height"])


def test_dropout_teaches_the_null_embedding_in_training_only():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16, dropout=1.0)
    assert torch.allclose(encoder(fields()), encoder({}).expand(3, -1), atol=1e-6)
    encoder.eval()
    assert not torch.allclose(encoder(fields()), encoder({}).expand(3, -1), atol=1e-3)


def test_a_missing_age_leaves_all_gradients_finite():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    encoder({**fields(), "age": torch.tensor([5.0, float("nan"), 60.0])}).pow(2).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
