"""Assignment of examples to splits: at random, or by a hash of their name."""

import hashlib
from typing import Literal

import torch
from torch import Tensor

Split = Literal["train", "val", "test"]


def random_split(
    count: int, shares: tuple[float, float], seed: int, groups: Tensor | None = None
) -> dict[Split, Tensor]:
    """Rows of train, val and test, drawn at random.

    Args:
        count: number of rows.
        shares: shares of val and test, between 0 and 1.
        seed: seed of the permutation.
        groups: group of each row, [count]; each is split in the same proportions (stratified). None makes one group.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.zeros(count, dtype=torch.int64) if groups is None else groups
    parts: dict[Split, list[Tensor]] = {"train": [], "val": [], "test": []}
    for group in groups.unique():
        rows = (groups == group).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        val, test = (round(len(rows) * share) for share in shares)
        parts["val"].append(rows[:val])
        parts["test"].append(rows[val : val + test])
        parts["train"].append(rows[val + test :])
    # In random order, so that the first examples of a split represent all of it.
    joined = {name: torch.cat(rows) for name, rows in parts.items()}
    return {name: rows[torch.randperm(len(rows), generator=generator)] for name, rows in joined.items()}


def few(splits: dict[Split, Tensor], limit: int | None) -> tuple[Tensor, dict[Split, Tensor]]:
    """At most `limit` rows, spread evenly over each split, ascending; and the splits of these rows. None keeps all."""
    every = torch.cat(list(splits.values())).unique()
    if limit is None or len(every) <= limit:
        return every, {name: torch.searchsorted(every, rows) for name, rows in splits.items()}
    total = sum(map(len, splits.values()))
    kept: dict[Split, Tensor] = {}
    for name, rows in splits.items():
        count = min(len(rows), max(1, round(limit * len(rows) / total)))
        kept[name] = rows[torch.arange(count) * len(rows) // max(count, 1)]
    chosen = torch.cat(list(kept.values())).unique()
    return chosen, {name: torch.searchsorted(chosen, rows) for name, rows in kept.items()}


def spread(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` positions, evenly spread; None keeps all."""
    return list(range(count)) if limit is None else list(range(0, count, max(1, count // limit)))[:limit]


def everything(count: int) -> dict[Split, Tensor]:
    """The splits of data that are only scored: every row is a test row, and statistics come from all of them."""
    rows = torch.arange(count)
    return {"train": rows, "val": rows[:0], "test": rows}


def hashed_split(names: list[str], shares: tuple[float, float]) -> dict[Split, Tensor]:
    """Rows of train, val and test by a hash of each name: files added later do not change the split of others.

    Raises:
        ValueError: if a split has no row.
    """
    position = torch.tensor([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in names])
    val, test = shares
    masks = {
        "val": position < val,
        "test": (position >= val) & (position < val + test),
        "train": position >= val + test,
    }
    order = position.argsort(stable=True)  # files are sorted by class or name, their hashes are not
    splits: dict[Split, Tensor] = {name: order[mask[order]] for name, mask in masks.items()}  # type: ignore[misc]
    for name, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"{len(names)} examples leave none for {name}: give more data or larger shares")
    return splits
