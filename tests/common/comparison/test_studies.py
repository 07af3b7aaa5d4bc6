"""What a study runs, and what it concludes from known figures."""

from pathlib import Path

import numpy as np
import pytest

from common.comparison.runner import State
from common.comparison.specification import Cell, cells
from common.comparison.studies import (
    ALL,
    CONTROL,
    NONE,
    Gain,
    Study,
    conclusion,
    condition_gains,
    condition_table,
    data_table,
    paired_gain,
    read_study,
)
from common.results import EXAMPLES

STUDY = Study("Faces", "scripts/train_image.py", ["configs/image/utkface.yaml"], ["age", "gender"], sizes=[5, 50])


def kept(folder, row, seed, nll):
    """A cell with the NLL of each test example."""
    path = folder / f"{row}{seed}"
    path.mkdir()
    np.savez(path / EXAMPLES, nll=np.asarray(nll, dtype=np.float64))
    return Cell(row, seed, (), "key", path, None)


def finished(cells):
    return {each: State("finished") for each in cells}


def test_candidates_stand_between_nothing_everything_and_the_control():
    rows = condition_table(STUDY).rows
    use = {name: row.set["model.condition.init_args.use"] for name, row in rows.items()}
    assert use == {NONE: [], "age": ["age"], "gender": ["gender"], ALL: ["age", "gender"], CONTROL: ["age", "gender"]}
    assert [name for name, row in rows.items() if "subset.shuffle" in row.set] == [CONTROL]


def test_sizes_hold_the_same_combinations_out():
    study = Study("Tunes", "scripts/train_image.py", [], ["genre"], sizes=[5, 50], hold_out=[{"genre": "jig"}])
    table = data_table(study)
    assert [row.set["subset.examples"] for row in table.rows.values()] == [5, 50]
    assert all(row.set["subset.hold_out"] == [{"genre": "jig"}] for row in table.rows.values())
    assert "test/unseen/nll" in [column.metric for column in table.columns]
    assert "test/unseen/nll" not in [column.metric for column in data_table(STUDY).columns]


def test_an_interval_covers_the_true_gain_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = []
    for _ in range(400):
        base = generator.normal(90, 10, size=50)  # examples vary far more than the gain
        gain = paired_gain(base, base - 0.5 + generator.normal(0, 1, size=50))
        hits.append(gain.low <= 0.5 <= gain.high)
    assert np.mean(hits) == pytest.approx(0.95, abs=0.03)


def test_an_interval_is_students():
    gain = paired_gain(np.array([3.0, 5.0, np.nan, 4.0]), np.array([2.0, 3.0, 1.0, 1.0]))
    assert (gain.mean, gain.n) == (2.0, 3)
    assert gain.high - gain.mean == pytest.approx(4.302653 / 3**0.5, rel=1e-5)  # t(.975, 2) times 1 / sqrt 3


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_an_interval_over_seeds_covers_a_gain_that_seeds_hide(seeds):
    generator = np.random.default_rng(0)
    hits, narrow = [], []
    for _ in range(400):
        base = generator.normal(90, 10, size=40) + generator.normal(0, 0.5, size=(seeds, 1))  # as trainings differ
        other = base.mean(axis=0) - 0.5 + generator.normal(0, 1, size=40) + generator.normal(0, 0.5, size=(seeds, 1))
        gain = paired_gain(base, other)
        assert gain.seeds == seeds
        hits.append(gain.low <= 0.5 <= gain.high)
        alone = paired_gain(base[0], other[0])
        narrow.append(alone.low <= 0.5 <= alone.high)
    assert np.mean(hits) >= 0.94
    assert np.mean(narrow) < 0.8  # of one seed it is that of the examples alone


def test_gains_are_ranked_and_averaged_over_seeds(tmp_path):
    noise = np.linspace(-1, 1, 20)
    made = [kept(tmp_path, NONE, seed, 10 + noise) for seed in (0, 1)]
    made += [kept(tmp_path, "age", seed, 9.5 + noise + 0.01 * noise**2) for seed in (0, 1)]
    made += [kept(tmp_path, "gender", seed, 8 + 2 * seed + 0.9 * noise) for seed in (0, 1)]  # gains 2 and 0
    gains = condition_gains(finished(made))
    assert list(gains) == ["gender", "age"]
    assert gains["gender"].mean == pytest.approx(1.0)
    assert condition_gains({}) == {}


def test_gains_are_those_of_the_finished_runs_of_common_seeds(tmp_path):
    noise = np.linspace(-1, 1, 20)
    base = [kept(tmp_path, NONE, seed, 10 + seed + noise) for seed in (0, 1, 2)]
    age = [kept(tmp_path, "age", seed, 8 + seed + 0.9 * noise) for seed in (1, 2, 3)]
    gender = [kept(tmp_path, "gender", 5, 0 * noise)]
    states = finished([*base, *age, *gender])
    assert condition_gains(states).keys() == {"age"}  # gender has no seed that the base has
    assert condition_gains(states)["age"].mean == pytest.approx(2.0)  # of seeds 1 and 2
    states |= {age[0]: State("failed", reason="out of memory"), base[2]: State("missing")}
    assert condition_gains(states) == {}  # what an unfinished run has left does not count
    states[base[2]] = State("finished")
    assert condition_gains(states)["age"].mean == pytest.approx(2.0)


def test_the_conclusion_names_what_is_worth_having_and_measures_it_by_the_control():
    gains = {"age": Gain(2.0, 1.5, 2.5, 100), "gender": Gain(0.1, -0.2, 0.4, 100), CONTROL: Gain(-0.3, -0.6, 0.0, 100)}
    said = conclusion(gains)
    assert "Worth having: age (+2.00 nats, 95 % interval +1.50 to +2.50)." in said
    assert "Not shown to be worth anything: gender" in said
    assert "gains nothing" in said
    above = conclusion({**gains, CONTROL: Gain(0.5, 0.2, 0.8, 100)})
    assert "Worth having: age" in above
    assert "gains too: shuffled (+0.50" in above
    assert "Worth having: none." in conclusion({**gains, CONTROL: Gain(1.2, 0.8, 1.6, 100)})
    assert said.endswith("One seed: the intervals do not say how much of a gain is that of a seed.")
    assert "One seed" not in conclusion({"age": Gain(2.0, 1.5, 2.5, 100, 3), CONTROL: Gain(0.1, -0.2, 0.4, 100, 3)})


@pytest.mark.parametrize("path", sorted(Path("configs/studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_of_the_suite_makes_its_tables(path):
    study = read_study(path)
    for table in (condition_table(study), data_table(study)):
        assert len(cells(table, "study", Path("runs"))) == len(table.rows) * len(study.seeds)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="there is no study"):
        read_study(tmp_path / "none.yaml")
    (tmp_path / "wrong.yaml").write_text("titel: x\n")
    with pytest.raises(ValueError, match=r"wrong\.yaml"):
        read_study(tmp_path / "wrong.yaml")
    with pytest.raises(ValueError, match="at least two sizes"):
        data_table(Study("x", "s", [], ["a"]))
