import math

import pytest
import torch

from common.batch import Batch
from common.conditions.attributes import Categorical, Continuous, as_fields
from common.conditions.condition import Condition
from common.conditions.encoders import Composition, ConditionEncoder, FieldEmbeddings

NAN = float("nan")
KIND = Categorical(["cat", "dog", "owl"])
AGE = Continuous(mean=40.0, std=20.0, low=0.0, high=100.0)


class Embedding(ConditionEncoder):
    """The fields' embeddings side by side."""

    def __init__(self, attributes, dim=4, dropout=0.0, field_dropout=0.0):
        super().__init__(attributes, dropout, field_dropout)
        self.embeddings = FieldEmbeddings(attributes, dim)
        self.dim = dim * len(attributes)

    def forward(self, fields):
        return Condition(self.embeddings(fields))


def both(**arguments):
    return Embedding({"kind": KIND, "age": AGE}, **arguments)


def fields(count=1):
    return {"kind": torch.arange(count) % 3, "age": torch.linspace(20, 60, count)}


# Missing values


@pytest.mark.parametrize(("attribute", "missing", "present"), [(KIND, -1, 1), (AGE, NAN, 35.0)])
def test_missing_and_absent_values_have_the_same_embedding(attribute, missing, present):
    encoder = Embedding({"name": attribute})
    null = encoder({"name": attribute.tensor([missing])}).vector
    assert torch.equal(encoder({}).vector, null)
    assert torch.equal(encoder({"other": torch.zeros(1)}).vector, null)
    assert not torch.allclose(encoder({"name": attribute.tensor([present])}).vector, null, atol=1e-2)


def test_every_value_of_a_category_and_the_null_have_embeddings_of_their_own():
    embedded = Embedding({"kind": KIND})({"kind": torch.tensor([-1, 0, 1, 2])}).vector
    assert torch.pdist(embedded).min() > 0.1


def test_a_missing_field_leaves_the_embeddings_of_the_others_alone():
    encoder = both()
    whole, part = encoder(fields(3)).vector, encoder({"age": fields(3)["age"]}).vector
    assert torch.equal(part[:, 4:], whole[:, 4:])
    assert torch.equal(part[:, :4], encoder({}).vector.expand(3, -1)[:, :4])


def test_no_field_at_all_gives_one_row():
    assert both()({}).vector.shape == (1, 8)


def test_numbers_are_embedded_relative_to_mean_and_deviation():
    shifted = Embedding({"age": Continuous(mean=140.0, std=40.0)})
    plain = Embedding({"age": Continuous(mean=0.0, std=1.0)})
    plain.load_state_dict(shifted.state_dict())
    value = torch.tensor([-1.0, 0.0, 0.5])
    assert torch.allclose(shifted({"age": 140 + 40 * value}).vector, plain({"age": value}).vector, atol=1e-5)


def test_neighbouring_numbers_have_neighbouring_embeddings():
    encoder = Embedding({"age": AGE}, dim=16)
    near, here, far = encoder({"age": torch.tensor([40.5, 40.0, 80.0])}).vector
    assert (near - here).norm() < (far - here).norm() / 5


def test_missing_numbers_leave_all_gradients_finite():
    encoder = both()
    encoder({"kind": torch.tensor([0, -1, 2]), "age": torch.tensor([NAN, 30.0, NAN])}).vector.pow(2).sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    assert all(gradient.isfinite().all() and gradient.abs().sum() > 0 for gradient in gradients)


def test_only_missing_numbers_teach_the_null_embedding():
    encoder = Embedding({"age": AGE})
    null = encoder.embeddings.embeddings[0].null
    encoder({"age": torch.tensor([30.0, 40.0])}).vector.sum().backward()
    assert torch.equal(null.grad, torch.zeros(4))
    encoder({"age": torch.tensor([30.0, NAN])}).vector.sum().backward()
    assert torch.equal(null.grad, torch.ones(4))


# What a person types


def test_texts_become_raw_values():
    parsed = both().parse({"kind": "owl", "age": "33.5"})
    assert parsed["kind"].tolist() == [2]
    assert parsed["kind"].dtype == torch.int64
    assert parsed["age"].tolist() == [33.5]
    assert parsed["age"].dtype == torch.float32


def test_an_unknown_name_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"unknown condition 'sort'.*kind, age"):
        both().parse({"sort": "owl"})


def test_an_unknown_value_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"condition kind: 'cow' is not one of cat, dog, owl"):
        both().parse({"kind": "cow"})


def test_a_text_that_is_no_number_is_refused_with_the_range_of_training():
    with pytest.raises(ValueError, match=r"condition age: 'old' is not a number .*0 to 100"):
        both().parse({"age": "old"})


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a number \(seen in training: 0 to 100\)"):
        AGE.parse(text)


def test_a_number_outside_of_training_is_warned_of():
    with pytest.warns(UserWarning, match=r"the condition 120 lies outside .* \(seen in training: 0 to 100\)"):
        assert AGE.parse("120") == 120


def test_the_ends_of_the_range_lie_in_it(recwarn):
    ends = torch.tensor([0.1, 0.3])
    assert Continuous.fit(ends).parse("0.1") == ends[0].item()
    assert not recwarn


def test_a_mixture_mixes_the_embeddings():
    encoder = Embedding({"kind": KIND}).eval()
    cat, _, owl = encoder({"kind": torch.arange(3)}).vector
    mixed = encoder(encoder.parse({"kind": ["cat:0.7, owl:0.3", "owl"]})).vector
    assert torch.allclose(mixed, torch.stack([0.7 * cat + 0.3 * owl, owl]), atol=1e-6)
    fields = encoder.parse({"kind": torch.tensor([[0.7, 0.0, 0.3]])})
    assert torch.allclose(encoder(fields).vector, mixed[:1], atol=1e-6)
    assert not KIND.missing(fields["kind"]).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat:0.7,owl:0.2", r"the shares of a mixture sum to 1, not to 0\.9"),
        ("cat:0,cat:1", "has each value once with a share from 0 to 1"),
        ("cat:0.5,cat:0.5", "has each value once with a share from 0 to 1"),
        ("cat:1.5,owl:-0.5", "has each value once with a share from 0 to 1"),
        ("cat:x,owl:1", "has each value once with a share from 0 to 1"),
        ("cat:0.5,emu:0.5", "'emu' is not one of cat, dog, owl"),
    ],
)
def test_what_is_no_mixture_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        both().parse({"kind": text})


def test_a_value_with_a_colon_is_no_mixture():
    assert Categorical(["a:1", "b"]).field(["a:1"]).tolist() == [0]


def test_lists_are_values_of_several_examples():
    parsed = both().parse({"kind": ["owl", "cat", "owl"], "age": ["1", "2.5", "3"]})
    assert parsed["kind"].tolist() == [2, 0, 2]
    assert parsed["age"].tolist() == [1.0, 2.5, 3.0]


def test_numbers_and_tensors_are_raw_values():
    parsed = both().parse({"kind": [0, -1], "age": torch.tensor([30.0, NAN])})
    assert parsed["kind"].tolist() == [0, -1]
    assert parsed["age"].tolist()[0] == 30.0
    assert both().parse({"age": 30, "kind": 2})["age"].tolist() == [30]


@pytest.mark.parametrize("value", [3, -2, 12.0, 1.5, [0, 3], torch.tensor([1, 7]), torch.tensor([NAN])])
def test_a_number_that_is_no_category_is_refused_with_the_valid_ones(value):
    with pytest.raises(ValueError, match=r"condition kind: .* is no position \(0 to 2; .*\) among cat, dog, owl"):
        both().parse({"kind": value})


@pytest.mark.parametrize("value", [None, ["cat", 1], {"cat"}, "", [[0], [1, 2]]])
def test_what_is_no_value_is_refused_by_name(value):
    with pytest.raises(ValueError, match="condition kind: "):
        both().parse({"kind": value})


def test_an_observed_part_and_a_source_are_tensors_where_they_are_read():
    encoder = both()
    x = torch.randn(2, 3)
    with pytest.raises(ValueError, match="unknown condition 'observed'; this model knows: kind, age"):
        encoder.parse({"observed": x})
    encoder.reads_observed = True
    assert encoder.names == ["kind", "age", "observed"]
    assert encoder.parse({"observed": x})["observed"] is x
    with pytest.raises(ValueError, match="condition observed: is given as a tensor, not as text"):
        encoder.parse({"observed": "x"})


def test_further_fields_of_a_batch_need_not_be_known_but_must_be_tensors():
    encoder, size = both(), torch.tensor([7])
    assert encoder.parse({"kind": "cat", "size": size}, further=["size"])["size"] is size
    with pytest.raises(ValueError, match="unknown condition 'size'"):
        encoder.parse({"kind": "cat", "size": 7}, further=["size"])


def test_the_parts_of_a_composition_read_their_own_texts():
    class Place(Embedding):
        def parse_texts(self, name, texts):
            return super().parse_texts(name, [text.lower() for text in texts])

    whole = Composition([Embedding({"age": AGE}), Place({"kind": KIND})])
    assert whole.names == ["age", "kind"]
    parsed = whole.parse({"kind": "OWL", "age": "4", "size": torch.zeros(1)}, further=["size"])
    assert {name: field.tolist() for name, field in parsed.items()} == {"kind": [2], "age": [4.0], "size": [0.0]}
    with pytest.raises(ValueError, match="unknown condition 'sort'; this model knows: age, kind"):
        whole.parse({"sort": "owl"})


def test_fields_of_one_length_repeat_single_values_and_refuse_others():
    device = torch.device("cpu")
    given = {"kind": torch.tensor([1]), "age": torch.tensor([1.0, 2.0])}
    assert as_fields(given, device)["kind"].tolist() == [1, 1]
    assert as_fields({"kind": torch.tensor([1])}, device, size=3)["kind"].tolist() == [1, 1, 1]
    assert as_fields({}, device, size=3) == {}
    with pytest.raises(ValueError, match="condition kind has 2 values, for 3 examples: give one, or 3"):
        as_fields({"kind": torch.tensor([1, 2]), "age": torch.tensor([1.0, 2.0, 3.0])}, device)


def test_an_unconditional_encoder_knows_no_name():
    with pytest.raises(ValueError, match="the model is unconditional"):
        Embedding.parse(ConditionEncoder({}), {"kind": "owl"})


# Dropout

COUNT = 20_000


def drop(encoder, given):
    """Raw fields as a training step sees them."""
    return encoder.drop(Batch(torch.zeros(len(next(iter(given.values()))), 1), given)).condition


def dropped(encoder):
    """Which examples lose which field, [COUNT, 2]."""
    marked = drop(encoder, fields(COUNT))
    return torch.stack([encoder.attributes[name].missing(marked[name]) for name in ("kind", "age")], dim=1).float()


def rate(value):
    return pytest.approx(value, abs=4 * math.sqrt(0.25 / COUNT))


@pytest.mark.parametrize("options", [{"dropout": 1.5}, {"field_dropout": -0.1}])
def test_a_rate_of_dropout_is_a_probability(options):
    with pytest.raises(ValueError, match="is a probability, from 0 to 1; got"):
        both(**options)


def test_dropout_drops_all_fields_of_an_example_together_at_its_rate():
    lost = dropped(both(dropout=0.3))
    assert lost[:, 0].mean().item() == rate(0.3)
    assert torch.equal(lost[:, 0], lost[:, 1])


def test_field_dropout_drops_fields_independently_at_its_rate():
    lost = dropped(both(field_dropout=0.3))
    assert lost.mean(0).tolist() == [rate(0.3), rate(0.3)]
    assert lost.prod(1).mean().item() == rate(0.09)


def test_both_dropouts_add_up():
    lost = dropped(both(dropout=0.2, field_dropout=0.3))
    assert lost[:, 0].mean().item() == rate(1 - 0.8 * 0.7)
    assert lost.prod(1).mean().item() == rate(0.2 + 0.8 * 0.09)


def test_dropout_leaves_the_other_values_and_the_given_fields_alone():
    given = fields(100)
    marked = drop(both(dropout=0.5), given)
    for name in given:
        kept = ~(marked[name].isnan() | (marked[name] == -1))
        assert torch.equal(marked[name][kept], given[name][kept])
        assert torch.equal(given[name], fields(100)[name])


def test_an_embedding_drops_nothing():
    encoder = both(dropout=0.9, field_dropout=0.9)
    assert torch.equal(encoder(fields(50)).vector, encoder.embeddings(fields(50)))


def test_a_view_loses_what_its_example_loses():
    encoder = both(dropout=0.3, field_dropout=0.3)
    other = {"kind": torch.zeros(COUNT, dtype=torch.int64), "age": torch.full((COUNT,), 30.0)}
    x = torch.zeros(COUNT, 1)
    marked = encoder.drop(Batch(x, fields(COUNT), view=Batch(x, other)))
    for name, attribute in encoder.attributes.items():
        lost = attribute.missing(marked.condition[name])
        assert 0.4 < lost.float().mean() < 0.6
        assert torch.equal(attribute.missing(marked.view.condition[name]), lost)
        assert torch.equal(marked.view.condition[name][~lost], other[name][~lost])


def test_what_is_no_attribute_is_never_dropped():
    encoder = both(dropout=1.0)
    given = {**fields(4), "source": torch.ones(4, 3, dtype=torch.int64)}
    assert torch.equal(drop(encoder, given)["source"], given["source"])


@pytest.mark.parametrize(
    ("attribute", "field"),
    [
        (KIND, torch.tensor([0, 1])),
        (KIND, torch.tensor([0.0, 1.0])),
        (AGE, torch.tensor([30.0, 40.0])),
        (AGE, torch.tensor([30, 40])),
    ],
)
def test_a_dropped_field_is_missing_whatever_its_type(attribute, field):
    encoder = Embedding({"name": attribute}, dropout=1.0)
    marked = drop(encoder, {"name": field})["name"]
    assert attribute.missing(marked).all()
    assert torch.equal(encoder.embeddings({"name": marked}), encoder({}).vector.expand(2, -1))


# Composition


def test_a_composition_concatenates_its_parts():
    kind, age = Embedding({"kind": KIND}, dim=3), Embedding({"age": AGE}, dim=5)
    whole = Composition([kind, age])
    assert whole.dim == 8
    assert list(whole.attributes) == ["kind", "age"]
    assert torch.equal(whole(fields(4)).vector, torch.cat([kind(fields(4)).vector, age(fields(4)).vector], dim=1))


def test_a_composition_mixes_present_and_absent_fields():
    kind, age = Embedding({"kind": KIND}, dim=3), Embedding({"age": AGE}, dim=5)
    found = Composition([kind, age])({"kind": torch.tensor([0, 2])}).vector
    parts = [kind({"kind": torch.tensor([0, 2])}).vector, age({}).vector.expand(2, -1)]
    assert torch.equal(found, torch.cat(parts, dim=1))
    assert Composition([kind, age])({}).vector.shape == (1, 8)


def test_the_parts_of_a_composition_drop_on_their_own():
    parts = [Embedding({"kind": KIND}, dropout=1.0), Embedding({"age": AGE})]
    whole = Composition(parts)
    found, null = whole(drop(whole, fields(5))).vector, whole({}).vector
    assert torch.equal(found[:, :4], null[:, :4].expand(5, -1))
    assert not torch.allclose(found[:, 4:], null[:, 4:].expand(5, -1), atol=1e-2)


# Attributes


def test_statistics_of_a_number_come_from_its_known_values():
    fitted = Continuous.fit(torch.tensor([1.0, NAN, 3.0, 8.0, NAN]))
    assert (fitted.mean, fitted.std, fitted.low, fitted.high) == pytest.approx((4, math.sqrt(26 / 3), 1, 8))


def test_a_constant_number_has_deviation_one():
    assert Continuous.fit(torch.tensor([5.0, 5.0])) == Continuous(5.0, 1.0, 5.0, 5.0)


def test_a_number_without_any_value_is_refused():
    with pytest.raises(ValueError, match="no value"):
        Continuous.fit(torch.tensor([NAN, NAN]))


def test_values_of_a_category_are_texts():
    digits = Categorical(range(10))
    assert digits.parse("7") == 7
    assert digits.values[3] == "3"
