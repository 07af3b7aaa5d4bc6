"""Tables that come with installed packages, and a synthetic one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np

from common.lazy import pd


def scikit_table(name: str, target: bool = False, home: Path | None = None) -> pd.DataFrame:
    """A table of scikit-learn: `iris` or `wine`, which it has, `california_housing`, which it downloads, and others.

    Args:
        name: name of the function of `sklearn.datasets`, without `load_` or `fetch_`.
        target: appends the target, or the targets: class names, or numbers.
        home: where downloads are kept; None is scikit-learn's own folder.

    Raises:
        ValueError: for an unknown name; the message lists those that there are.
        ConnectionError: if it cannot be downloaded.
    """
    loaders = _loaders()
    if name not in loaders:
        raise ValueError(f"scikit-learn has no table {name}; it has {', '.join(sorted(loaders))}")
    takes = inspect.signature(loaders[name]).parameters
    with downloading(f"scikit-learn's {name}"):
        bunch = loaders[name](
            as_frame=True,
            **({"scaled": False} if "scaled" in takes else {}),
            **({"data_home": home} if "data_home" in takes else {}),
        )
    table = (bunch.frame if target else bunch.data).copy()
    names = getattr(bunch, "target_names", [])
    if target and "target" in table and len(names):  # otherwise these are names of columns
        table["target"] = np.array(names)[table["target"]]
    for column, kind in table.dtypes.items():
        if pd.api.types.is_object_dtype(kind):  # bytes of kddcup99
            table[column] = [cell.decode() if isinstance(cell, bytes) else cell for cell in table[column]]
    return table


def _loaders() -> dict[str, Callable[..., Any]]:
    """Functions of scikit-learn that give a table, by the names of these."""
    from sklearn import datasets

    found = {name: getattr(datasets, name) for name in datasets.__all__ if name.startswith(("load_", "fetch_"))}
    tables = {name.split("_", 1)[1]: load for name, load in found.items() if "as_frame" in _parameters(load)}
    return {name: load for name, load in tables.items() if name not in ("openml", "20newsgroups_vectorized")}


def _parameters(function: Callable[..., Any]) -> Collection[str]:
    return inspect.signature(function).parameters


def openml_table(name: str | None, data_id: int | None, version: int | None, home: Path | None = None) -> pd.DataFrame:
    """A table of openml.org with its target, from scikit-learn's folder of downloads if it is there.

    Args:
        name: its name; the target is its last column.
        data_id: its number there, in place of a name.
        version: of a name; None takes the oldest that is active.
        home: where downloads are kept; None is scikit-learn's own folder.

    Raises:
        ValueError: if there is no such table, or it is none of rows and columns.
        ConnectionError: if it cannot be downloaded.
    """
    from sklearn.datasets import fetch_openml

    what = f"OpenML's {name or data_id}{'' if version is None else f', version {version}'}"
    chosen = {"data_id": data_id} if name is None else {"name": name, "version": version or "active"}
    try:
        with downloading(what):
            return fetch_openml(**chosen, as_frame=True, data_home=home, n_retries=1).frame
    except (ValueError, KeyError) as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from error


@contextmanager
def downloading(what: str) -> Iterator[None]:
    """Errors of the network in one line, with what can be done.

    Raises:
        ConnectionError: naming what was to be downloaded.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and not isinstance(error, URLError):  # of the disk
            raise
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise ConnectionError(
            f"{what} cannot be downloaded ({reason}): connect to the network, or name a folder with data.home, or "
            "$SCIKIT_LEARN_DATA, into which it was downloaded before"
        ) from error


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
LABELLED = ("breast_cancer", "wine", "iris")  # of scikit-learn, with classes that the table itself lacks
CONTINUOUS = ("breast_cancer", "wine", "diabetes", "iris")  # all columns are continuous in MIWAE's protocol
