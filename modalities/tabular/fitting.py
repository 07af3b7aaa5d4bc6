"""Fitting a TabularCVAE to one table in seconds, stopped early by cells held out of it."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from common.batch import Batch
from common.configurable import Configurable
from common.inference import in_evaluation
from modalities.tabular.imputation import weighted_latents
from modalities.tabular.model import TabularCVAE


@dataclass(frozen=True)
class Fitting(Configurable):
    """How a member of the imputer is trained.

    Attributes:
        max_steps: most optimiser steps.
        learning_rate: of Adam.
        weight_decay: of AdamW.
        batch_size: rows a step.
        check_every: steps between two looks at the held-out cells.
        patience: looks without improvement before it stops.
        look_rows: most rows of a look.
        proposals: importance samples of a look.
    """

    max_steps: int = 1000
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int = 128
    check_every: int = 20
    patience: int = 6
    look_rows: int = 400
    proposals: int = 10


def fit_member(model: TabularCVAE, x: Tensor, held_out: Tensor, fitting: Fitting, seed: int) -> list[float]:
    """Trains a model on the cells that are not held out, and leaves it with the weights that predict those best.

    Args:
        model: started from its linear solution.
        x: rows [N, F], NaN where missing.
        held_out: [N, F], True for observed cells that training must not see.
        fitting: how.
        seed: of batches and noise.

    Returns:
        The held-out log-likelihood in nats per cell at every look.
    """
    shown = x.masked_fill(held_out, float("nan"))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=fitting.learning_rate, weight_decay=fitting.weight_decay, fused=True
    )
    generator = torch.Generator().manual_seed(seed)
    look = torch.randperm(len(x), generator=generator)[: fitting.look_rows]
    history = [held_out_score(model, x[look], shown[look], fitting.proposals)]
    best, stale = copy.deepcopy(model.state_dict()), 0
    order = torch.randperm(len(x), generator=generator)
    for step in range(1, fitting.max_steps + 1):
        if len(order) < min(fitting.batch_size, len(x)):
            order = torch.randperm(len(x), generator=generator)
        rows, order = order[: fitting.batch_size], order[fitting.batch_size :]
        loss = member_loss(model.train(), shown[rows], step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        if step % fitting.check_every == 0:
            score = held_out_score(model, x[look], shown[look], fitting.proposals)
            if score > max(history):
                best, stale = copy.deepcopy(model.state_dict()), 0
            else:
                stale += 1
            history.append(score)
            if stale >= fitting.patience:
                break
    model.load_state_dict(best)
    model.eval()
    return history


def member_loss(model: TabularCVAE, shown: Tensor, step: int) -> Tensor:
    """The model's objective on rows [B, F], NaN where not shown."""
    mask = ~shown.isnan()
    batch = Batch(shown.nan_to_num(), {}, mask)
    return model.objective(model.draws(batch, model.objective.num_samples), step)


def held_out_score(model: TabularCVAE, x: Tensor, shown: Tensor, proposals: int, seed: int = 0) -> float:
    """How well held-out cells are predicted from the shown ones: the mean over cells, higher is better.

    -(x - E[x])^2 / 2 of a continuous cell, which is its log-probability under a unit Gaussian up to a constant, and
    log p(x | shown) of any other, both by self-normalised importance sampling. The density of a continuous cell would
    be no guide: a column that repeats some values can raise it without bound and without any better imputation.
    """
    cells = shown.isnan() & ~x.isnan()
    if not cells.any():
        return 0.0
    with in_evaluation(model):
        z, log_weights, c = weighted_latents(model, shown, proposals, seed)
        mixed = model.decode(z, c).base_dist
        log_share = torch.log_softmax(log_weights, dim=0).unsqueeze(-1)
        log_p = torch.logsumexp(log_share + mixed.log_prob(x.nan_to_num()), dim=0)
        expected = (log_share.exp() * mixed.mean).sum(0)
        continuous = torch.tensor([column.kind == "continuous" for column in model.columns])
        return float(torch.where(continuous, -0.5 * (x - expected) ** 2, log_p)[cells].mean())
