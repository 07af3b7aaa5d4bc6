"""What control figures say about the judge that they come from, and about categories that no test example has."""

import pytest
import torch

from common.conditions.attributes import Categorical
from common.conditions.classifier import RealFigures
from common.evaluation.control import at_chance, control_figures
from common.results import Measurement

STYLES = {"style": Categorical(["calm", "loud", "rare"])}
MIXED = {"style": torch.tensor([0] * 40 + [1] * 60)}


class Loud:
    """A judge that answers `loud` to everything, and a model that writes nothing."""

    attributes, sampled = STYLES, "samples"

    def __init__(self):
        self.real = RealFigures.of(self, [torch.zeros(100, 1)], MIXED)

    def read(self, x):
        return {"style": torch.ones(len(x), dtype=torch.int64)}

    def features(self, x):
        return torch.randn(len(x), 2)

    def sample(self, condition, guidance=1.0):
        return torch.zeros(1, len(condition["style"]), 1)


def test_a_judge_at_chance_is_warned_of_and_categories_that_are_not_tested_are_named():
    with pytest.warns(UserWarning, match=r"the judge of style is at chance: right on 0\.600 .* 'loud' on 0\.600"):
        figures = control_figures(Loud(), Loud(), MIXED, 100, seed=0)
    assert figures["test/control_accuracy"].value == pytest.approx(0.6)
    for name in ("control", "judge"):
        assert figures[f"test/{name}_accuracy/style"].estimator.endswith(", no example of rare")


@pytest.mark.parametrize(("right", "warned"), [(0.62, True), (0.69, True), (0.95, False)])
def test_chance_is_the_share_of_the_commonest_answer_within_two_standard_errors(right, warned):
    figures = {"test/judge_accuracy/style": Measurement.accuracy((torch.arange(100) < 100 * right).float(), "judge")}
    assert bool(at_chance(figures, STYLES, MIXED)) == warned
    assert not at_chance(figures, STYLES, {"style": torch.ones(100, dtype=torch.int64)})  # one style has no chance


class Quiet(Loud):
    """Another judge, who hears calm in every third."""

    features = None

    def read(self, x):
        return {"style": (torch.arange(len(x)) % 3 > 0).long()}


@pytest.mark.filterwarnings("ignore:the judge of style is at chance")
def test_two_judges_read_the_same_samples_and_how_often_they_agree_is_told():
    figures = control_figures(Loud(), Loud(), MIXED, 99, seed=0, batch_size=99, second=Quiet())
    assert figures["test/judges_agree/style"].value == pytest.approx(2 / 3)
    assert figures["test/judges_agree_real/style"].value == pytest.approx(0.66)
    assert figures["test/second_judge/judge_accuracy/style"].value == pytest.approx(
        Quiet().real.scores["style"].mean().item()
    )
    assert 0 < figures["test/second_judge/control_accuracy"].value < 1
    alone = control_figures(Loud(), Loud(), MIXED, 99, seed=0)
    assert not [name for name in alone if "second" in name or "agree" in name]
    assert {name: figures[name].value for name in alone if "accuracy" in name} == {
        name: figure.value for name, figure in alone.items() if "accuracy" in name
    }


class Two(Loud):
    """A judge of another field as well, of which no test example has a value."""

    def __init__(self):
        self.attributes = {**STYLES, "mood": Categorical(["glad", "sad"])}
        self.real = RealFigures.of(self, [torch.zeros(100, 1)], self.asked())

    def asked(self):
        return {**MIXED, "mood": torch.full((100,), -1)}

    def read(self, x):
        return {**super().read(x), "mood": torch.zeros(len(x), dtype=torch.int64)}


@pytest.mark.filterwarnings("ignore:the judge of style is at chance")
def test_a_field_without_a_known_value_does_not_cost_the_others_their_mean():
    judge = Two()
    figures = control_figures(judge, judge, judge.asked(), 100, seed=0)
    assert figures["test/control_accuracy/mood"].n == 0
    for name in ("control", "judge"):
        assert figures[f"test/{name}_accuracy"].value == pytest.approx(0.6)
