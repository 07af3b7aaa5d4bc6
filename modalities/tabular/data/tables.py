"""Tables that come with installed packages, and a synthetic one."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from common.lazy import pd


def scikit_table(name: str, target: bool = False) -> pd.DataFrame:
    """`breast_cancer`, `wine`, `diabetes` or `iris` of scikit-learn.

    Args:
        name: name of the loader, without `load_`.
        target: appends the target: class names, or a number.
    """
    from sklearn import datasets

    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
    table = bunch.data.copy()
    if target:
        names = getattr(bunch, "target_names", None)
        table["target"] = bunch.target if names is None or name == "diabetes" else np.array(names)[bunch.target]
    return table


def _module(name: str, package: str) -> Any:
    """An optional package's module.

    Raises:
        ModuleNotFoundError: if it is not installed; the message names the extra.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = f"this table comes with {package}: pip install --editable '.[tables]'"
        raise ModuleNotFoundError(message) from error


def abalone() -> pd.DataFrame:
    """4,177 shells: sex, three lengths, four weights, rings. From scikit-lego."""
    table = _module("sklego.datasets", "scikit-lego").load_abalone(as_frame=True)
    return pd.DataFrame(table).reset_index(drop=True)


def randhie() -> pd.DataFrame:
    """20,190 rows of the RAND health insurance experiment: counts, binary, positive and continuous columns."""
    return pd.DataFrame(_module("statsmodels.datasets.randhie", "statsmodels").load_pandas().data)


def anes96() -> pd.DataFrame:
    """944 answers of the American national election study of 1996: counts, ordinal and binary columns."""
    return pd.DataFrame(_module("statsmodels.datasets.anes96", "statsmodels").load_pandas().data)


def synthetic(rows: int = 2000, missing: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """A table whose columns are non-linear functions of two latent variables and noise, with every kind of column.

    Args:
        rows: number of rows.
        missing: share of the cells that are empty.
        seed: seed of all random numbers.
    """
    generator = np.random.default_rng(seed)
    u, v = generator.uniform(-2, 2, (2, rows))
    noise = generator.standard_normal((6, rows))
    group = np.select([u + 0.3 * noise[0] > 0.8, v + 0.3 * noise[1] > 0.5], ["north", "east"], "south")
    level = np.digitize(u * v + 0.4 * noise[2], [-1.5, 0.0, 1.5])
    table = pd.DataFrame(
        {
            "bend": u**2 + 0.3 * noise[3],
            "wave": np.sin(2 * v) + 0.3 * noise[4],
            "sum": u + v + 0.3 * noise[5],
            "income": np.exp(1.0 + 0.8 * u + 0.3 * generator.standard_normal(rows)),
            "visits": generator.poisson(np.exp(0.5 + 0.7 * v)),
            "grade": pd.Categorical(np.array(["low", "fair", "good", "best"])[level], _GRADES, ordered=True),
            "member": np.where(u - v + 0.5 * generator.standard_normal(rows) > 0, "yes", "no"),
            "group": group,
        }
    )
    return table.mask(generator.random(table.shape) < missing)


_GRADES = ["low", "fair", "good", "best"]
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "breast_cancer": lambda: scikit_table("breast_cancer"),
    "wine": lambda: scikit_table("wine"),
    "diabetes": lambda: scikit_table("diabetes"),
    "iris": lambda: scikit_table("iris"),
    "abalone": abalone,
    "randhie": randhie,
    "anes96": anes96,
    "synthetic": synthetic,
    "synthetic_missing": lambda: synthetic(missing=0.1, seed=1),
}
CONTINUOUS = ("breast_cancer", "wine", "diabetes", "iris")  # all columns are continuous in MIWAE's protocol
