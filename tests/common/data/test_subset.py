"""Parts of a data set, on a table of two categories and a number."""

import pytest
import torch
from lightning.pytorch import Trainer

from common.conditions.attributes import Categorical, Continuous
from common.conditions.classifier import RealFigures
from common.data.datamodule import ConditionalDataModule
from common.data.examples import Examples
from common.data.splits import random_split
from common.data.subset import Subset
from common.evaluation.evaluation import Evaluation
from common.evaluation.report import Report
from common.training.evaluator import Evaluator
from tests.common.models import PointCVAE


class Grid(ConditionalDataModule):
    """600 examples with a colour and a shape each, 100 of every combination, and a weight."""

    def load(self):
        colour, shape = torch.arange(600) % 3, torch.arange(600) // 3 % 2
        attributes = {
            "colour": Categorical(("red", "green", "blue")),
            "shape": Categorical(("round", "square")),
            "weight": Continuous(),
        }
        fields = {"colour": colour, "shape": shape, "weight": torch.arange(600.0)}
        return Examples(torch.arange(600.0).unsqueeze(1), fields, attributes, random_split(600, (0.1, 0.2), 0))


@pytest.fixture
def table():
    return Grid().whole


def counts(table, split):
    rows = table.splits[split]
    return torch.stack([table.fields["colour"][rows], table.fields["shape"][rows]], 1).unique(
        dim=0, return_counts=True
    )[1]


def test_a_number_of_examples_of_every_combination_is_kept(table):
    few = Subset(examples=7)(table)
    assert counts(few, "train").tolist() == [7] * 6
    assert few.splits["val"].equal(table.splits["val"])
    assert few.splits["test"].equal(table.splits["test"])
    assert set(few.splits["train"].tolist()) <= set(table.splits["train"].tolist())


def test_more_examples_contain_the_fewer(table):
    fewer, more = (set(Subset(examples=n)(table).splits["train"].tolist()) for n in (5, 9))
    assert fewer < more
    assert fewer != set(Subset(examples=5, seed=1)(table).splits["train"].tolist())


def test_a_combination_held_out_is_in_the_test_split_alone(table):
    subset = Subset(hold_out=[{"colour": "blue", "shape": "round"}])
    part = subset(table)
    for split in ("train", "val"):
        assert len(counts(part, split)) == 5
    held_out = subset.held_out(table)
    assert held_out.sum() == 100
    assert not held_out[part.splits["train"]].any()
    assert held_out[part.splits["test"]].sum() > 0


def test_shuffled_conditions_are_the_same_ones_of_other_examples(table):
    shuffled = Subset(shuffle=["colour", "shape"])(table)
    for split, rows in table.splits.items():
        before = torch.stack([table.fields["colour"][rows], table.fields["shape"][rows]], 1)
        after = torch.stack([shuffled.fields["colour"][rows], shuffled.fields["shape"][rows]], 1)
        assert (before == after).all(1).float().mean() < 0.4, split  # 1 / 6 by chance
        for kind in (before, after):
            assert kind.unique(dim=0).shape[0] == 6
        assert before.sort(dim=0).values.equal(after.sort(dim=0).values)
    assert shuffled.fields["weight"] is table.fields["weight"]
    assert table.fields["colour"][:3].tolist() == [0, 1, 2]  # the table itself stays as it is


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (Subset(shuffle=["size"]), "no condition named size to shuffle; the data has: colour, shape, weight"),
        (Subset(hold_out=[{"weight": "3"}]), "weight is no categorical condition of this data; it has: colour, shape"),
        (Subset(hold_out=[{"colour": "pink"}]), "'pink' is not one of red, green, blue"),
        (Subset(hold_out=[{"shape": "round"}, {"shape": "square"}]), "leaves no example for train"),
    ],
)
def test_a_mistake_is_named(table, subset, message):
    with pytest.raises(ValueError, match=message):
        subset(table)


def test_a_data_module_trains_on_the_part_and_stays_what_it_is():
    data = Grid(batch_size=6)
    before = data.attributes, data.shape, data.fingerprint
    Subset(examples=2, hold_out=[{"colour": "red", "shape": "square"}]).take_from(data)
    assert (data.attributes, data.shape, data.fingerprint) == before
    assert data.train_size == 10
    assert (
        data.unseen("test").sum()
        == ((data.conditions("test")["colour"] == 0) & (data.conditions("test")["shape"] == 1)).sum()
    )
    untouched = Grid()
    Subset().take_from(untouched)
    assert untouched.unseen("test") is None
    assert untouched.examples is untouched.whole


class Exact:
    """Reads colour and shape off examples that say them."""

    def __init__(self, data):
        self.attributes = {name: data.attributes[name] for name in ("colour", "shape")}
        rows = data.examples.splits["test"]
        truth = {name: data.examples.fields[name][rows] for name in self.attributes}
        self.real = RealFigures.of(self, [data.examples.x[rows]], truth)

    def read(self, x):
        return {"colour": x[:, 0].round().long() % 3, "shape": x[:, 0].round().long() // 3 % 2}

    def features(self, x):
        return x.float() @ torch.ones(1, 2) + torch.tensor([[0.0, 1.0]])


def test_a_test_measures_combinations_held_out_apart():
    class Judged(Report):
        def make_judge(self, data):
            return Exact(data)

    data = Grid(batch_size=60)
    Subset(hold_out=[{"colour": "blue", "shape": "round"}]).take_from(data)
    model = PointCVAE(evaluation=Evaluation(num_samples=20, control_samples=60))
    model.encoder, model.decoder = torch.nn.Linear(1, 4), torch.nn.Linear(2, 1)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    evaluator = Evaluator(model.evaluation, Judged())
    trainer = Trainer(accelerator="cpu", devices=1, callbacks=[evaluator], enable_checkpointing=False, **quiet)
    trainer.test(model, data, verbose=False)
    unseen = data.unseen("test")
    figures = evaluator.results
    assert 0 < unseen.sum() < len(unseen)
    assert figures["test/unseen/nll"].n == unseen.sum()
    assert figures["test/unseen/nll"].value == pytest.approx(evaluator.examples["nll"][unseen].mean().item())
    assert figures["test/nll"].n == len(unseen)
    assert figures["test/unseen/control_accuracy"].n == 60
    assert figures["test/unseen/control_accuracy"].value != figures["test/control_accuracy"].value
    apart = {name.removeprefix("test/unseen/") for name in figures if name.startswith("test/unseen/")}
    fields = {f"control_accuracy/{name}" for name in ("colour", "shape")}
    assert apart == {"nll", "control_accuracy", *fields}  # the judge and the distance know no combination apart
