"""Per-example figures of validation and test, gathered from every process."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Fields
from common.distributions.priors import factorises
from common.objectives.samples import PosteriorSamples

Columns = dict[str, Tensor]  # name -> a figure of each example, [N] or [N, D]
CONDITION = "condition/"  # prefix of the raw condition fields among the columns
GROUP = "group"  # the column of `Examples.groups`, where the data have groups


class ExampleTable:
    """One row per example, in the order of the split, independent of batches and processes.

    What was not measured of a batch is NaN.
    """

    def __init__(self) -> None:
        self.parts: list[Columns] = []

    def add(self, batch: Batch, columns: Columns, attributes: Iterable[str]) -> None:
        """Stores a batch's columns, each [B, ...], with index and attributes of its examples."""
        start = sum(len(part["index"]) for part in self.parts)
        index = batch.index if batch.index is not None else torch.arange(start, start + len(batch))
        condition = {CONDITION + name: batch.condition[name] for name in attributes if name in batch.condition}
        self.parts.append(
            {key: value.detach().cpu() for key, value in ({"index": index} | columns | condition).items()}
        )

    def gather(self) -> Columns:
        """All rows of all processes, sorted by index; the table is empty afterwards."""
        parts, self.parts = of_all_processes(self.parts), []
        columns = {name: _joined(name, parts) for name in dict.fromkeys(name for part in parts for name in part)}
        order = columns["index"].argsort(stable=True)
        return {name: column[order] for name, column in columns.items()}


def _joined(name: str, parts: list[Columns]) -> Tensor:
    like = next(part[name] for part in parts if name in part)
    return torch.cat([
        part[name] if name in part else like.new_full((len(part["index"]), *like.shape[1:]), float("nan"))
        for part in parts
    ])  # fmt: skip


def of_all_processes(parts: list[Columns]) -> list[Columns]:
    """The columns of every process, one process after the other; call it in all of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return parts
    everyone: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(everyone, parts)
    return [part for process in everyone for part in process]


def conditions_of(table: Columns) -> Fields:
    """The raw condition fields among a table's columns."""
    return {name.removeprefix(CONDITION): column for name, column in table.items() if name.startswith(CONDITION)}


def columns_of(samples: PosteriorSamples) -> Columns:
    """The ELBO and its two terms, each [B], nats; mean and deviation of the posterior, [B, D].

    Where the prior factorises, also the KL of each unit, [B, D].
    """
    terms, posterior = samples.terms(), samples.posterior.base_dist
    columns = {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
    columns |= {"kl_per_unit": samples.kl_per_unit()} if factorises(samples.prior) else {}
    return {**columns, "mean": posterior.loc, "std": posterior.scale}
