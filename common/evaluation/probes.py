"""What a linear classifier predicts from the latent: of the condition, or of a label that few examples have."""

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


def few_label_accuracy(
    codes: Tensor, field: Tensor, labels: int = 100, repeats: int = 5, seed: int = 0
) -> tuple[float, float, int]:
    """Accuracy of a linear classifier of codes that is trained on few labelled examples, on all others.

    Args:
        codes: what represents each example, such as posterior means, [N, D].
        field: categories [N].
        labels: labelled examples.
        repeats: times that other examples are labelled.
        seed: seed of the choice.

    Returns:
        The mean accuracy, its standard error over the repeats, and the number of examples that are classified.

    Raises:
        ValueError: if there are no more examples than labels.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(codes) <= labels:
        raise ValueError(f"{labels} labels leave nothing to classify of {len(codes)} examples")
    features, truth = codes.numpy(), field.numpy()
    found = []
    for number in range(repeats):
        order = np.random.default_rng((seed, number)).permutation(len(truth))
        known, rest = order[:labels], order[labels:]
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features[known], truth[known])
        found.append(float(probe.score(features[rest], truth[rest])))
    return float(np.mean(found)), float(np.std(found, ddof=1) / math.sqrt(repeats)), len(truth) - labels
