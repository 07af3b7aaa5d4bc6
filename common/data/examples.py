"""A data set in memory: examples, their raw condition fields and their splits."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Fields
from common.data.splits import Split, few

COMPARED = 2**29  # bytes of examples up to which those of different splits are compared
PART = 256  # examples that are copied at once where all are looked at


@dataclass(frozen=True)
class Examples:
    """A data set: N examples, their raw condition fields, and the rows of each split.

    Attributes:
        x: [N, ...].
        fields: raw values by name, each [N]; -1 or NaN where missing.
        attributes: type of each field. Statistics in them come from the training split.
        splits: rows of each split.
        views: row [N] of another version of each example, from which z is inferred in training; or None.
        origin: where each example comes from, in columns of N entries (file, line, row, seconds ...).
        notes: what a person should know of the reading, a line each.
        groups: number [N] of what an example is a part or a version of (a recording, a verse), which shares a split;
            None where each stands for itself.
    """

    x: Tensor
    fields: Fields
    attributes: dict[str, Attribute]
    splits: dict[Split, Tensor]
    views: Tensor | None = None
    origin: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    groups: Tensor | None = None

    def restrict(self, names: list[str]) -> "Examples":
        """The examples with only some of their attributes; fields that are not attributes remain.

        Raises:
            ValueError: for an unknown name.
        """
        unknown = [name for name in names if name not in self.attributes]
        if unknown:
            raise ValueError(f"no condition named {', '.join(unknown)}; the data has: {', '.join(self.attributes)}")
        others = {name: values for name, values in self.fields.items() if name not in self.attributes}
        fields = {name: self.fields[name] for name in names} | others
        return replace(self, fields=fields, attributes={name: self.attributes[name] for name in names})

    def few(self, limit: int) -> "Examples":
        """At most `limit` examples, spread over each split; without views, whose examples may be left out."""
        rows, splits = few(self.splits, limit)
        origin = {name: [column[row] for row in rows.tolist()] for name, column in self.origin.items()}
        fields = {name: values[rows] for name, values in self.fields.items()}
        groups = None if self.groups is None else self.groups[rows]
        return Examples(self.x[rows], fields, self.attributes, splits, None, origin, self.notes, groups)

    def batch(self, rows: Tensor) -> Batch:
        """Some rows with their conditions."""
        return Batch(self.x[rows], {name: values[rows] for name, values in self.fields.items()})

    def content(self) -> str:
        """Hash of the conditions and of examples spread over all, whatever the splits."""
        digest = hashlib.sha256(repr(self.x.shape).encode())
        for name in sorted(self.fields):
            digest.update(name.encode() + self.fields[name].contiguous().numpy().tobytes())
        self._spread(digest)
        return digest.hexdigest()[:16]

    def _spread(self, digest: Any) -> None:
        """Adds examples to a hash: all, or of more than 10,000 fewer than 20,000 that are spread over them."""
        for rows in torch.arange(0, len(self.x), max(1, len(self.x) // 10_000)).split(PART):
            digest.update(self.x[rows].contiguous().numpy().tobytes())

    def repeated(self, split: Split) -> int:
        """How many examples of a split equal one of train in x; 0 where the data are too large to be compared."""
        if self.x.nbytes > COMPARED:
            return 0
        return int(np.isin(self._digests(split), self._digests("train")).sum())

    def _digests(self, split: Split) -> np.ndarray:
        """A hash of each example of a split, [n] uint64; few of the examples are in memory at once."""
        rows = self.splits[split]
        return np.fromiter((_digest(x) for part in rows.split(PART) for x in self.x[part]), np.uint64, len(rows))

    def fingerprint(self) -> str:
        """Hash of conditions, splits and examples spread over all."""
        digest = hashlib.sha256(repr((self.x.shape, self.attributes)).encode())
        views = [] if self.views is None else [self.views]
        for tensor in [*self.fields.values(), *self.splits.values(), *views]:
            digest.update(tensor.contiguous().numpy().tobytes())
        self._spread(digest)
        return digest.hexdigest()[:16]


def _digest(example: Tensor) -> int:
    return int.from_bytes(hashlib.blake2b(example.contiguous().numpy().tobytes(), digest_size=8).digest(), "big")
