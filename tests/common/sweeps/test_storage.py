"""Trials are reserved by one process at a time."""

import pytest

from common.sweeps.specification import read_sweep
from tests.common.sweeps.stub import write_sweep

pytest.importorskip("optuna", reason="the extra `sweeps` is not installed")
pytestmark = pytest.mark.extras


@pytest.fixture
def begun(tmp_path):
    from common.sweeps.storage import begin

    sweep = read_sweep(write_sweep(tmp_path, {"model.x": {"values": [1, 2]}}))
    begin(tmp_path / "sweep", sweep)
    return tmp_path / "sweep", sweep


def test_a_trial_is_another_processes_until_its_lock_is_free(begun):
    from common.sweeps.storage import reserve, state_of

    first, second = reserve(*begun, None), reserve(*begun, None)
    assert (first.options, second.options) == ({"model.x": 1}, {"model.x": 2})
    assert reserve(*begun, None) == "wait"
    (frozen, _) = first.trial.study.get_trials()
    assert state_of(frozen, first.folder) == "running"
    first.close()
    assert state_of(frozen, first.folder) == "stopped"
    again = reserve(*begun, None)
    assert (again.number, again.options, again.again) == (0, {"model.x": 1}, True)


def test_a_trial_whose_outcome_is_told_in_the_meantime_is_not_taken_up(begun, monkeypatch):
    from common.sweeps import storage
    from common.sweeps.training import Outcome, tell

    first = storage.reserve(*begun, 1)
    locked = storage._lock

    def tell_and_lock(run):
        """The other worker tells its outcome after this one has read that the trial is running."""
        tell(first, Outcome(storage.State.COMPLETE, 1.0))
        first.close()
        return locked(run)

    monkeypatch.setattr(storage, "_lock", tell_and_lock)
    assert storage.reserve(*begun, 1) == "wait"
    monkeypatch.setattr(storage, "_lock", locked)
    assert storage.reserve(*begun, 1) == "done"
