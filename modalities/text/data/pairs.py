"""Sentences of aligned data in pairs: with another version of the same text as their view, or as their source."""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from common.conditions.attributes import SOURCE, Fields
from common.data.examples import Examples
from common.data.splits import Split

Pairs = Literal["none", "views", "sources"]


def paired(examples: Examples, groups: Tensor, pairs: Pairs) -> tuple[Examples, Tensor]:
    """A row for each sentence and each other version of it, which is its view or its condition `source`.

    "sources" pairs every sentence with every other version. "views" does so in training; a sentence without another
    version, and every sentence of validation and test, is paired with itself. The second result is the former row of
    each sentence.
    """
    members: dict[int, list[int]] = {}
    for row, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(row)
    targets: list[int] = []
    sources: list[int] = []
    splits: dict[Split, Tensor] = {}
    for name, rows in examples.splits.items():
        start = len(targets)
        for row in rows.tolist():
            chosen = [other for other in members[int(groups[row])] if other != row]
            if pairs == "views" and (name != "train" or not chosen):
                chosen = [row]
            targets += [row] * len(chosen)
            sources += chosen
        splits[name] = torch.arange(start, len(targets))
        if len(targets) == start and len(rows):
            raise ValueError(f"no two versions of one thing in {name}: pairs need data with groups")
    fields: Fields = {name: field[targets] for name, field in examples.fields.items()}
    origin = {name: [column[row] for row in targets] for name, column in examples.origin.items()}
    x, notes = examples.x[targets], examples.notes
    found = Examples(x, fields, examples.attributes, splits, origin=origin, notes=notes)
    if pairs == "sources":
        return replace(found, fields={**fields, SOURCE: examples.x[sources]}), torch.tensor(targets)
    first_pair = {row: pair for pair, row in reversed(list(enumerate(targets)))}
    return replace(found, views=torch.tensor([first_pair[row] for row in sources])), torch.tensor(targets)
