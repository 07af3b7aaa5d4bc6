"""Runs that differ in how they are tested alone are trained once; any other difference is a training of its own."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from common.comparison.runner import run
from common.comparison.shared_training import NOTE, taken_from, training_of
from common.comparison.specification import Budget, MetricColumn, Row, Table, cells
from common.executors.executor import Share

TESTED = {"model.evaluation.num_samples": 100, "model.evaluation.gain_examples": 0}


def table_of(**rows: dict) -> Table:
    small = {"trainer.max_epochs": 1, "model.evaluation.num_samples": 20}
    return Table(
        title="Shared",
        script="scripts/train_tabular.py",
        configs=["configs/tabular/breast_cancer.yaml"],
        set=small,
        rows={title: Row(set=options) for title, options in rows.items()},
        columns=[MetricColumn("test/nll")],
        budgets={"quick": Budget()},
    )


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        (TESTED, True),
        ({"model.evaluation.nll_method": "ais"}, True),
        ({"model.evaluation.seed": 1}, False),  # which is that of validation, which decides what is the best
        ({"trainer.max_epochs": 2}, False),
        ({"data.init_args.batch_size": 16}, False),
        ({"model.latent_dim": 3}, False),
    ],
)
def test_what_differs_in_its_tests_alone_has_the_same_training(tmp_path, options, shared):
    first, second = cells(table_of(one={}, two=options), "quick", tmp_path)
    assert first.key != second.key
    assert (first.training == second.training) is shared


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    first, second = cells(table_of(one={}, two=TESTED), "quick", root)
    assert run(first, Share(2)).status == "finished"
    return root, first, second


def test_a_training_is_taken_over_and_only_tested(trained):
    _, first, second = trained
    one, two = (run(cell, Share(2)).results for cell in (first, second))
    assert (taken_from(first), taken_from(second)) == (None, f"one/{first.folder.name}")
    assert "was finished: nothing is left to train" in (second.folder / "log.txt").read_text()
    assert two.failed == {}
    assert epochs(second.folder) == epochs(first.folder) != []
    both = one.metrics.keys() & two.metrics.keys()
    same = {name for name in both if two.metrics[name].value == one.metrics[name].value}
    assert {"test/elbo", "test/kl", "test/reconstruction"} <= same
    assert "100 samples" in two.metrics["test/nll"].estimator
    assert "test/nll" not in same
    assert ("test/condition_gain" in one.metrics, "test/condition_gain" in two.metrics) == (True, False)


def epochs(folder: Path) -> list[str]:
    with (folder / "metrics.csv").open() as file:
        return [row["epoch"] for row in csv.DictReader(file) if row.get("val/elbo")]


@pytest.mark.parametrize("change", ["other data", "unfinished", "damaged", "no checkpoint", "alone"])
def test_a_training_that_may_be_another_one_is_not_taken_over(trained, tmp_path, change):
    root, first, second = trained
    shutil.copytree(first.folder, tmp_path / "root" / first.folder.relative_to(root))
    first, second = (replace(c, folder=tmp_path / "root" / c.folder.relative_to(root)) for c in (first, second))
    second.folder.mkdir(parents=True, exist_ok=True)
    results = first.folder / "results.json"
    if change == "other data":
        results.write_text(results.read_text().replace('"data_fingerprint": "', '"data_fingerprint": "0'))
    elif change == "unfinished":
        results.unlink()
    elif change == "damaged":
        results.write_text("{")
    elif change == "no checkpoint":
        shutil.rmtree(first.folder / "checkpoints")
    assert training_of(second, alone=change == "alone") is None
    assert json.loads((second.folder / NOTE).read_text()) == {"training": second.training, "taken_from": None}
    assert not (second.folder / "checkpoints").exists()
