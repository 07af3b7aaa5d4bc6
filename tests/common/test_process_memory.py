"""Peaks of memory."""

import resource
import sys
from types import SimpleNamespace

import pytest
import torch

from common import process_memory
from common.process_memory import peak_memory_mb, resident_memory_mb, restart_peak_memory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can set the peak back")
def test_a_peak_can_be_measured_anew():
    held = torch.ones(64 * 2**18)  # 64 MB
    before = peak_memory_mb(CPU)
    assert before >= resident_memory_mb() - 1 >= 63  # the two are not counted at one moment
    del held
    assert peak_memory_mb(CPU) == pytest.approx(before, abs=1)
    assert restart_peak_memory()
    assert peak_memory_mb(CPU) < before - 32
    held = torch.ones(64 * 2**18)
    assert peak_memory_mb(CPU) >= resident_memory_mb() - 1 >= held.nbytes / 2**20


@pytest.mark.parametrize(("platform", "peak"), [("linux", 300 * 2**10), ("darwin", 300 * 2**20)])
def test_the_peak_of_a_system_without_proc_is_in_its_own_unit(monkeypatch, platform, peak):
    monkeypatch.setattr(process_memory, "_status", lambda name: 0.0)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=peak))
    assert peak_memory_mb(CPU) == 300
