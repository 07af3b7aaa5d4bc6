import math

import pytest
import torch

from modalities.text.evaluation.report import perplexity

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_test_measures_perplexity_diversity_fluency_and_rewriting(tested):
    names = {name.removeprefix("test/") for name in tested.results}
    assert {"elbo", "nll", "control_accuracy", "judge_accuracy", "frechet_distance", "leakage"} <= names
    assert {"perplexity", "fluency", "fluency_real", "distinct_1", "distinct_2_real"} <= names
    for pair in ("old-new", "new-old"):
        assert {f"rewrite/{pair}/{name}" for name in ("accuracy", "input_bleu", "reference_bleu")} <= names


def test_perplexity_is_the_nll_a_token(tested):
    data, results = tested.data, tested.results
    rows = data.examples.splits["test"]
    nll = results["test/nll"].value
    expected = math.exp(nll * len(rows) / data.lengths[rows].sum().item())
    assert results["test/perplexity"].value == pytest.approx(expected, rel=1e-4)
    assert results["test/perplexity"].n == len(rows)


def test_an_nll_beyond_any_perplexity_leaves_the_figure_out():
    lengths, nan = torch.tensor([2, 3, 5]), float("nan")
    (figure,) = perplexity(torch.tensor([1.0, 4.0, nan]), lengths, 10).values()
    assert figure.value == pytest.approx(math.e)
    assert perplexity(torch.tensor([1e4, 2e4, nan]), lengths, 10) == {}


def test_real_sentences_are_more_fluent_than_those_of_a_hardly_trained_model(tested):
    results = tested.results
    assert results["test/fluency_real"].value < results["test/fluency"].value / 3


def test_rewritings_are_as_many_as_asked_for(tested):
    results = tested.results
    assert {results[f"test/rewrite/old-new/{name}"].n for name in ("accuracy", "input_bleu", "reference_bleu")} == {5}


def test_rewriting_is_summed_up_over_the_pairs(tested):
    results = tested.results
    pairs = [results[f"test/rewrite/{pair}/input_bleu"].value for pair in ("old-new", "new-old")]
    assert results["test/rewrite/input_bleu"].value == pytest.approx(sum(pairs) / 2)
