from types import SimpleNamespace

import pytest
import torch

from common.conditions.attributes import OBSERVED
from common.evaluation.evaluation import Evaluation
from modalities.tabular.columns import Column
from modalities.tabular.data import Iris
from modalities.tabular.data.datamodules import Synthetic
from modalities.tabular.data.named import ScikitLearn
from modalities.tabular.evaluation.judges import generated_figures, judged_columns, row_judges
from tests.tabular.models import conditional

ASKED = Evaluation(control_samples=100)


class Rows(torch.nn.Module):
    """Generates real rows: those nearest to the asked cells, or random ones with the asked cells put in."""

    def __init__(self, data, obedient=True, shown=True):
        super().__init__()
        self.x, self.obedient = data.examples.x[data.examples.splits["train"]].float(), obedient
        self.condition = SimpleNamespace(reads_observed=shown)

    def sample(self, condition, num_samples=1, draw=None):
        asked = condition[OBSERVED]
        rows = torch.randint(len(self.x), (len(asked),))
        if self.obedient:
            distance = (asked.unsqueeze(1) - self.x.unsqueeze(0)).abs().nan_to_num(nan=0.0).sum(-1)
            rows = (distance + 1e-3 * torch.rand_like(distance)).argmin(1)
        return torch.where(asked.isnan(), self.x[rows], asked).unsqueeze(0)


@pytest.fixture(scope="module")
def iris():
    return ScikitLearn("iris", target=["target"])


def test_judges_read_a_column_from_the_others(iris):
    first, second = row_judges(iris)
    assert next(iter(first.attributes)) == "target"
    for judge in (first, second):
        assert judge.real.scores["target"].mean() > 0.85
        assert judge.real.scores["petal length (cm)"].mean() < 0.4  # standardised
        blind = iris.examples.x[:5].float()
        changed = blind.clone()
        changed[:, judge.places["target"]] = 0
        assert torch.equal(judge.read(blind)["target"], judge.read(changed)["target"])


def test_rows_that_have_what_is_asked_for_are_told_from_rows_that_have_not(iris):
    good, bad = (generated_figures(Rows(iris, obedient), iris, ASKED) for obedient in (True, False))
    for judge in ("", "second_judge/"):
        name = f"test/{judge}control_accuracy/target"
        assert good[name].value > 0.85
        assert bad[name].value < 0.6
        assert good[name].n == 20  # 100 samples for five columns
        error = f"test/{judge}control_error/petal width (cm)"
        assert good[error].value < 0.5 < bad[error].value
    assert good["test/judges_agree/target"].value > 0.8
    assert bad["test/coverage"].value > 0.5  # real rows, although not those that were asked for
    assert "cells, 30 real test examples" in bad["test/frechet_distance"].estimator


def test_a_model_that_reads_no_cells_has_no_control(iris):
    assert generated_figures(Rows(iris, shown=False), iris, ASKED) == {}
    assert generated_figures(Rows(iris), iris, Evaluation(control_samples=0)) == {}


def test_rows_of_a_model_are_judged_in_all_kinds_of_columns():
    model, data = conditional(), Synthetic()
    figures = generated_figures(model, data, Evaluation(control_samples=50))
    assert {name.split("/")[1] for name in figures} >= {"control_accuracy", "control_error", "judges_agree", "density"}
    assert all(figure.finite for figure in figures.values())


def test_targets_and_categories_are_judged_first_and_numbers_from_all_over_the_table():
    numbers = [Column(f"n{place}", "continuous", "gaussian") for place in range(10)]
    kinds = [Column(f"c{place}", "categorical", "categorical", ("a", "b"), (0.5, 0.5)) for place in range(7)]
    assert judged_columns([*numbers, *kinds[:2]], ["n4"]) == ["n4", "c0", "c1", "n0", "n5"]
    assert judged_columns(kinds, []) == ["c0", "c1", "c2", "c3", "c4"]
    assert judged_columns(numbers[:3], []) == ["n0", "n1", "n2"]


def test_a_table_of_equal_rows_has_no_judges():
    data = Iris()
    data.whole.x[:] = data.whole.x[0]
    assert row_judges(data) is None


def test_empty_cells_of_real_rows_are_no_difference_of_drawn_ones():
    # Rows drawn from the data themselves, but without their empty cells, are as good as rows can be.
    data = Synthetic()
    test = data.examples.splits["test"]
    pool = data.whole.x[data.examples.splits["train"]].float()
    whole = pool[~pool.isnan().any(1)]

    class Copies(torch.nn.Module):
        condition = conditional().condition
        sampled = "copies"
        device = torch.device("cpu")

        def sample(self, condition, guidance=1.0, draw=False, **_):
            count = len(next(iter(condition.values())))
            return whole[torch.randint(len(whole), (count,))][None]

    figures = generated_figures(Copies(), data, Evaluation(control_samples=len(test)))
    assert figures["test/frechet_distance"].value < 0.35
    assert "missing where random real rows lack them" in figures["test/frechet_distance"].estimator
