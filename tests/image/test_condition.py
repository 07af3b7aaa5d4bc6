import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical, Continuous
from modalities.image import ImageCVAE
from modalities.image.condition import AttributeEncoder
from modalities.image.networks import MLP

ATTRIBUTES = {
    "gender": Categorical(["male", "female"]),
    "race": Categorical(["a", "b", "c"]),
    "age": Continuous(30.0, 10.0, 0.0, 90.0),
}


def fields():
    return {"gender": torch.tensor([0, 1, 1]), "race": torch.tensor([2, 0, 1]), "age": torch.tensor([5.0, 30.0, 60.0])}


def test_several_attributes_become_one_embedding_of_the_given_size_for_each_example():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    together = encoder(fields()).vector
    assert together.shape == (3, 16)
    for row in range(3):
        alone = encoder({name: field[row : row + 1] for name, field in fields().items()}).vector
        assert torch.allclose(together[row : row + 1], alone, atol=1e-6)
    assert torch.pdist(together).min() > 0.05  # three people, three embeddings
    assert encoder(fields()).observed is encoder(fields()).source is None


@pytest.mark.parametrize("name", list(ATTRIBUTES))
def test_every_attribute_moves_the_embedding_of_its_example_alone(name):
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    changed = fields()
    changed[name][0] = 1
    difference = (encoder(changed).vector - encoder(fields()).vector).abs().amax(1)
    assert difference[0] > 1e-3
    assert difference[1:].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_attributes_left_out_count_as_missing():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    missing = {**fields(), "race": torch.full((3,), -1), "age": torch.full((3,), float("nan"))}
    given = {"gender": fields()["gender"]}
    assert torch.equal(encoder(given).vector, encoder(missing).vector)
    assert not torch.allclose(encoder(given).vector, encoder(fields()).vector, atol=1e-3)


def test_no_attribute_at_all_gives_the_null_embedding():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    missing = {"gender": torch.tensor([-1]), "race": torch.tensor([-1]), "age": torch.tensor([float("nan")])}
    assert encoder({}).vector.shape == (1, 16)
    assert torch.allclose(encoder({}).vector, encoder(missing).vector)


def test_attributes_that_are_not_used_change_nothing():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16, use=["race"])
    assert list(encoder.attributes) == ["race"]
    assert torch.equal(encoder(fields()).vector, encoder({"race": fields()["race"]}).vector)


def test_using_no_attribute_gives_a_constant_of_the_same_size():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16, dropout=0.5, use=[])
    assert encoder(fields()).vector.shape == (1, 16)
    assert torch.equal(encoder(fields()).vector, encoder({}).vector)


def test_using_an_unknown_attribute_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"cannot condition on height; the data has: gender, race, age"):
        AttributeEncoder(ATTRIBUTES, use=["race", "height"])


def test_dropout_teaches_the_null_embedding_in_training_only(monkeypatch):
    encoder = AttributeEncoder(ATTRIBUTES, dim=16, dropout=1.0)
    model = ImageCVAE(encoder, (1, 4, 4), 2, MLP([8]))
    draws, seen = model.draws, []
    monkeypatch.setattr(model, "draws", lambda batch, *rest: seen.append(batch) or draws(batch, *rest))
    batch = Batch(torch.ones(3, 1, 4, 4), fields())
    model.training_step(batch, 0)
    model.validation_step(batch, 0)
    trained, validated = (encoder(shown.condition).vector for shown in seen)
    assert torch.allclose(trained, encoder({}).vector.expand(3, -1), atol=1e-6)
    assert torch.equal(validated, encoder(fields()).vector)
    assert not torch.allclose(validated, encoder({}).vector.expand(3, -1), atol=1e-3)


def test_a_missing_age_leaves_all_gradients_finite():
    encoder = AttributeEncoder(ATTRIBUTES, dim=16)
    encoder({**fields(), "age": torch.tensor([5.0, float("nan"), 60.0])}).vector.pow(2).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
