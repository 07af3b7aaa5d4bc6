"""A data set in memory: examples, their raw condition fields and their splits."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Fields

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Table:
    """A data set: N examples, their raw condition fields, and who belongs to which split.

    Attributes:
        x: [N, ...].
        fields: raw values by name, each [N]; -1 or NaN where missing.
        attributes: what each field is. Statistics in them come from the training split.
        splits: rows of each split.
    """

    x: Tensor
    fields: Fields
    attributes: dict[str, Attribute]
    splits: dict[Split, Tensor]

    def restrict(self, names: list[str]) -> "Table":
        """The table with only some of its attributes; fields that are no attributes stay.

        Raises:
            ValueError: for an unknown name.
        """
        unknown = [name for name in names if name not in self.attributes]
        if unknown:
            raise ValueError(f"no condition named {', '.join(unknown)}; the data has: {', '.join(self.attributes)}")
        others = {name: field for name, field in self.fields.items() if name not in self.attributes}
        fields = {name: self.fields[name] for name in names} | others
        return Table(self.x, fields, {name: self.attributes[name] for name in names}, self.splits)

    def fingerprint(self) -> str:
        """Hash of conditions, splits and up to 10,000 examples spread over the table."""
        digest = hashlib.sha256(repr((self.x.shape, self.attributes)).encode())
        rows = torch.arange(0, len(self.x), max(1, len(self.x) // 10_000))
        for tensor in [*self.fields.values(), *self.splits.values(), self.x[rows]]:
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]
