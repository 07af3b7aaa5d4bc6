"""Samples of a model for figures, some at a time."""

from typing import Any

import torch
from torch import Tensor

from common.conditions.attributes import Fields
from common.model.generation import Generation


def sampled(model: Generation, conditions: Fields, at_once: int, num_samples: int = 1, **how: Any) -> Tensor:
    """x as `model.sample` gives it, [num_samples, N, ...], on the CPU; at most `at_once` are generated at a time.

    Args:
        model: the model.
        conditions: raw condition fields, each [N].
        at_once: most samples at a time. It decides which draws of torch's generator a sample is made of.
        num_samples: samples for each condition.
        how: further options of `model.sample`.
    """
    count = len(next(iter(conditions.values())))
    parts = []
    for rows in torch.arange(count).split(max(1, at_once // num_samples)):
        fields = {name: field[rows] for name, field in conditions.items()}
        numbers = [len(part) for part in torch.arange(num_samples).split(at_once)]
        parts.append(torch.cat([model.sample(fields, number, **how).cpu() for number in numbers]))
    return torch.cat(parts, dim=1)
