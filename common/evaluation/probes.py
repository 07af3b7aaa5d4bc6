"""What a linear classifier predicts from the latent: of the condition, or of a label that few examples have."""

import math

import numpy as np
from torch import Tensor

from common.clusters import by_group

FOLDS = 5


def latent_leakage(z: Tensor, field: Tensor, seed: int = 0, groups: Tensor | None = None) -> tuple[float, float, int]:
    """Accuracy of a linear probe for a categorical condition from z, above the majority rate, and its error.

    Five-fold cross-validated logistic regression on standardised posterior draws; a value near zero means that a
    linear probe cannot predict the condition from z. Classes with fewer examples than folds are left out. A probe that
    has seen other parts of a recording may know the recording, and by it the condition: groups are not divided.

    Args:
        z: posterior draws [N, D].
        field: categories [N]; missing ones (-1) are left out.
        seed: seed of the folds.
        groups: group [N] of each example, which lies in one fold; None where each stands for itself.

    Returns:
        Accuracy minus the majority rate, the standard error of the accuracy, and the number of examples behind them.

    Raises:
        ValueError: if fewer than two classes have enough examples.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    labels, features = field.numpy(), z.numpy()
    values, counts = np.unique(labels[labels >= 0], return_counts=True)
    large = np.isin(labels, values[counts >= FOLDS])
    labels, features = labels[large], features[large]
    owners = None if groups is None else np.unique(groups.numpy()[large], return_inverse=True)[1]
    if len(np.unique(labels)) < 2:
        raise ValueError("leakage needs two classes with at least as many examples as folds")
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splits = kind(FOLDS, shuffle=True, random_state=seed)
    hits = cross_val_predict(probe, features, labels, cv=splits, groups=owners) == labels
    accuracy = float(hits.mean())
    majority = np.unique(labels, return_counts=True)[1].max() / len(labels)
    apart = by_group(hits.astype(np.float64), owners)  # examples of a group are right or wrong together
    return accuracy - float(majority), float(apart.std()) / math.sqrt(len(apart)), len(labels)


def divides(groups: Tensor | None, field: Tensor) -> bool:
    """Whether folds of whole groups can tell of a field: there are such groups, and enough of at least two classes."""
    if groups is None or len(groups.unique()) == len(groups):
        return False
    of_classes = [len(groups[field == value].unique()) for value in field[field >= 0].unique()]
    return sum(count >= FOLDS for count in of_classes) > 1


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
