"""Imputation of hidden cells: single and multiple imputations, and intervals, from one model or an ensemble."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.distributions.likelihoods import Clamped
from common.distributions.mixed import Mixed
from common.eval_mode import eval_mode
from common.model.generation import WeightedLatents
from common.seeding import seeded
from modalities.tabular.columns import Column
from modalities.tabular.model import TabularCVAE

CELLS = 4_000_000  # most numbers of a decoder's output in memory at once


@dataclass(frozen=True)
class Imputation:
    """Imputations of rows x [N, F]; observed cells keep their values.

    Attributes:
        point: single imputation, [N, F]: the mean of a number, the likeliest code of a discrete column.
        draws: multiple imputations [M, N, F] from p(x_hidden | x_observed).
        confidence: probability of a discrete column's likeliest code, [N, F]; one for numbers and observed cells.
    """

    point: Tensor
    draws: Tensor
    confidence: Tensor

    def interval(self, level: float, columns: Sequence[Column], factor: float = 1.0) -> tuple[Tensor, Tensor]:
        """Central intervals [N, F] from the draws, widened around their median by a factor.

        Args:
            level: share of the draws inside.
            columns: the table's columns; intervals of positive columns and of counts do not extend below zero.
            factor: widening factor, from held-out cells (`interval_factor`).
        """
        low, middle, high = quantiles(self.draws, level)
        low, high = middle - factor * (middle - low), middle + factor * (high - middle)
        bounded = torch.tensor([column.kind in ("positive", "count") for column in columns], device=low.device)
        return torch.where(bounded, low.clamp_min(0.0), low), high


def quantiles(draws: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Lower end, median and upper end of central intervals, [...] from [M, ...]."""
    ends = torch.tensor([(1 - level) / 2, 0.5, (1 + level) / 2], device=draws.device)
    low, middle, high = torch.quantile(draws, ends, dim=0)
    return low, middle, high


def interval_factor(draws: Tensor, truth: Tensor, cells: Tensor, level: float) -> float:
    """The factor that makes intervals cover a share `level` of some cells whose true values are known.

    Split conformal prediction with the distance from the median, in half-widths, as score (Papadopoulos et al. 2002).

    Args:
        draws: multiple imputations [M, N, F].
        truth: true values [N, F].
        cells: [N, F], True for the cells to cover: numbers that were hidden when the draws were made.
        level: share to cover.
    """
    if not cells.any():
        return 1.0
    low, middle, high = quantiles(draws[:, cells], level)
    truth = truth[cells]
    half = torch.where(truth > middle, high - middle, middle - low).clamp_min(1e-6)
    scores = ((truth - middle).abs() / half).sort().values
    return float(scores[min(len(scores) - 1, int(level * (len(scores) + 1)))])


def some_rows(count: int, most: int, seed: int) -> Tensor:
    """Positions of at most `most` of a table's rows: all in their order, or as many drawn at random.

    The first ones would not do: tables are often sorted.
    """
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most]


def impute_rows(
    models: Sequence[TabularCVAE],
    x: Tensor,
    proposals: int = 100,
    num_draws: int = 100,
    seed: int = 0,
    progress: str | None = None,
) -> Imputation:
    """Imputes rows by an equally weighted mixture of models.

    With N(0, I) as prior: self-normalised importance sampling from q(z | x_observed) for the single imputation, and
    sampling importance resampling for the draws (Mattei and Frellsen 2019, equations 11 and 12). With a learned prior:
    z ~ p(z | x_observed).

    Args:
        models: at least one, of the same columns.
        x: rows [N, F], NaN where hidden.
        proposals: importance samples of each model.
        num_draws: number of multiple imputations, divided among the models.
        seed: seed of all noise; the same rows and seed give the same result.
        progress: title of a progress bar; None shows none.
    """
    width = models[0].likelihood.size
    rows = max(1, CELLS // (width * max(proposals, num_draws)))
    shares = [len(range(number, num_draws, len(models))) for number in range(len(models))]
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with seeded(seed):
        starts = range(0, len(x), rows)
        for start in tqdm(starts, desc=progress, unit="block", disable=True if progress is None else None, leave=False):
            parts.append(_impute_block(models, x[start : start + rows], proposals, shares, seed))
    point, draws, confidence = (torch.cat(part, dim=-2) for part in zip(*parts, strict=True))
    known = ~x.isnan()
    ones = torch.ones_like(confidence)
    return Imputation(torch.where(known, x, point), torch.where(known, x, draws), torch.where(known, ones, confidence))


def _impute_block(
    models: Sequence[TabularCVAE], x: Tensor, proposals: int, shares: list[int], seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    total: list[Tensor] | None = None
    draws = []
    mixed: Mixed | None = None
    for number, (model, share) in enumerate(zip(models, shares, strict=True)):
        with eval_mode(model):
            latents = weighted_latents(model, x, proposals, seed + 7919 * number)
            mixed = mixed_columns(model, latents.z, latents)
            weights = torch.softmax(latents.log_weights, dim=0)
            means = [
                (weights.reshape(*weights.shape, *[1] * (entry.dim() - 2)) * entry).sum(0)
                for entry in mixed.statistics()
            ]
            total = means if total is None else [old + new for old, new in zip(total, means, strict=True)]
            if share:
                draws.append(mixed_columns(model, latents.resample(share), latents).sample())
    assert total is not None
    assert mixed is not None
    averaged = [entry / len(models) for entry in total]
    # The entries of discrete columns have one more dimension: the probabilities of the codes.
    confidences = [entry.max(-1).values if entry.dim() == 3 else torch.ones_like(entry) for entry in averaged]
    confidence = torch.cat(confidences, dim=-1)[..., mixed.order]
    return mixed.point(averaged), torch.cat(draws) if draws else x.new_zeros(0, *x.shape), confidence


def weighted_latents(model: TabularCVAE, x: Tensor, proposals: int, seed: int) -> WeightedLatents:
    """Weighted latents that represent p(z | observed cells of x [B, F]).

    All rows share their noise, so that a row's single imputation does not depend on the other rows.
    """
    known, same = ~x.isnan(), torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return model.weighted_latents(Batch(x.nan_to_num(), {OBSERVED: x}, known, same), proposals, seed)


def mixed_columns(model: TabularCVAE, z: Tensor, latents: WeightedLatents) -> Mixed:
    """p(x | z, c) of each column, without the clamping of observed cells."""
    columns = model.decode(z, latents.condition).base_dist
    if isinstance(columns, Clamped):
        columns = columns.base
    assert isinstance(columns, Mixed)
    return columns


def masked_log_likelihood(model: TabularCVAE, batch: Batch, proposals: int, seed: int = 0) -> Tensor:
    """log p(x_hidden | x_observed) of each row in nats, [B]; hidden cells are in `mask` but not in `observed`.

    Args:
        model: the model.
        batch: rows with their known cells as `mask` and the observed ones as condition.
        proposals: importance samples.
        seed: seed of their noise.
    """
    known = model.log_likelihood(batch, proposals, seed)
    if model.condition.reads_observed:  # observed cells have probability one: this is the conditional
        return known
    observed = ~batch.condition[OBSERVED].isnan()
    return known - model.log_likelihood(batch.replace(mask=observed), proposals, seed)
