"""Judges that are networks: trained once on real data, kept in the cache, frozen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from filelock import FileLock
from torch import Tensor, nn
from tqdm import trange

from common.conditions.attributes import Attribute, Categorical, Fields
from common.paths import cache_root


def kept(judge: nn.Module, key: str, fit: Callable[[], None]) -> None:
    """Gives a judge its weights, from the cache or trained now and kept there, and freezes it.

    Args:
        judge: the network.
        key: of everything that its weights depend on.
        fit: trains it.
    """
    path = cache_root() / "judges" / f"{key}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            fit()
            partial = path.with_suffix(".partial")
            torch.save(judge.state_dict(), partial)
            partial.replace(path)
        judge.load_state_dict(torch.load(path, weights_only=True))
    judge.eval().requires_grad_(False)


def train(judge: nn.Module, loss: Callable[[], Tensor], steps: int, seed: int, weight_decay: float) -> None:
    """Trains a judge from fresh weights with AdamW under a one-cycle schedule; torch's generator stays as it was.

    Args:
        judge: the network.
        loss: of a random batch.
        steps: optimiser steps.
        seed: of weights and batches.
        weight_decay: of AdamW.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        for module in judge.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                module.reset_parameters()
        optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
        judge.train()
        for _ in trange(steps, desc="training the judge on real data", unit="step", leave=False):
            value = loss()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()


class Judge(Protocol):
    """A frozen reader of conditions.

    Attributes:
        attributes: the fields it reads.
        real: its figures on real test data.
    """

    attributes: dict[str, Attribute]
    real: "RealFigures"

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted raw value of each field, [B]."""

    def features(self, x: Tensor) -> Tensor:
        """Features before the last layer, [B, F]."""


@dataclass(frozen=True)
class RealFigures:
    """What a judge says of real test data: by field its hits or errors [N], and all features [N, F]."""

    scores: dict[str, Tensor]
    features: Tensor


def scores(attributes: dict[str, Attribute], read: Fields, truth: Fields) -> dict[str, Tensor]:
    """By field, for the examples whose truth is known: 1 or 0 for a category, the absolute error for a number."""
    result = {}
    for name, attribute in attributes.items():
        known = ~attribute.missing(truth[name])
        guess, target = read[name][known], truth[name][known]
        hit = isinstance(attribute, Categorical)
        result[name] = (guess == target).float() if hit else (guess - target).abs()
    return result
