"""Where jobs run is an option of the command line."""

import argparse
import sys
from pathlib import Path

import pytest

from common.executors.options import add_executor, cluster


def chosen(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_executor(parser)
    return cluster(parser.parse_args(words), 2, Path("runs"))


def test_jobs_run_here_where_nothing_is_said():
    assert chosen() is None


@pytest.mark.parametrize(("executor", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_without_its_package_the_extra_is_named(monkeypatch, executor, package):
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("ray_cluster", "slurm_array"):
        monkeypatch.delitem(sys.modules, f"common.executors.{module}", raising=False)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install --editable '\.\[{executor}\]'"):
        chosen("--executor", executor, "--slurm", "time=9") if executor == "slurm" else chosen("--executor", executor)


def test_a_word_that_is_no_option_of_sbatch_is_named():
    with pytest.raises(argparse.ArgumentError, match="'gpu' is not NAME=VALUE, such as partition=gpu"):
        chosen("--executor", "slurm", "--slurm", "time=9", "gpu")
