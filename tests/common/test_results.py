import dataclasses
import json
import math

import pytest
import torch

from common.results import Measurement, Results, RunInfo, aggregate, find

RUN = RunInfo("id-1", "digits", "image", 0, "abc", "hash", "data", "2026-01-01T00:00:00", 1.5, "cpu", 100.0, 42)


def results(name="digits", identity="id-1", started="2026-01-01T00:00:00", **values):
    run = dataclasses.replace(RUN, name=name, id=identity, started=started)
    return Results(run, {metric: Measurement(value, 0.1, 10, "nats", "exact") for metric, value in values.items()})


def test_results_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "results.json"
    written = Results(
        RUN, {"test/nll": Measurement(91.3, 0.5, 1000, "nats", "x"), "b": Measurement(3, None, 5, "u", "y")}
    )
    written.write(path)
    assert Results.read(path) == written
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


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
    assert [found.run.id for found in find(tmp_path)] == ["early", "late"]


def test_runs_of_one_name_are_summarised_by_mean_and_sample_deviation():
    rows = aggregate(
        [results("a", nll=1.0, kl=5.0), results("a", nll=2.0), results("a", nll=6.0), results("b", nll=9.0)]
    )
    assert rows.keys() == {"a", "b"}
    assert (rows["a"]["nll"].mean, rows["a"]["nll"].std) == pytest.approx((3, math.sqrt((4 + 1 + 9) / 2)))
    assert {metric: summary.runs for metric, summary in rows["a"].items()} == {"nll": 3, "kl": 1}
    assert (rows["b"]["nll"].mean, rows["b"]["nll"].std) == (9, 0)


def test_a_summary_reads_as_mean_deviation_and_runs():
    rows = aggregate([results("a", nll=90.0), results("a", nll=92.0), results("b", nll=91.25)])
    assert str(rows["a"]["nll"]) == "91 ± 1.4 (2)"
    assert str(rows["b"]["nll"]) == "91.25"


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
