"""Fitting a TabularCVAE to one table in seconds, with early stopping on held-out cells."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from common.batch import Batch
from common.conditions.attributes import OBSERVED
from common.configurable import Configurable
from common.eval_mode import eval_mode
from common.training.optimizers import ask_no_driver
from modalities.tabular.data.masks import randomly_masked
from modalities.tabular.imputation.sampling import DELAY, predictive
from modalities.tabular.model import TabularCVAE


@dataclass(frozen=True)
class Fitting(Configurable):
    """Training options of a member of the imputer.

    Attributes:
        min_steps: least optimiser steps: the first ones nearly always help, but by less than the noise of the score.
        max_steps: most optimiser steps; 0 leaves the linear start as it is.
        learning_rate: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        batch_size: rows per step.
        check_every: steps between two checks of the held-out score; `max_steps` where that is less.
        patience: checks without improvement before training stops.
        check_rows: most rows of a check.
        proposals: importance samples of a check.
    """

    min_steps: int = 80
    max_steps: int = 300
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int = 64
    check_every: int = 20
    patience: int = 5
    check_rows: int = 400
    proposals: int = 10


def cross_validate(
    models: Sequence[TabularCVAE],
    x: Tensor,
    held_out: Sequence[Tensor],
    fitting: Fitting,
    seed: int,
    progress: bool = False,
) -> tuple[int, list[float]]:
    """Trains models in parallel, each without its own held-out cells, to choose the number of steps.

    The held-out cells of one model are too few to decide when to stop it; those of all folds of the cross-validation
    together decide when to stop all. The models are left with their weights of that step.

    Args:
        models: models initialised by their linear solutions.
        x: rows [N, F], NaN where missing.
        held_out: for each model [N, F], True for observed cells that are left out of its training.
        fitting: training options.
        seed: seed of batches and noise.
        progress: shows a progress bar.

    Returns:
        The number of steps, and the mean held-out score (`held_out_score`) at every check.
    """
    folds = [
        Member(model, x, hidden, fitting, seed + number)
        for number, (model, hidden) in enumerate(zip(models, held_out, strict=True))
    ]
    history = [sum(fold.score() for fold in folds) / len(folds)]
    best, best_score = 0, float("-inf")
    every = max(1, min(fitting.check_every, fitting.max_steps))
    last = range(every, fitting.max_steps + 1, every)
    least = min(fitting.min_steps, max(last, default=0))
    bar = tqdm(
        last, desc="cross-validation", unit="check", disable=None if progress else True, leave=False, delay=DELAY
    )
    for step in bar:
        for fold in folds:
            fold.train(every)
        history.append(sum(fold.score() for fold in folds) / len(folds))
        if step >= least and history[-1] > best_score:
            best, best_score = step, history[-1]
            for fold in folds:
                fold.store()
        if step >= least and step - best >= fitting.patience * every:
            break
    for fold in folds:
        fold.restore()
    return best, history


class Member:
    """One model in training.

    Args:
        model: a model initialised by its linear solution.
        x: rows [N, F], NaN where missing.
        held_out: [N, F], True for observed cells that are left out of training.
        fitting: training options.
        seed: seed of batches and noise.
    """

    def __init__(self, model: TabularCVAE, x: Tensor, held_out: Tensor, fitting: Fitting, seed: int) -> None:
        self.model, self.x, self.held_out, self.fitting = model, x, held_out, fitting
        ask_no_driver()
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=fitting.learning_rate, weight_decay=fitting.weight_decay, fused=True
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.checked = torch.randperm(len(x), generator=self.generator)[: fitting.check_rows]
        self.order = torch.randperm(0)
        self.best = copy.deepcopy(model.state_dict())
        self.step = 0

    def train(self, steps: int) -> None:
        """Takes some steps of the optimiser."""
        size = min(self.fitting.batch_size, len(self.x))
        for _ in range(steps):
            if len(self.order) < size:
                self.order = torch.randperm(len(self.x), generator=self.generator)
            rows, self.order = self.order[:size], self.order[size:]
            self.step += 1
            loss = member_loss(self.model.train(), self.observed(rows), self.step)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 10.0)
            self.optimizer.step()

    def score(self) -> float:
        """`held_out_score` of the current weights."""
        observed = self.observed(self.checked)
        return held_out_score(self.model, self.x[self.checked], observed, self.fitting.proposals)

    def observed(self, rows: Tensor) -> Tensor:
        """Some rows without their held-out cells: a whole table for each member would take the memory of many."""
        return self.x[rows].masked_fill(self.held_out[rows], float("nan"))

    def store(self) -> None:
        """Stores the current weights."""
        self.best = copy.deepcopy(self.model.state_dict())

    def restore(self) -> None:
        """Gives the model the stored weights."""
        self.model.load_state_dict(self.best)
        self.model.eval()


def fit_member(model: TabularCVAE, x: Tensor, steps: int, fitting: Fitting, seed: int) -> None:
    """Trains a model on all observed cells of x [N, F] for a number of steps."""
    Member(model, x, torch.zeros_like(x, dtype=torch.bool), fitting, seed).train(steps)
    model.eval()


def member_loss(model: TabularCVAE, observed: Tensor, step: int) -> Tensor:
    """The model's objective on rows [B, F], NaN where not observed."""
    fields = {OBSERVED: randomly_masked(observed)} if model.condition.reads_observed else {}
    batch = Batch(observed.nan_to_num(), fields, ~observed.isnan())
    return model.objective(model.draws(batch, model.objective.num_samples), step)


def held_out_score(model: TabularCVAE, x: Tensor, observed: Tensor, proposals: int, seed: int = 0) -> float:
    """Mean score of the predictions of held-out cells from the observed ones; higher is better.

    -(x - E[x])^2 / 2 of a continuous or nonnegative cell, which is its log-probability under a unit Gaussian up to a
    constant, and log p(x | observed) of any other, both by self-normalised importance sampling. Their density is no
    useful score: for a column with repeated values it can grow without bound while imputations become no better.
    """
    cells = observed.isnan() & ~x.isnan()
    if not cells.any():
        return 0.0
    with eval_mode(model):
        latents, mixed = predictive(model, observed, proposals, seed)
        log_share = torch.log_softmax(latents.log_weights, dim=0).unsqueeze(-1)
        log_p = torch.logsumexp(log_share + mixed.log_prob(x.nan_to_num()), dim=0)
        expected = (log_share.exp() * mixed.mean).sum(0)
        continuous = torch.tensor([column.kind in ("continuous", "nonnegative") for column in model.columns])
        return float(torch.where(continuous, -0.5 * (x - expected) ** 2, log_p)[cells].mean())
