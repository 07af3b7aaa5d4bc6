"""Locks that do not reach a machine are noticed there."""

import os
import time

import pytest

from common.executors import shared_locks
from common.executors.shared_locks import HELD, check, held
from tests.common.executors.trainings import wait_for


def test_a_lock_that_is_held_is_as_it_should_be(tmp_path):
    with held(tmp_path / "runs"), held(tmp_path / "runs"):
        check(tmp_path / "runs")


def test_a_lock_that_is_free_while_its_command_lives_is_refused(tmp_path):
    """So it looks on a machine that does not see the other's locks."""
    (tmp_path / HELD).touch()
    with pytest.raises(ValueError, match="two machines might write into one run: mount it with locks"):
        check(tmp_path)


def test_a_command_that_has_ended_is_no_reason_to_refuse(tmp_path):
    (tmp_path / HELD).touch()
    now = (tmp_path / HELD).stat().st_mtime
    os.utime(tmp_path / HELD, (now - 31, now - 31))
    check(tmp_path)


def test_a_command_that_waits_says_that_it_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_locks, "BEAT", 0.01)
    with held(tmp_path):
        os.utime(tmp_path / HELD, (0, 0))
        wait_for(lambda: (tmp_path / HELD).stat().st_mtime > 0, seconds=10)
        assert time.time() - (tmp_path / HELD).stat().st_mtime < 60
