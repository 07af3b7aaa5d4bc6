"""Per-example figures of validation and test, gathered from every process."""

from typing import Any

import torch
import torch.distributed
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.objectives.objectives import Draws

CONDITION = "condition/"  # prefix of the raw condition fields among the columns


class ExampleTable:
    """One row an example, in the order of the split, whatever the batches and processes were."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, columns: dict[str, Tensor]) -> None:
        """Keeps a batch's columns, each [B, ...], with the index and the condition of its examples."""
        start = sum(len(part["index"]) for part in self.parts)
        index = batch.index if batch.index is not None else torch.arange(start, start + len(batch))
        condition = {CONDITION + name: field for name, field in batch.condition.items() if field.dim() == 1}
        self.parts.append(
            {key: value.detach().cpu() for key, value in ({"index": index} | columns | condition).items()}
        )

    def gather(self) -> dict[str, Tensor]:
        """All rows of all processes, sorted by index; the table is empty afterwards."""
        parts, self.parts = self.parts, []
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everyone: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, parts)
            parts = [part for process in everyone for part in process]
        columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        order = columns["index"].argsort(stable=True)
        return {name: column[order] for name, column in columns.items()}


def conditions_of(table: dict[str, Tensor]) -> Fields:
    """The raw condition fields among a table's columns."""
    return {name.removeprefix(CONDITION): column for name, column in table.items() if name.startswith(CONDITION)}


def columns_of(draws: Draws) -> dict[str, Tensor]:
    """The ELBO and its two terms, each [B], nats."""
    terms = draws.terms()
    return {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
