"""What was read, in words."""

import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.overview import overview


class Pets(ConditionalDataModule):
    """Four animals, one of them in validation and one in the test."""

    def load(self):
        fields = {"pet": torch.tensor([0, 0, 1, -1]), "age": torch.tensor([1.0, 3.0, 9.0, float("nan")])}
        attributes = {"pet": Categorical(["cat", "dog", "emu"]), "age": Continuous(2.0, 1.0, 1.0, 3.0)}
        splits = {"train": torch.tensor([0, 1, 3]), "val": torch.tensor([2]), "test": torch.tensor([2])}
        return Examples(torch.zeros(4, 1, 2), fields, attributes, splits)


def test_splits_counts_numbers_and_gaps_are_told():
    first, pet, age, repeated = overview(Pets()).splitlines()
    assert first.startswith("Pets: 3 train, 1 val, 1 test examples of 1 x 2 (fingerprint ")
    assert (
        pet == "  condition pet: cat 2, dog 0, emu 0; 1 without; never in training: dog, emu; in no test example: cat"
    )
    assert age == "  condition age: a number from 1 to 3, mean 2; 1 without"
    assert repeated == "  1 test examples are in train as well"


def test_what_no_training_example_has_cannot_be_asked_for():
    pet = Pets().attributes["pet"]
    assert pet.untrained == ("dog", "emu")
    with pytest.raises(ValueError, match="'emu' was in no training example, so that the model knows nothing of it"):
        pet.parse("emu")
    assert pet.parse("cat") == 0
    assert pet == Categorical(["cat", "dog", "emu"])


def test_a_limit_keeps_examples_of_each_split():
    data = Pets(limit=3)
    assert {name: len(rows) for name, rows in data.examples.splits.items()} == {"train": 2, "val": 1, "test": 1}


def test_data_that_are_only_scored_have_no_splits():
    data = Pets()
    data.scores_all = True
    assert overview(data).startswith("Pets: 4 examples of 1 x 2")


def test_what_a_step_takes_is_told_where_several_batches_make_one():
    data = Pets(batch_size=64)
    assert "step" not in overview(data)
    assert overview(data, 2).splitlines()[-1] == (
        "  a step of the optimiser takes 128 examples: 64 a batch, 2 processes"
    )
    assert overview(data, 2, 3).splitlines()[-1] == (
        "  a step of the optimiser takes 384 examples: 64 a batch, 2 processes, 3 batches"
    )
    assert overview(data, 1, 3).splitlines()[-1] == (
        "  a step of the optimiser takes 192 examples: 64 a batch, 3 batches"
    )
