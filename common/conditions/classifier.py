"""Judges: predictors of conditions, such as networks that are trained once on real data and then frozen."""

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from tqdm import trange

from common.conditions.attributes import Attribute, Categorical, Fields
from common.paths import cache_root, made_once
from common.seeding import seeded


def load_or_train(judge: nn.Module, key: str, fit: Callable[[], None]) -> None:
    """Loads a judge's weights from the cache, or trains and caches them, and freezes the judge.

    Args:
        judge: the network.
        key: identifies everything that the weights depend on.
        fit: trains the judge.

    Raises:
        OSError: if the judge has to be trained and the cache cannot be written, before the training.
    """

    def make(path: Path) -> None:
        fit()
        weights = io.BytesIO()  # torch's own writing to a file reports a full disk without its name
        torch.save(judge.state_dict(), weights)
        path.write_bytes(weights.getbuffer())

    # Checked before torch sees it: a flipped bit in an archive can end torch in a segmentation fault.
    path = made_once(cache_root() / "judges" / f"{key}.pt", make)
    judge.load_state_dict(torch.load(path, weights_only=True))
    judge.eval().requires_grad_(False)


def train(judge: nn.Module, loss: Callable[[], Tensor], steps: int, seed: int, weight_decay: float) -> None:
    """Trains a judge from fresh weights with AdamW under a one-cycle schedule; torch's generator stays as it was.

    Args:
        judge: the network.
        loss: returns the loss of a random batch.
        steps: optimiser steps.
        seed: seed of weights and batches.
        weight_decay: weight decay of AdamW.
    """
    with seeded(seed), torch.enable_grad():
        for module in judge.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
        optimizer = torch.optim.AdamW(judge.parameters(), weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
        judge.train()
        for _ in trange(steps, desc="training the judge on real data", unit="step", leave=False, disable=None):
            value = loss()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()


class Reader(Protocol):
    """A frozen predictor of conditions.

    Attributes:
        attributes: the fields it predicts.
        real: what it says of real test data.
    """

    attributes: dict[str, Attribute]
    real: "RealFigures"

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted raw value of each field, [B]."""


class Judge(Reader, Protocol):
    """A reader with features, in which real and generated data are compared."""

    def features(self, x: Tensor) -> Tensor:
        """Features before the last layer, [B, F]."""


@dataclass(frozen=True)
class RealFigures:
    """What a reader says of N examples of the real test split.

    Attributes:
        read: predicted raw values by name, each [N].
        truth: raw values by name, each [N].
        scores: `scores` of each field where the truth is known.
        features: [N, F]; None of a reader without features.
    """

    read: Fields
    truth: Fields
    scores: dict[str, Tensor]
    features: Tensor | None = None

    @staticmethod
    def of(judge: Reader, x: Iterable[Tensor], truth: Fields) -> "RealFigures":
        """Those of examples that come in parts; `truth` has the fields of all of them."""
        read: dict[str, list[Tensor]] = {name: [] for name in judge.attributes}
        features = []
        for part in x:
            for name, values in judge.read(part).items():
                read[name].append(values)
            if callable(of_part := getattr(judge, "features", None)):
                features.append(of_part(part))
        joined = {name: torch.cat(parts) for name, parts in read.items()}
        known = {name: truth[name] for name in judge.attributes}
        found = scores(judge.attributes, joined, known)
        return RealFigures(joined, known, found, torch.cat(features) if features else None)


def scores(attributes: dict[str, Attribute], read: Fields, truth: Fields) -> dict[str, Tensor]:
    """Scores of each field where the truth is known: 1 or 0 for a category, the absolute error for a number."""
    result = {}
    for name, attribute in attributes.items():
        known = ~attribute.missing(truth[name])
        guess, target = read[name][known], truth[name][known]
        hit = isinstance(attribute, Categorical)
        result[name] = (guess == target).float() if hit else (guess - target).abs()
    return result
