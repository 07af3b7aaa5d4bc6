"""What a linear classifier predicts from the latent."""

import math

import numpy as np
from torch import Tensor


def latent_leakage(z: Tensor, field: Tensor, seed: int = 0, folds: int = 5) -> tuple[float, float, int]:
    """Accuracy of a linear probe for a categorical condition from z, above the majority rate, and its error.

    Five-fold cross-validated logistic regression on standardised posterior draws; a value near zero means that a
    linear probe cannot predict the condition from z. Classes with fewer examples than folds are left out.

    Args:
        z: posterior draws [N, D].
        field: categories [N]; missing ones (-1) are left out.
        seed: seed of the folds.
        folds: number of folds.

    Returns:
        Accuracy minus the majority rate, the standard error of the accuracy, and the number of examples behind them.

    Raises:
        ValueError: if fewer than two classes have enough examples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, features = field.numpy(), z.numpy()
    values, counts = np.unique(labels[labels >= 0], return_counts=True)
    large = np.isin(labels, values[counts >= folds])
    labels, features = labels[large], features[large]
    if len(np.unique(labels)) < 2:
        raise ValueError("leakage needs two classes with at least as many examples as folds")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    accuracy = float(cross_val_score(probe, features, labels, cv=splits).mean())
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    return accuracy - float(majority), math.sqrt(accuracy * (1 - accuracy) / len(labels)), len(labels)
