"""Shared fixtures: small models and data, and folders of the test's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modalities.image.data import Digits

ROOT = Path(__file__).parent.parent
os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scikit-learn's checks of an estimator need it


def pytest_addoption(parser):
    """`--no-skips`: what is skipped fails, but for tests of a GPU, and of data sets where $SUITE_DATA names none."""
    parser.addoption("--no-skips", action="store_true", help="fail what would be skipped, but for tests of a GPU")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    excused = "GPU" in str(report.longrepr) or ("data root" in str(report.longrepr) and "SUITE_DATA" not in os.environ)
    if report.skipped and item.config.getoption("--no-skips") and not excused:
        report.outcome, report.longrepr = "failed", f"skipped, which --no-skips forbids: {report.longrepr[2]}"
    return report


@pytest.fixture(autouse=True)
def _reproducible():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits():
    """The embedded digits, binarised."""
    return Digits(batch_size=50, binarize="dynamic")


def within_this_process(main):
    """Runs a script's command line here: much sooner than in a new process."""

    def run(*arguments):
        os.environ.pop("CVAE_SUITE_RUN_ID", None)
        return main([str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def train_image():
    """Runs scripts/train_image.py."""
    from scripts.train_image import main

    return within_this_process(main)


@pytest.fixture(scope="session")
def train_text():
    """Runs scripts/train_text.py."""
    from scripts.train_text import main

    return within_this_process(main)


@pytest.fixture(scope="session")
def train_audio():
    """Runs scripts/train_audio.py."""
    from scripts.train_audio import main

    return within_this_process(main)


@pytest.fixture(scope="session")
def train_tabular():
    """Runs scripts/train_tabular.py."""
    from scripts.train_tabular import main

    return within_this_process(main)


@pytest.fixture(scope="session")
def run_script():
    """Runs a script of the suite as a person would, in the repository's root, with W&B kept quiet."""

    def run(*arguments, check=True, environment=None):
        command = [sys.executable, *map(str, arguments)]
        # An earlier test of this process may have left a W&B service, which would write the run's file at its own end.
        left = {"CVAE_SUITE_RUN_ID", "WANDB_SERVICE"}
        clean = {key: value for key, value in os.environ.items() if key not in left}
        result = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, env={**clean, **(environment or {})}, timeout=600
        )
        if check and result.returncode:
            pytest.fail(f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-5000:]}")
        return result

    return run
