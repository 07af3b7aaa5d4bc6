"""One answer from the analyses of several imputed tables: Rubin's rules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit


@dataclass(frozen=True)
class Pooled:
    """An estimate from M imputed tables; a number, or P numbers [P].

    Attributes:
        estimate: mean of the estimates.
        within: mean of their variances.
        between: variance of the estimates, with M - 1.
        total: variance of the pooled estimate.
        df: degrees of freedom of its t-distribution; infinite where all tables give the same estimate.
        level: level of the interval.
    """

    estimate: np.ndarray
    within: np.ndarray
    between: np.ndarray
    total: np.ndarray
    df: np.ndarray
    level: float = 0.95

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Both ends of the interval of the level, from Student's t."""
        quantile = stdtrit(np.minimum(self.df, 1e9), (1 + self.level) / 2)
        half = quantile * np.sqrt(self.total)
        return self.estimate - half, self.estimate + half


def pool(estimates: ArrayLike, variances: ArrayLike, level: float = 0.95, complete_df: float | None = None) -> Pooled:
    """Pools the estimates of M imputed tables by Rubin's rules.

    total = within + (1 + 1/M) between. With r = (1 + 1/M) between / within, df = (M - 1) (1 + 1/r)^2. In a small table,
    whose complete analysis would have `complete_df` degrees of freedom itself, that of Barnard and Rubin holds, which
    is never larger than either.

    Source: Rubin 1987, "Multiple Imputation for Nonresponse in Surveys", equations 3.1.2 to 3.1.7; Barnard and Rubin
    1999, "Small-sample degrees of freedom with multiple imputation", equation 3.

    Args:
        estimates: an estimate of each table, [M] or [M, P], such as a mean or regression coefficients.
        variances: their squared standard errors, of the same shape.
        level: level of the interval.
        complete_df: degrees of freedom of the analysis if no cell were missing, such as rows minus coefficients; None
            is a large table.

    Raises:
        ValueError: for fewer than two tables, other shapes, or a negative variance.
    """
    q, u = np.asarray(estimates, dtype=float), np.asarray(variances, dtype=float)
    if q.ndim == 0 or len(q) < 2:
        raise ValueError("pooling needs the estimates of at least 2 imputed tables")
    if q.shape != u.shape:
        raise ValueError(f"estimates and variances must have one shape; got {q.shape} and {u.shape}")
    if (u < 0).any():
        raise ValueError("variances are squared standard errors; one is negative")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level:g}")
    number = len(q)
    within, between = u.mean(axis=0), q.var(axis=0, ddof=1)
    added = (1 + 1 / number) * between
    total = within + added
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, added / total, 0.0)  # of the variance that missing cells cause: r / (1 + r)
        df = (number - 1) / share**2
        if complete_df is not None:
            observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
            df = 1 / (1 / df + 1 / observed)
    return Pooled(q.mean(axis=0), within, between, total, df, level)
