"""Others' imputers with forests, which need an environment of their own: `make forests`.

python scripts/peers/impute_forests.py miceforest INCOMPLETE.npz FILLED.npy --seed 0
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

DATASETS, ITERATIONS = 5, 5  # of miceforest: what is averaged, and its rounds
TREES = 100


def miceforest(table: pd.DataFrame, discrete: list[str], seed: int) -> pd.DataFrame:
    """Chained equations with gradient-boosted trees and predictive mean matching: the mean, or mode, of 5 data sets."""
    from miceforest import ImputationKernel

    kernel = ImputationKernel(table, num_datasets=DATASETS, random_state=seed)
    kernel.mice(ITERATIONS)
    filled = [kernel.complete_data(number).astype(float) for number in range(DATASETS)]
    result = sum(filled) / DATASETS
    for name in discrete:
        result[name] = pd.concat([each[name] for each in filled], axis=1).mode(axis=1)[0]
    return result


def missforest(table: pd.DataFrame, discrete: list[str], seed: int) -> pd.DataFrame:
    """Random forests, column by column, until the table changes more again (Stekhoven and Buehlmann 2012)."""
    from missforest import MissForest
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    method = MissForest(
        clf=RandomForestClassifier(TREES, random_state=seed),
        rgr=RandomForestRegressor(TREES, max_features=1 / 3, random_state=seed),
        categorical=discrete or None,
        max_iter=10,
        verbose=0,
    )
    return method.fit_transform(table)[table.columns].astype(float)  # which it has put into another order


METHODS = {"miceforest": miceforest, "missforest": missforest}


def main() -> None:
    """Reads an incomplete table of codes and numbers, and writes it without holes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("incomplete", type=Path, help="values [N, F], NaN where missing, and discrete [F]")
    parser.add_argument("filled", type=Path, help="values [N, F] to write")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with np.load(given.incomplete) as file:
        values, marked = file["values"], file["discrete"]
    names = [f"column {number}" for number in range(values.shape[1])]
    discrete = [name for name, chosen in zip(names, marked, strict=True) if chosen]
    table = pd.DataFrame(values.astype(float), columns=names)
    if given.method == "miceforest":
        table = table.astype(dict.fromkeys(discrete, "category"))
    filled = METHODS[given.method](table, discrete, given.seed).to_numpy()
    np.save(given.filled, np.where(np.isnan(values), filled, values))


if __name__ == "__main__":
    main()
