import pytest
import torch

from common.conditions.attributes import Categorical, Continuous
from common.data.examples import Examples
from common.data.splits import random_split
from common.evaluation.second_judge import EXAMPLES, StatisticsJudge, second_judge, support_vectors


def table(count=600):
    """Points of the plane: the side of a line, how far along it, and a field of a single value."""
    x = torch.randn(count, 2)
    along = (x[:, 0] + x[:, 1]).masked_fill(torch.arange(count) % 10 == 0, float("nan"))
    side = (x[:, 0] > x[:, 1]).long().masked_fill(torch.arange(count) % 7 == 0, -1)
    fields = {"side": side, "along": along, "kind": torch.zeros(count).long()}
    attributes = {"side": Categorical(["left", "right"]), "along": Continuous(), "kind": Categorical(["one", "two"])}
    return Examples(x, fields, attributes, random_split(count, (0.1, 0.3), seed=0))


def judge_of(examples, seen=None):
    def describe(x):
        if seen is not None:
            seen.append(len(x))
        return x.numpy()

    return StatisticsJudge(dict(examples.attributes), describe, support_vectors)


def test_it_reads_categories_and_numbers_and_leaves_out_what_has_a_single_value():
    torch.manual_seed(0)
    examples = table()
    judge = second_judge(examples, judge_of(examples), lambda x: x)
    assert set(judge.attributes) == set(judge.real.read) == {"side", "along"}
    assert judge.real.scores["side"].mean() > 0.93
    assert judge.real.scores["along"].mean() < 0.2  # absolute error; the deviation is 1.4
    test = examples.splits["test"]
    assert len(judge.real.scores["side"]) == int((examples.fields["side"][test] >= 0).sum()) < len(test)
    assert judge.real.features is None
    assert judge.read(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))["side"].tolist() == [1, 0]


@pytest.mark.parametrize(("steps", "expected"), [(None, EXAMPLES), (2, 128)])
def test_a_trial_is_trained_on_few_examples(steps, expected):
    examples, seen = table(10_000), []
    judge = judge_of(examples, seen)
    judge.make = lambda attribute: Constant()
    second_judge(examples, judge, lambda x: x, steps)
    assert seen[0] == expected


def test_there_is_no_judge_where_nothing_differs():
    examples = table(100)
    only = Examples(
        examples.x, {"kind": examples.fields["kind"]}, {"kind": examples.attributes["kind"]}, examples.splits
    )
    assert second_judge(only, judge_of(only), lambda x: x) is None


class Constant:
    """A predictor that learns nothing."""

    def fit(self, x, y):
        return self

    def predict(self, x):
        return torch.zeros(len(x)).numpy()
