"""Imputation of hidden cells: single and multiple imputations, and intervals, from one model or an ensemble."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.conditions.condition import Condition
from common.distributions.likelihoods import Clamped
from common.distributions.mixed import Mixed
from common.distributions.noise import example_noise, reparameterize
from common.eval_mode import eval_mode
from common.model.generation import WeightedLatents
from common.seeding import seeded
from modalities.tabular.columns import Column
from modalities.tabular.model import TabularCVAE

CELLS = 4_000_000  # most numbers of the decoder's output for the proposals of a block of rows
CACHED = 1_000_000  # most numbers of a layer of the decoder at once: larger ones leave the processor's cache
QUANTILES = 2**24  # most numbers that torch.quantile takes
DELAY = 5.0  # seconds after which a progress bar appears


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
            columns: the table's columns; intervals of nonnegative and positive columns and of counts do not extend
                below zero.
            factor: widening factor, from held-out cells (`interval_factor`).
        """
        low, middle, high = quantiles(self.draws, level)
        low, high = middle - factor * (middle - low), middle + factor * (high - middle)
        kinds = ("nonnegative", "positive", "count")
        bounded = torch.tensor([column.kind in kinds for column in columns], device=low.device)
        return torch.where(bounded, low.clamp_min(0.0), low), high


def quantiles(draws: Tensor, level: float) -> tuple[Tensor, Tensor, Tensor]:
    """Lower end, median and upper end of central intervals, [...] from [M, ...]."""
    ends = torch.tensor([(1 - level) / 2, 0.5, (1 + level) / 2], device=draws.device)
    parts = draws.flatten(1).split(max(1, QUANTILES // len(draws)), dim=1)
    low, middle, high = torch.cat([torch.quantile(part, ends, dim=0) for part in parts], dim=1)
    return low.view(draws.shape[1:]), middle.view(draws.shape[1:]), high.view(draws.shape[1:])


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
        num_draws: number of multiple imputations, from each model in turn. The first ones are the same whatever it is.
        seed: seed of all noise; the same rows and seed give the same result.
        progress: title of a progress bar, which appears after some seconds; None shows none.
    """
    return joined(impute_blocks(models, x, proposals, num_draws, seed, progress))


def joined(parts: Iterable[Imputation]) -> Imputation:
    """The imputations of all blocks as one."""
    blocks = list(parts)
    return Imputation(
        torch.cat([block.point for block in blocks]),
        torch.cat([block.draws for block in blocks], dim=1),
        torch.cat([block.confidence for block in blocks]),
    )


def with_intervals(
    blocks: Iterable[Imputation], level: float, columns: Sequence[Column], factor: float = 1.0, kept: int = 0
) -> tuple[Imputation, Tensor, Tensor]:
    """Imputations of all blocks, and the lower and upper ends of their intervals, [N, F] each.

    Args:
        blocks: from `impute_blocks`; the draws of one block are in memory at a time.
        level: as in `Imputation.interval`.
        columns: as there.
        factor: as there.
        kept: how many draws of each block are kept.
    """
    parts, lows, highs = [], [], []
    for block in blocks:
        low, high = block.interval(level, columns, factor)
        parts.append(replace(block, draws=block.draws[:kept].clone()))  # a view would keep all of them
        lows.append(low)
        highs.append(high)
    return joined(parts), torch.cat(lows), torch.cat(highs)


def impute_blocks(
    models: Sequence[TabularCVAE],
    x: Tensor,
    proposals: int,
    num_draws: int,
    seed: int,
    progress: str | None = None,
) -> Iterator[Imputation]:
    """`impute_rows` of one block of rows after the other, where all draws would not fit into memory."""
    rows = max(1, CELLS // (models[0].likelihood.size * proposals))
    blocks = x.split(rows)
    bar = tqdm(
        blocks, desc=progress, unit="block", disable=True if progress is None else None, leave=False, delay=DELAY
    )
    for number, block in enumerate(bar):
        yield _impute_block(models, block, proposals, num_draws, seed, number)


def _impute_block(
    models: Sequence[TabularCVAE], x: Tensor, proposals: int, num_draws: int, seed: int, block: int
) -> Imputation:
    total: list[Tensor] | None = None
    draws = x.new_zeros(num_draws, *x.shape)
    mixed: Mixed | None = None
    for number, model in enumerate(models):
        with eval_mode(model):
            latents, mixed, means = _expectations(model, x, proposals, seed + 7919 * number)
            total = means if total is None else [old + new for old, new in zip(total, means, strict=True)]
            for draw in range(number, num_draws, len(models)):
                # A seed of its own for each draw, so that it does not depend on the number of draws.
                with seeded((seed * 0x9E3779B1 + block * 0x85EBCA6B + draw * 0xC2B2AE35) % 2**63):
                    draws[draw] = mixed_columns(model, latents.resample(1), latents.condition).sample()[0]
    assert total is not None
    assert mixed is not None
    averaged = [entry / len(models) for entry in total]
    # The entries of discrete columns have one more dimension: the probabilities of the codes.
    confidences = [entry.max(-1).values if entry.dim() == 3 else torch.ones_like(entry) for entry in averaged]
    confidence = torch.cat(confidences, dim=-1)[..., mixed.order]
    known = ~x.isnan()
    return Imputation(
        torch.where(known, x, mixed.point(averaged)), torch.where(known, x, draws), confidence.masked_fill(known, 1.0)
    )


def _expectations(
    model: TabularCVAE, x: Tensor, proposals: int, seed: int
) -> tuple[WeightedLatents, Mixed, list[Tensor]]:
    """Weighted latents of rows x [B, F], the columns' distributions of the last ones, and their expected statistics.

    Rows are decoded some at a time, so that the layers of the decoder stay in the processor's cache.
    """
    widest = max(layer.out_features for layer in model.decoder.modules() if isinstance(layer, nn.Linear))
    found, means = [], []
    for part in x.split(max(1, CACHED // (widest * proposals))):
        latents, mixed = predictive(model, part, proposals, seed)
        weights = torch.softmax(latents.log_weights, dim=0)
        means.append([torch.einsum("kb,kb...->b...", weights, entry) for entry in mixed.statistics()])
        found.append(latents)
    z, log_weights = (torch.cat(parts, dim=1) for parts in zip(*((f.z, f.log_weights) for f in found), strict=True))
    latents = WeightedLatents(z, log_weights, model.embed(Batch(x.nan_to_num(), {OBSERVED: x}, ~x.isnan())))
    return latents, mixed, [torch.cat(parts) for parts in zip(*means, strict=True)]


def predictive(model: TabularCVAE, x: Tensor, proposals: int, seed: int) -> tuple[WeightedLatents, Mixed]:
    """K weighted latents that represent p(z | observed cells of x [B, F]), and p(x | z, c) of them without clamping.

    They are those of `TabularCVAE.weighted_latents`, decoded once. All rows share their noise, so that a row's single
    imputation does not depend on the other rows.
    """
    known = ~x.isnan()
    if model.condition.reads_observed:
        same = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        latents = model.weighted_latents(Batch(x.nan_to_num(), {OBSERVED: x}, known, same), proposals, seed)
        return latents, mixed_columns(model, latents.z, latents.condition)
    c = model.embed(Batch(x.nan_to_num(), {OBSERVED: x}, known))
    posterior = model.encode(x, c)
    same = torch.zeros(1, dtype=torch.int64, device=x.device)
    z = reparameterize(posterior, example_noise(seed, same, (proposals, model.latent_prior.size)))
    mixed = mixed_columns(model, z, c)
    log_likelihood = mixed.log_prob(x.nan_to_num()).where(known, 0.0).sum(-1)
    return WeightedLatents(z, log_likelihood + model.prior(c).log_prob(z) - posterior.log_prob(z), c), mixed


def mixed_columns(model: TabularCVAE, z: Tensor, c: Condition) -> Mixed:
    """p(x | z, c) of each column, without the clamping of observed cells."""
    columns = model.decode(z, c).base_dist
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
