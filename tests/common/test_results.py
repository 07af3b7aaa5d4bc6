import dataclasses
import json
import math

import pytest
import torch

from common.results import Group, Measurement, Results, RunInfo, aggregate, find

RUN = RunInfo("id-1", "digits", "image", 0, "abc", "hash", "data", "2026-01-01T00:00:00", 1.5, "cpu", 100.0, 42)


def results(
    name="digits", identity="id-1", started="2026-01-01T00:00:00", seed=0, chosen="hash", data="data", **values
):
    run = dataclasses.replace(
        RUN, name=name, id=identity, started=started, seed=seed, config_hash=chosen, data_fingerprint=data
    )
    return Results(run, {metric: Measurement(value, 0.1, 10, "nats", "exact") for metric, value in values.items()})


def test_results_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "results.json"
    written = Results(
        RUN, {"test/nll": Measurement(91.3, 0.5, 1000, "nats", "x"), "b": Measurement(3, None, 5, "u", "y")}
    )
    written.write(path)
    assert Results.read(path) == written
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_figure_that_is_not_finite_is_missing_with_its_reason(tmp_path):
    path = tmp_path / "results.json"
    figures = {
        "test/elbo": Measurement(-90.0, 0.5, 10, "nats", "one draw"),
        "test/nll": Measurement(math.nan, None, 0, "nats", "importance sampling"),
        "test/kl": Measurement(3.0, math.inf, 10, "nats", "one draw"),
    }
    Results(RUN, figures, {"judge": "ValueError: none"}).write(path)
    found = Results.read(path)
    assert found.metrics == {"test/elbo": figures["test/elbo"]}
    assert found.failed == {
        "judge": "ValueError: none",
        "test/nll": "not finite: nan, standard error None (importance sampling, n = 0)",
        "test/kl": "not finite: 3.0, standard error inf (one draw, n = 10)",
    }
    json.loads(path.read_text(), parse_constant=pytest.fail)  # plain JSON: no NaN, no Infinity


def test_writing_again_replaces_the_file(tmp_path):
    path = tmp_path / "results.json"
    results(nll=1.0).write(path)
    results(nll=2.0).write(path)
    assert Results.read(path).metrics["nll"].value == 2


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run": {}, "metrics": []}', '{"metrics": {}}'])
def test_a_damaged_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)):
        Results.read(path)


@pytest.mark.parametrize("field", ["run", "metrics", "seed", "unit"])
def test_a_missing_field_is_named_with_its_file(tmp_path, field):
    path = tmp_path / "results.json"
    results(nll=1.0).write(path)
    raw = json.loads(path.read_text())
    for part in (raw, raw["run"], raw["metrics"]["nll"]):
        part.pop(field, None)
    path.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=rf"{path}.*{field}"):
        Results.read(path)


def test_results_below_a_folder_come_oldest_first(tmp_path):
    results(identity="late", started="2026-03-01T00:00:00").write(tmp_path / "a" / "results.json")
    results(identity="early", started="2026-02-01T00:00:00").write(tmp_path / "b" / "c" / "results.json")
    assert [(folder, found.run.id) for folder, found in find(tmp_path).items()] == [
        (tmp_path / "b" / "c", "early"),
        (tmp_path / "a", "late"),
    ]


def test_results_of_a_partial_test_are_not_those_of_a_run(tmp_path):
    results(nll=1.0).write(tmp_path / "a" / "results.json")
    results(nll=9.0).write(tmp_path / "a" / "results-partial.json")
    results(nll=9.0).write(tmp_path / "b" / "results-100.json")
    assert [found.metrics["nll"].value for found in find(tmp_path).values()] == [1]


def group(name="digits", chosen="hash", data="data"):
    return Group("image", name, chosen, data)


def test_seeds_of_one_configuration_are_summarised_by_mean_and_sample_deviation():
    rows = aggregate(
        [
            results("a", seed=0, nll=1.0, kl=5.0),
            results("a", seed=1, nll=2.0),
            results("a", seed=2, nll=6.0),
            results("b", nll=9.0),
        ]
    )
    a, b = rows[group("a")], rows[group("b")]
    assert rows.keys() == {group("a"), group("b")}
    assert (a["nll"].mean, a["nll"].std) == pytest.approx((3, math.sqrt((4 + 1 + 9) / 2)))
    assert {metric: (summary.runs, summary.seeds) for metric, summary in a.items()} == {"nll": (3, 3), "kl": (1, 1)}
    assert (b["nll"].mean, b["nll"].std) == (9, 0)


def test_runs_of_one_name_with_another_configuration_or_data_are_no_seeds_of_each_other():
    rows = aggregate(
        [
            results(chosen="one", data="x", seed=0, nll=700.0),
            results(chosen="one", data="x", seed=1, nll=702.0),
            results(chosen="one", data="y", nll=2500.0),
            results(chosen="two", data="x", seed=0, nll=90.0),
            results(chosen="two", data="x", seed=1, nll=96.0),
            results(chosen="three", data="z", nll=1.0),
        ]
    )
    means = {found: (row["nll"].mean, row["nll"].std, row["nll"].runs) for found, row in rows.items()}
    assert means == {
        group(chosen="one", data="x"): (701, pytest.approx(math.sqrt(2)), 2),
        group(chosen="one", data="y"): (2500, 0, 1),
        group(chosen="two", data="x"): (93, pytest.approx(math.sqrt(18)), 2),
        group(chosen="three", data="z"): (1, 0, 1),
    }


def test_runs_of_one_name_in_two_modalities_are_kept_apart():
    image = results(nll=1.0)
    table = Results(dataclasses.replace(image.run, modality="tabular"), image.metrics)
    assert [found.modality for found in aggregate([image, table])] == ["image", "tabular"]


def test_a_run_without_figures_has_a_row():
    assert aggregate([results()]) == {group(): {}}


def test_a_summary_reads_as_mean_deviation_and_runs():
    rows = aggregate([results("a", seed=0, nll=90.0), results("a", seed=1, nll=92.0), results("b", nll=91.25)])
    assert str(rows[group("a")]["nll"]) == "91 ± 1.4 (2)"
    assert str(rows[group("b")]["nll"]) == "91.25"


@pytest.mark.parametrize(("seeds", "text"), [([0, 0, 1], "(3 runs, 2 seeds)"), ([4, 4, 4], "(3 runs, 1 seed)")])
def test_a_seed_that_was_run_twice_is_told(seeds, text):
    rows = aggregate([results(seed=seed, nll=nll) for seed, nll in zip(seeds, [90.0, 91.0, 92.0], strict=True)])
    assert str(rows[group()]["nll"]) == f"91 ± 1 {text}"


def test_a_mean_carries_its_standard_error():
    figure = Measurement.mean(torch.tensor([1.0, 2.0, 3.0, 6.0]), "nats", "exact")
    assert (figure.value, figure.n) == (3, 4)
    assert figure.stderr == pytest.approx(math.sqrt(14 / 3 / 4))


def test_a_mean_of_one_example_has_no_standard_error():
    assert Measurement.mean(torch.tensor([2.0]), "nats", "exact").stderr is None


def test_a_mean_of_many_float32_values_is_taken_in_double_precision():
    values = torch.full((2_000_000,), 100.1)
    assert Measurement.mean(values, "nats", "exact").value == pytest.approx(values[0].item(), rel=1e-12)


def test_an_accuracy_is_the_share_of_hits_with_its_binomial_error():
    figure = Measurement.accuracy(torch.tensor([True] * 75 + [False] * 25), "judge")
    assert figure.value == 0.75
    assert figure.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 99))
    assert figure.unit == "accuracy"
