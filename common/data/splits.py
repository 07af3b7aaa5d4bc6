"""Assignment of examples to splits: at random, by a hash of their name, or as the data say."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from common.lazy import pd
from common.table_files import place

Split = Literal["train", "val", "test"]
ORDER: tuple[Split, ...] = ("train", "val", "test")
NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def random_split(
    count: int, shares: tuple[float, float], seed: int, groups: Tensor | None = None
) -> dict[Split, Tensor]:
    """Rows of train, val and test, drawn at random.

    Args:
        count: number of rows.
        shares: shares of val and test, between 0 and 1.
        seed: seed of the permutation.
        groups: group of each row, [count]; each is split in the same proportions (stratified). None makes one group.

    Raises:
        ValueError: as in `check_shares`.
    """
    check_shares(shares)
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
    kept: dict[Split, Tensor] = {}
    if sum(map(len, splits.values())) > len(every):  # rows of several splits, which are only scored
        chosen = every[torch.arange(limit) * len(every) // limit]
        kept = {name: rows[torch.isin(rows, chosen)] for name, rows in splits.items()}
    else:
        counts = {name: min(len(rows), max(1, limit * len(rows) // len(every))) for name, rows in splits.items()}
        counts["train"] = min(len(splits["train"]), limit - counts["val"] - counts["test"])
        if counts["train"] < 1:
            raise ValueError(f"{limit} examples leave none to train on, beside {counts['val']} and {counts['test']}")
        kept = {
            name: rows[torch.arange(counts[name]) * len(rows) // max(counts[name], 1)] for name, rows in splits.items()
        }
    chosen = torch.cat(list(kept.values())).unique()
    return chosen, {name: torch.searchsorted(chosen, rows) for name, rows in kept.items()}


def spread(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` positions, ascending and evenly spread over all of them; None keeps all."""
    kept = count if limit is None else min(limit, count)
    return [place * count // kept for place in range(kept)]


def some_rows(count: int, most: int | None, seed: int = 0) -> Tensor:
    """At most `most` of `count` rows: all in their order, or as many drawn at random.

    The first ones would not do: data are often sorted. Fewer rows are the first ones of more.
    """
    if most is None or count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most]


def numbered(names: Sequence[str]) -> Tensor:
    """The number of each name, [N], in the order in which names first appear."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([numbers[name] for name in names], dtype=torch.int64)


def everything(count: int) -> dict[Split, Tensor]:
    """The splits of data that are only scored: every row is a test row, and statistics come from all of them."""
    rows = torch.arange(count)
    return {"train": rows, "val": rows[:0], "test": rows}


def split_of(name: str) -> Split | None:
    """The split that a folder or cell is named after: `train`, `Validation`, `test_set` ...; None for another name."""
    bare = re.sub(r"[\s_-]*(set|data|split|images|files)$", "", name.strip().lower())
    return NAMES.get(bare)


def split_column(table: pd.DataFrame, file: Path) -> tuple[pd.DataFrame, list[Split] | None]:
    """The table without its column `split`, and the split of each row; a column with other values is an ordinary one.

    Raises:
        ValueError: naming the first row that is in no split although others are.
    """
    for position, name in enumerate(table.columns):
        if str(name).strip().lower() == "split":
            cells = table.iloc[:, position]
            splits = [split_of(str(cell)) for cell in cells]
            if not any(splits):
                break
            if None in splits:
                row = splits.index(None)
                raise ValueError(
                    f"{file}, {place(cells, row)}, column {name}: {cells.iloc[row]!r} is no split; there are train, "
                    "val and test"
                )
            return table.drop(columns=name), [split for split in splits if split is not None]
    return table, None


def check_shares(shares: tuple[float, float]) -> None:
    """Refuses shares of validation and test that are none, or leave nothing to train on.

    Raises:
        ValueError: naming them.
    """
    val, test = shares
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise ValueError(f"data.shares [{val:g}, {test:g}] of validation and test must leave something to train on")


def given_split(
    given: Sequence[Split], names: list[str], shares: tuple[float, float], labels: Sequence[Tensor] = ()
) -> dict[Split, Tensor]:
    """Rows of train, val and test as the data give them; what is missing of val and test is cut from train by a hash.

    Args:
        given: split of each row.
        names: name of each row, by whose hash train is cut; rows of one name stay together.
        shares: shares of val and test, should they be missing.
        labels: as in `hashed_split`.

    Raises:
        ValueError: if no row is given for train, or a split has no row.
    """
    side = torch.tensor([ORDER.index(name) for name in given])
    train = (side == ORDER.index("train")).nonzero()[:, 0]
    if len(train) == 0:
        raise ValueError(f"the data name the splits {', '.join(sorted(set(given)))}, and none is for training")
    val, test = (0.0 if name in given else share for name, share in zip(("val", "test"), shares, strict=True))
    if val or test:
        parts = _with_rare([names[row] for row in train.tolist()], (val, test), [field[train] for field in labels])
        for number, name in enumerate(ORDER):
            side[train[parts[name]]] = number
    order = _positions(names).argsort(stable=True)
    return _checked({name: order[side[order] == number] for number, name in enumerate(ORDER)}, len(given))


def hashed_split(names: list[str], shares: tuple[float, float], labels: Sequence[Tensor] = ()) -> dict[Split, Tensor]:
    """Rows of train, val and test by a hash of each name: files added later do not change the split of others.

    A category of which no row would be trained keeps that with the highest hash in train, together with all rows of
    the same name; but not if that would leave no row for val or test.

    Args:
        names: name of each row; rows of one name stay together.
        shares: shares of val and test, between 0 and 1.
        labels: categories of each row, [N], -1 where missing, one tensor for each condition.

    Raises:
        ValueError: if a split has no row.
    """
    return _checked(_with_rare(names, shares, labels), len(names))


def _with_rare(names: list[str], shares: tuple[float, float], labels: Sequence[Tensor]) -> dict[Split, Tensor]:
    """Rows by hash, with a row of each category in train."""
    splits = _by_hash(names, shares)
    training = torch.zeros(len(names), dtype=torch.bool)
    training[splits["train"]] = True
    position = _positions(names)
    order = position.argsort(stable=True)
    for field in labels:
        kept = set()
        for category in set(field.unique().tolist()) - set(field[training].unique().tolist()) - {-1}:
            own = (field == category).nonzero()[:, 0]
            kept.add(names[int(own[position[own].argmax()])])
        moved = torch.tensor([name in kept for name in names])
        left = {name: rows[~moved[rows]] for name, rows in splits.items() if name != "train"}
        # Categories of which each stands for few rows, such as owners, would take all.
        if all(len(rows) or not len(splits[name]) for name, rows in left.items()):
            training = training | moved
            splits = {"train": order[training[order]], "val": left["val"], "test": left["test"]}
    return splits


def _positions(names: list[str]) -> Tensor:
    """Hash of each name as a number between 0 and 1, [N]."""
    return torch.tensor([int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in names])


def _by_hash(names: list[str], shares: tuple[float, float]) -> dict[Split, Tensor]:
    check_shares(shares)
    position, (val, test) = _positions(names), shares
    side = torch.where(position < val, 1, torch.where(position < val + test, 2, 0))
    order = position.argsort(stable=True)  # files are sorted by class or name, their hashes are not
    return {name: order[side[order] == number] for number, name in enumerate(ORDER)}


def _checked(splits: dict[Split, Tensor], count: int) -> dict[Split, Tensor]:
    for name, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"{count} examples leave none for {name}: give more data or larger shares")
    return splits
