"""Data in a checkpoint's terms: by name, never by position."""

import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.data.examples import Examples
from common.data.terms import Terms, name_map, renamed


def examples(fields, attributes, shape=(1,)):
    count = len(next(iter(fields.values())))
    rows = torch.arange(count)
    return Examples(torch.zeros(count, *shape), fields, attributes, {"train": rows, "val": rows[:0], "test": rows})


PETS = examples({"pet": torch.tensor([0, 1, 2, -1])}, {"pet": Categorical(["bird", "cat", "dog"])})


def known(**attributes):
    return {"attributes": attributes}


def test_categories_are_found_by_name():
    read, notes = Terms(known(pet=Categorical(["dog", "bird", "fish", "cat"])), ["pet"]).applied(PETS)
    assert read.fields["pet"].tolist() == [1, 3, 0, -1]
    assert read.attributes["pet"].values == ("dog", "bird", "fish", "cat")
    assert notes == []


def test_unknown_categories_are_refused_with_both_lists_or_added():
    terms = known(pet=Categorical(["dog", "cat"]))
    with pytest.raises(
        ValueError, match=r"does not know bird; it knows: dog, cat; the data has: bird, cat, dog.*--data.map"
    ):
        Terms(terms, ["pet"]).applied(PETS)
    read, _ = Terms(terms, ["pet"], extend=True).applied(PETS)
    assert read.attributes["pet"].values == ("dog", "cat", "bird")
    assert read.fields["pet"].tolist() == [2, 1, 0, -1]


def test_a_missing_condition_is_refused_where_the_model_reads_it():
    terms = known(pet=PETS.attributes["pet"], colour=Categorical(["red"]))
    with pytest.raises(ValueError, match=r"no condition colour.*the data has: pet"):
        Terms(terms, ["pet", "colour"]).applied(PETS)
    assert set(Terms(terms, ["pet"]).applied(PETS)[0].attributes) == {"pet"}


def test_a_condition_that_the_model_does_not_know_is_left_out_in_words_or_added():
    both = examples({**PETS.fields, "age": torch.arange(4.0)}, {**PETS.attributes, "age": Continuous()})
    terms = known(pet=PETS.attributes["pet"])
    read, notes = Terms(terms, ["pet"]).applied(both)
    assert list(read.attributes) == ["pet"]
    assert "left out" in notes[0]
    assert "age" in notes[0]
    assert list(Terms(terms, ["pet"], extend=True).applied(both)[0].attributes) == ["pet", "age"]


def test_numbers_keep_the_statistics_of_the_model_whatever_kind_the_data_suggest():
    age = Continuous(42.0, 10.0, 1.0, 90.0)
    numbers = examples({"age": torch.tensor([70.0, 80.0])}, {"age": Continuous(75.0, 5.0, 70.0, 80.0)})
    assert Terms(known(age=age), ["age"]).applied(numbers)[0].attributes["age"] == age
    few = examples({"age": torch.tensor([0, 1, -1])}, {"age": Categorical(["7", "9"])})
    read, _ = Terms(known(age=age), ["age"]).applied(few)
    assert read.fields["age"][:2].tolist() == [7.0, 9.0]
    assert read.fields["age"][2].isnan()
    with pytest.raises(ValueError, match="names cat"):
        Terms(known(age=age), ["age"]).applied(examples({"age": torch.tensor([0])}, {"age": Categorical(["cat"])}))


def test_categories_of_numbers_are_found_in_a_column_that_is_now_continuous():
    stars = examples({"stars": torch.tensor([3.0, 1.0, float("nan")])}, {"stars": Continuous()})
    read, _ = Terms(known(stars=Categorical(["1", "2", "3"])), ["stars"]).applied(stars)
    assert read.fields["stars"].tolist() == [2, 0, -1]


def test_examples_of_another_shape_are_refused_unless_a_new_training_starts():
    terms = {**known(pet=PETS.attributes["pet"]), "shape": [3, 8, 8]}
    with pytest.raises(ValueError, match=r"shape \(1,\), the checkpoint's model reads \(3, 8, 8\)"):
        Terms(terms).applied(PETS)
    Terms(terms, extend=True).applied(PETS)


def test_names_are_mapped_and_joined():
    answers = examples({"answer": torch.tensor([0, 1, 2, -1])}, {"answer": Categorical(["No", "Yes", "yes"])})
    read = renamed(answers, name_map(["Yes=yes", "answer=reply"]))
    assert read.attributes["reply"].values == ("No", "yes")
    assert read.fields["reply"].tolist() == [0, 1, 1, -1]
    assert renamed(answers, name_map("answer:No=no")).attributes["answer"].values == ("no", "Yes", "yes")
    with pytest.raises(ValueError, match=r"called Maybe; there are: answer \(No, Yes, yes\)"):
        renamed(answers, {"Maybe": "no"})


@pytest.mark.parametrize("pairs", ["a", "=b", "a=", ["a=b", "a=c"]])
def test_a_wrong_map_is_refused(pairs):
    with pytest.raises(ValueError, match=r"data\.map"):
        name_map(pairs)
