"""How far single units of z stand for single factors of the data, where the factors are known.

Codes are [N, D]: what represents each of N examples, such as posterior means. Factors are columns [N] of whole numbers:
categories without an order, or places on a grid (`ordered`).
"""

from collections.abc import Collection, Mapping

import numpy as np
from torch import Tensor

from common.results import Measurement

BINS = 20  # of a unit, for its mutual information with a factor
FLAT = 1e-12  # variance below which a unit is constant
VOTES, GROUP = 800, 64  # of FactorVAE's score: groups of examples, and examples of a group
PRUNED = 0.05  # units whose variance is less than this share of the largest have no vote
TREES = 50

Factors = Mapping[str, np.ndarray]


def figures(
    codes: Tensor, factors: Mapping[str, Tensor], ordered: Collection[str], seed: int = 0
) -> dict[str, Measurement]:
    """All scores of codes by name (`test/...`), each between 0 and 1.

    Args:
        codes: [N, D].
        factors: whole numbers [N] by name, those that were not given to the model.
        ordered: names of the factors whose values have an order.
        seed: seed of splits, forests and groups.
    """
    z, known = codes.double().numpy(), {name: factor.numpy() for name, factor in factors.items()}
    dci = disentanglement_completeness_informativeness(z, known, ordered, seed)
    units = f"posterior means, factors {', '.join(known)}"
    found = {
        "mig": (mutual_information_gap(z, known), f"mutual information gap in {BINS} bins; {units}"),
        "sap": (separated_predictability(z, known, ordered, seed), f"gap of the two best single predictors; {units}"),
        "dci_disentanglement": (dci[0], f"importance in random forests; {units}"),
        "dci_completeness": (dci[1], f"importance in random forests; {units}"),
        "dci_informativeness": (dci[2], f"held-out accuracy or R2 of random forests; {units}"),
        "factor_vae_score": (factor_vae_score(z, known, seed), f"majority vote of {VOTES} groups of {GROUP}; {units}"),
    }
    return {
        f"test/{name}": Measurement(value, None, len(z), "score", estimator)
        for name, (value, estimator) in found.items()
    }


def mutual_information_gap(codes: np.ndarray, factors: Factors) -> float:
    """Mean over factors of (I(z_a; v) - I(z_b; v)) / H(v), a and b the units that know most of v.

    Source: Chen, Li, Grosse and Duvenaud 2018, "Isolating Sources of Disentanglement in VAEs", equation 6; the mutual
    information is that of codes in bins of equal width, as in Locatello et al. 2019, "Challenging Common Assumptions in
    the Unsupervised Learning of Disentangled Representations", appendix C.
    """
    from sklearn.metrics import mutual_info_score

    binned = [np.digitize(unit, np.histogram(unit, BINS)[1][:-1]) for unit in codes.T]
    gaps = []
    for factor in factors.values():
        known = np.array([mutual_info_score(factor, unit) for unit in binned])
        gaps.append(_gap(known) / max(mutual_info_score(factor, factor), FLAT))
    return float(np.mean(gaps))


def separated_predictability(codes: np.ndarray, factors: Factors, ordered: Collection[str], seed: int = 0) -> float:
    """Mean over factors of the gap between the two units that predict v best, each alone and linearly.

    An ordered factor is predicted with an R2, a category with the accuracy of a linear classifier on held-out examples.
    Source: Kumar, Sattigeri and Balakrishnan 2018, "Variational Inference of Disentangled Latent Concepts from
    Unlabeled Observations", section 3.
    """
    gaps = []
    for name, factor in factors.items():
        if name in ordered:
            scores = [_correlation(unit, factor) ** 2 for unit in codes.T]
        else:
            scores = [_accuracy(unit, factor, seed) for unit in codes.T]
        gaps.append(_gap(np.array(scores)))
    return float(np.mean(gaps))


def disentanglement_completeness_informativeness(
    codes: np.ndarray, factors: Factors, ordered: Collection[str], seed: int = 0
) -> tuple[float, float, float]:
    """Whether a unit matters for one factor alone, a factor is told by one unit alone, and factors are told at all.

    The importances of the units for a factor are those of a random forest, and sum to 1; informativeness is the mean of
    its accuracy (categories) or R2 (ordered factors), at least 0, on held-out examples.
    Source: Eastwood and Williams 2018, "A Framework for the Quantitative Evaluation of Disentangled Representations",
    section 2.
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.model_selection import train_test_split

    importances, scores = [], []
    for name, factor in factors.items():
        kind = RandomForestRegressor if name in ordered else RandomForestClassifier
        z, held, v, truth = train_test_split(codes, factor, test_size=0.25, random_state=seed)
        forest = kind(TREES, min_samples_leaf=3, random_state=seed).fit(z, v)
        importances.append(forest.feature_importances_)
        scores.append(max(0.0, float(forest.score(held, truth))))
    by_unit = np.array(importances).T  # [D, K]
    total = by_unit.sum()
    if total == 0:  # constant codes
        return 0.0, 0.0, float(np.mean(scores))
    share = by_unit.sum(1) / total
    disentanglement = float((share * (1 - _entropy(by_unit, axis=1))).sum())
    return disentanglement, float((1 - _entropy(by_unit, axis=0)).mean()), float(np.mean(scores))


def factor_vae_score(codes: np.ndarray, factors: Factors, seed: int = 0) -> float:
    """Accuracy with which the unit that varies least in a group of examples tells the factor that they share.

    Source: Kim and Mnih 2018, "Disentangling by Factorising", section 4: half of the groups vote, the others are told.
    """
    generator = np.random.default_rng(seed)
    variance = codes.var(0)
    active = np.flatnonzero(variance > max(FLAT, PRUNED * variance.max()))
    if len(active) == 0:
        return 0.0
    columns = list(factors.values())
    votes = np.zeros((2, len(active), len(columns)))
    for number in range(2 * VOTES):
        fixed = int(generator.integers(len(columns)))
        value = columns[fixed][generator.integers(len(codes))]
        rows = np.flatnonzero(columns[fixed] == value)
        group = generator.choice(rows, min(GROUP, len(rows)), replace=False)
        least = (codes[group][:, active].var(0) / variance[active]).argmin()
        votes[number % 2, least, fixed] += 1
    told = votes[0].argmax(1)
    return float(votes[1][np.arange(len(active)), told].sum() / votes[1].sum())


def _gap(scores: np.ndarray) -> float:
    """The largest score above the second; a single unit has no second."""
    best = np.sort(scores)[::-1]
    return float(best[0] - (best[1] if len(best) > 1 else 0.0))


def _correlation(unit: np.ndarray, factor: np.ndarray) -> float:
    if unit.var() < FLAT or factor.var() < FLAT:
        return 0.0
    return float(np.corrcoef(unit, factor)[0, 1])


def _accuracy(unit: np.ndarray, factor: np.ndarray, seed: int) -> float:
    """Held-out accuracy of a linear classifier that sees one unit; of a constant one, 0 as for a correlation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    if unit.var() < FLAT:
        return 0.0
    z = ((unit - unit.mean()) / unit.std())[:, None]
    train, held, v, truth = train_test_split(z, factor, test_size=0.25, random_state=seed)
    return float(LogisticRegression(class_weight="balanced", max_iter=200).fit(train, v).score(held, truth))


def _entropy(importances: np.ndarray, axis: int) -> np.ndarray:
    """Entropy of importances along an axis, in units of its largest value."""
    size = importances.shape[axis]
    if size < 2:
        return np.zeros(importances.shape[1 - axis])
    total = importances.sum(axis, keepdims=True)
    share = np.divide(importances, total, out=np.full_like(importances, 1 / size), where=total > 0)
    return -(share * np.log(np.maximum(share, FLAT))).sum(axis) / np.log(size)
