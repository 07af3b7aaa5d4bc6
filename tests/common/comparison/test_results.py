"""What a table concludes from its runs, on known cases."""

import json
from dataclasses import replace

import numpy as np
import pytest

from common.comparison.rendering import markdown, sheet
from common.comparison.results import TableResults, collect, paired_p
from common.comparison.runner import State, state, with_others
from common.comparison.shared_training import NOTE
from common.comparison.specification import Budget, Cell, MetricColumn, Published, Row, Table
from common.results import EXAMPLES, Measurement, Results, RunInfo

NLL = MetricColumn("test/nll", "NLL", "lower", 1)


def cell(folder, row, seed, values, git="abc", data="data", seconds=2.0):
    """A finished cell whose figure is the mean of the values of its examples, which it keeps."""
    values = np.asarray(values, dtype=np.float64)
    path = folder / f"{row}-{seed}"
    run = RunInfo(path.name, row, "none", seed, git, "hash", data, "2026", seconds, "cpu", 10.0, 3)
    error = float(values.std(ddof=1) / len(values) ** 0.5)
    Results(run, {"test/nll": Measurement(float(values.mean()), error, len(values), "nats", "exact")}).write(
        path / "results.json"
    )
    np.savez(path / EXAMPLES, nll=values)
    return Cell(row, seed, (), f"key-{row}", path, None)


def table(*rows, **arguments):
    return Table("Numbers", {row: Row() for row in rows}, [NLL], {"quick": Budget()}, **arguments)


def results_of(specification, cells):
    return collect(specification, "quick", {each: state(each) for each in cells})


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=200)


def test_of_one_seed_the_examples_are_paired(tmp_path, noise):
    # A difference of .05 is far below the deviation of 1 over examples, but the same on every example.
    jitter = 0.01 * np.random.default_rng(1).normal(size=200)
    cells = [cell(tmp_path, "a", 0, 5 + noise), cell(tmp_path, "b", 0, 5.05 + noise + jitter)]
    results = results_of(table("a", "b"), cells)
    assert results.best == {"test/nll": ["a"]}
    assert results.tests["test/nll"] == "paired t-test over 200 test examples, p < 1e-10"


def test_a_difference_within_the_noise_is_not_bold(tmp_path, noise):
    other = np.random.default_rng(1).normal(size=200)
    results = results_of(table("a", "b"), [cell(tmp_path, "a", 0, noise), cell(tmp_path, "b", 0, other + 0.01)])
    assert results.best == {}


def test_the_best_row_must_beat_every_other(tmp_path, noise):
    jitter = np.random.default_rng(2).normal(size=200)
    cells = [cell(tmp_path, "a", 0, noise), cell(tmp_path, "b", 0, noise + 0.02 * jitter)]
    cells.append(cell(tmp_path, "c", 0, noise + 9 + jitter))
    assert results_of(table("a", "b", "c"), cells).best == {}


def test_three_seeds_are_the_pairs_themselves(tmp_path, noise):
    cells = [cell(tmp_path, "a", seed, noise + seed) for seed in range(3)]
    cells += [cell(tmp_path, "b", seed, noise + seed + 0.5 + 0.05 * seed) for seed in range(3)]
    results = results_of(table("a", "b"), cells)
    assert results.best == {"test/nll": ["a"]}
    assert results.tests["test/nll"].startswith("paired t-test over 3 seeds")
    figure = results.rows["a"].figures["test/nll"]
    assert figure.mean == pytest.approx(1 + noise.mean())
    assert figure.spread == pytest.approx(1.0)  # of 0, 1 and 2


def test_rows_are_compared_within_their_group(tmp_path, noise):
    jitter = 0.01 * np.random.default_rng(1).normal(size=200)
    values = {"a": 5 + noise, "b": 6 + noise + jitter, "c": 80 + noise, "d": 70 + noise + jitter}
    specification = table(*values)
    for title in ("c", "d"):
        specification.rows[title] = Row(group="other")
    results = results_of(specification, [cell(tmp_path, title, 0, value) for title, value in values.items()])
    assert results.best == {"test/nll": ["a", "d"]}
    page = markdown(sheet(specification, results))
    assert page.count("**5.0 ± 0.1**") == 1
    assert page.count("**70.0 ± 0.1**") == 1


def test_a_column_of_differences_pairs_each_row_with_the_first_of_its_group(tmp_path, noise):
    # Test examples differ by 1 from each other, the rows by .5 on every example: the error is that of the difference.
    jitter = 0.1 * np.random.default_rng(1).normal(size=200)
    specification = table("a", "b", "alone")
    specification.rows["alone"] = Row(group="other")
    specification.columns.append(MetricColumn("test/nll", "less a's", digits=3, difference=True))
    values = {"a": 5 + noise, "b": 4.5 + noise + jitter, "alone": noise}
    results = results_of(specification, [cell(tmp_path, row, 0, value) for row, value in values.items()])
    figure = results.rows["b"].differences["test/nll"]
    assert figure.mean == pytest.approx(-0.5 + jitter.mean())
    assert figure.spread == pytest.approx(jitter.std(ddof=1) / 200**0.5)
    assert (results.rows["a"].differences, results.rows["alone"].differences) == ({}, {})
    assert len(results.rows["b"].figures["test/nll"].values) == 1  # two columns of a metric, one figure
    page = markdown(sheet(specification, results))
    assert f"| b | **{figure.mean + 5 + noise.mean():.1f} ± 0.1** | {figure.mean:+.3f} ± 0.007 | 1 |" in page
    assert f"| alone | {noise.mean():.1f} ± 0.1 | - | 1 |" in page
    assert "- less a's: from a, paired by test example, n = 200." in page


def test_differences_over_seeds_and_over_the_examples_that_both_measured(tmp_path, noise):
    specification = table("a", "b")
    specification.columns.append(MetricColumn("test/nll", "less a's", difference=True))
    cells = [cell(tmp_path, "a", seed, noise + seed) for seed in range(3)]
    jitter = np.tile([-0.1, 0.1], 100)  # of mean zero
    cells += [cell(tmp_path, "b", seed, noise + jitter + seed - seed / 10) for seed in (1, 2)]
    np.savez(cells[-1].folder / EXAMPLES, nll=np.where(np.arange(200) < 50, noise + jitter + 1.8, np.nan))
    figure = results_of(specification, cells).rows["b"].differences["test/nll"]
    assert figure.values == pytest.approx([-0.1, -0.2])
    assert figure.n == [200, 50]
    assert figure.spread == pytest.approx(0.1 / 2**0.5)
    np.savez(cells[-1].folder / EXAMPLES, nll=noise[:100])  # another test set
    (cells[-2].folder / EXAMPLES).unlink()
    assert results_of(specification, cells).rows["b"].differences == {}


def test_a_table_in_brief_has_the_marked_columns_and_the_notes_of_all(tmp_path, noise):
    specification = table("a", "b", "not there", notes="A note.")
    cells = [cell(tmp_path, "a", 0, noise), cell(tmp_path, "b", 0, noise)]
    with pytest.raises(ValueError, match=r"no column of 'Numbers' is part of the table in brief: give some `brief: tr"):
        sheet(specification, results_of(specification, cells), brief=True)
    specification.columns[0] = MetricColumn("test/nll", "NLL", "lower", 1, brief=True)
    specification.columns.append(MetricColumn("run/seconds", "seconds"))
    page = sheet(specification, results_of(specification, cells), brief=True)
    assert page.header == ["", "NLL ↓", "runs"]
    assert page.notes == [
        "A note.",
        "Budget `quick`; one seed: ± is the standard error over test examples.",
        "0.00 hours of training in all, tests not counted.",
        "Not run: not there.",
        "The specification has changed since these rows were run: a; b.",  # `Row()` is not what `cell` says it ran
    ]


def test_examples_of_different_test_sets_are_not_paired(tmp_path, noise):
    cells = [cell(tmp_path, "a", 0, noise), cell(tmp_path, "b", 0, noise[:100] + 5)]
    assert results_of(table("a", "b"), cells).best == {}


def test_paired_p_against_the_t_distribution():
    assert paired_p(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.0370, abs=1e-4)  # t = 3.464, 2 degrees of freedom
    assert paired_p(np.array([1.0])) is None
    assert paired_p(np.zeros(5)) is None


def test_a_cell_says_what_kept_it_from_a_figure(tmp_path, noise):
    specification = table("run", "missing", "broken")
    states = {cell(tmp_path, "run", 0, noise): None}
    states |= {Cell(name, 0, (), "key", tmp_path / name, None): None for name in ("missing", "broken")}
    reason = "the optimiser was not run"
    states = {each: state(each) if each.row != "broken" else State("failed", reason=reason) for each in states}
    results = collect(specification, "quick", states)
    assert {title: row.missing for title, row in results.rows.items()} == {"run": 0, "missing": 1, "broken": 0}
    page = markdown(sheet(specification, results))
    assert "| missing" not in page
    assert "- Not run: missing." in page
    assert "| broken | failed | 0 |" in page
    assert f"- broken, seed 0: {reason}" in page
    assert "- missing" not in page


def test_revisions_and_published_rows_are_told(tmp_path, noise):
    published = {"Theirs": Published({"test/nll": 86.76}, "A paper", "recalled", "more data")}
    specification = table("a", "b", published=published, notes="A note.")
    cells = [cell(tmp_path, "a", 0, noise, git="abc"), cell(tmp_path, "b", 0, noise, git="def")]
    page = markdown(sheet(specification, results_of(specification, cells)))
    assert "Rows of several revisions: a abc; b def." in page
    assert "| Theirs (A paper, recalled) | 86.8 | published |" in page
    assert "- Theirs: more data" in page
    assert "- A note." in page


def test_hours_are_those_of_all_trainings_and_a_shared_one_counts_once(tmp_path, noise):
    cells = [cell(tmp_path, row, seed, noise, seconds=3600.0 + seed) for row in ("a", "b") for seed in (0, 180)]
    (cells[3].folder / NOTE).write_text(json.dumps({"training": "same", "taken_from": "a/key-a-s180"}))
    results = results_of(table("a", "b"), cells)
    assert [run["taken_from"] for run in results.rows["b"].runs] == [None, "a/key-a-s180"]
    page = markdown(sheet(table("a", "b"), results))
    assert "- 3.05 hours of training in all, tests not counted." in page
    assert "- Trained by another run, and only tested: b (a/key-a-s180)." in page


def test_a_training_of_a_run_that_is_in_no_row_counts_once_as_well(tmp_path, noise):
    cells = [cell(tmp_path, row, 0, noise, seconds=3600.0) for row in ("a", "b", "c", "d")]
    specification = table("a", "b", "c", "d")
    for sources, hours in ((["x/key-s0", "x/key-s0", "b/key-b-s0"], 2), (["b/key-b-s0", "a/key-a-s0"], 3)):
        for each in cells:
            (each.folder / NOTE).unlink(missing_ok=True)
        for each, source in zip(cells, sources, strict=False):
            (each.folder / NOTE).write_text(json.dumps({"training": "same", "taken_from": source}))
        page = markdown(sheet(specification, results_of(specification, cells)))
        # That of key-s0, or of a and b, which were taken from each other, one after the other; of c; and of d.
        assert f"- {hours}.00 hours of training in all, tests not counted." in page


def test_results_of_other_data_are_stale(tmp_path, noise):
    finished = cell(tmp_path, "a", 0, noise, data="yesterday")
    assert state(finished, "yesterday").status == "finished"
    assert state(finished, "today").status == "stale"
    assert str(finished.folder / "results.json") in state(finished, "today").reason


def test_the_compact_file_comes_back_as_it_was_written(tmp_path, noise):
    results = results_of(table("a", "b"), [cell(tmp_path, "a", 0, noise)])
    results.write(tmp_path / "compact.json")
    assert TableResults.read(tmp_path / "compact.json") == results
    (tmp_path / "compact.json").write_text('{"rows": 3}')
    with pytest.raises(ValueError, match=r"compact\.json is damaged"):
        TableResults.read(tmp_path / "compact.json")


def test_rows_of_other_data_than_that_of_today_are_stale(tmp_path, noise):
    old, new, other = (
        replace(cell(tmp_path, row, 0, noise, data=data), data=options)
        for row, data, options in (("old", "yesterday", ("x",)), ("new", "today", ("x",)), ("other", "theirs", ("y",)))
    )
    own = cell(tmp_path, "own command", 0, noise, data="whatever")
    states = with_others({new: state(new)}, [old, new, other, own])
    assert [states[each].status for each in (old, new, other, own)] == ["stale", "finished", "finished", "finished"]
    results = collect(table("old", "new", "other", "own command"), "quick", states)
    page = markdown(sheet(table("old", "new", "other", "own command"), results))
    assert "| old | failed | 0 |" in page
    assert "was made from other data (yesterday, now today)" in page


def test_examples_of_a_group_are_one_pair(tmp_path, noise):
    # Four copies of 200 examples whose differences have a mean of .1 and a deviation of 1: t = 1.4 of 200, 2.8 of 800.
    difference = np.random.default_rng(3).normal(size=200)
    difference = 0.1 + (difference - difference.mean()) / difference.std()
    cells = [cell(tmp_path, "a", 0, noise.repeat(4)), cell(tmp_path, "b", 0, (noise + difference).repeat(4))]
    specification = table("a", "b")
    specification.columns.append(MetricColumn("test/nll", "less a's", digits=3, difference=True))
    naive = results_of(specification, cells)
    assert naive.best == {"test/nll": ["a"]}
    for each in cells:
        with np.load(each.folder / EXAMPLES) as file:
            np.savez(each.folder / EXAMPLES, nll=file["nll"], group=np.arange(200).repeat(4))
    results = results_of(specification, cells)
    assert results.best == {}
    errors = [found.rows["b"].differences["test/nll"].spread for found in (naive, results)]
    assert errors[1] / errors[0] == pytest.approx(2, rel=0.01)
    assert results.rows["b"].differences["test/nll"].estimator.endswith("error of 200 groups")
