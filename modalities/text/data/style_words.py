"""Tokens that reveal a style."""

from collections.abc import Mapping

import torch
from torch import Tensor


def style_tokens(
    x: Tensor, categories: Mapping[str, tuple[Tensor, int]], vocabulary: int, ratio: float, keep: list[int]
) -> list[int]:
    """Tokens at least `ratio` times likelier in one category than in the others, by smoothed frequencies.

    Args:
        x: training sentences [N, T].
        categories: by field, the category of each sentence [N] (-1 where missing), and their number.
        vocabulary: V.
        ratio: threshold above 1.
        keep: tokens that are never selected.
    """
    selected = torch.zeros(vocabulary, dtype=torch.bool)
    for labels, count in categories.values():
        frequencies = torch.stack(
            [torch.bincount(x[labels == value].flatten().long(), minlength=vocabulary) for value in range(count)]
        ).double()
        frequencies[:, keep] = 0
        own, rest = frequencies + 1, frequencies.sum(0) - frequencies + 1
        likelier = (own / own.sum(1, keepdim=True)) / (rest / rest.sum(1, keepdim=True))
        selected |= (likelier >= ratio).any(0) & (frequencies.sum(0) > 0)
    selected[keep] = False
    return selected.nonzero()[:, 0].tolist()
