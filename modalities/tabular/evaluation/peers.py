"""Others' imputers that cannot live in the suite's environment: run by the interpreter of one of their own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.lazy import pd
from modalities.tabular.columns import Column, encode_table
from modalities.tabular.evaluation.plain_table import plain_columns
from modalities.tabular.imputation.filled import Filled, decoded

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".venv/forests/bin/python"  # made by `make forests`
FORESTS = ("miceforest", "missforest")
SCRIPT = ROOT / "scripts/peers/impute_forests.py"


def forests(method: str, table: pd.DataFrame, columns: Sequence[Column], seed: int) -> Filled:
    """What miceforest or missforest fill, which see numbers as they are and codes of discrete columns.

    Raises:
        ModuleNotFoundError: without their environment; the message names the target that makes it.
        RuntimeError: if the method fails, with its last line.
    """
    if not PYTHON.exists():
        raise ModuleNotFoundError(f"{method} needs an environment of its own: make forests")
    plain = plain_columns(table, columns)
    with tempfile.TemporaryDirectory() as folder:
        incomplete, filled = Path(folder) / "incomplete.npz", Path(folder) / "filled.npy"
        np.savez(incomplete, values=encode_table(table, plain), discrete=np.array([c.discrete for c in plain]))
        command = [PYTHON, SCRIPT, method, incomplete, filled, "--seed", str(seed)]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["it was killed"])[-1]
            raise RuntimeError(f"{method} failed: {reason}")
        return Filled(decoded(np.load(filled), plain))
