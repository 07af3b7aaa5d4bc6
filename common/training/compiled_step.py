"""A training step that torch.compile turns into one graph: encoder, draw, decoder, log-probabilities, KL and loss."""

import statistics
import time
from itertools import pairwise
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from common.batch import Batch
from common.model.latent_model import LatentModel
from common.objectives.objectives import Objective
from common.training.step import Auxiliary, training_loss

PLAIN = 10  # first steps of a training, which run uncompiled, so that it can be told what compiling gains
TOLD = 30  # compiled steps after which it is


class CompiledStep:
    """`training_loss`, compiled. It says what that gains; what cannot be compiled runs as it is, and one line says so.

    Args:
        model: the model.
        objective: what is minimised.
        auxiliary: further terms of the loss.
        varying: whether batches have many shapes, for which one graph is made in place of one for each.
    """

    def __init__(self, model: LatentModel, objective: Objective, auxiliary: Auxiliary, varying: bool) -> None:
        def loss(batch: Batch, step: int, dataset_size: int | None) -> tuple[Tensor, dict[str, Any]]:
            return training_loss(model, objective, auxiliary, batch, step, dataset_size, with_terms=True)

        self.plain = loss
        self.compiled = torch.compile(loss, fullgraph=True, dynamic=True if varying else None)
        self.failed = False
        self._starts: dict[str, list[float]] = {"plain": [], "compiled": []}

    def __call__(self, batch: Batch, step: int, dataset_size: int | None) -> tuple[Tensor, dict[str, Any]]:
        """Loss and terms."""
        arguments = batch.replace(index=None), step, dataset_size  # an index would make graphs of its own
        if self.failed or step < PLAIN:
            self._note("plain")
            return self.plain(*arguments)
        if self._note("compiled") == TOLD:
            rank_zero_info(self._gain())
        try:
            with torch._dynamo.config.patch(allow_rnn=True):
                loss, terms = self.compiled(*arguments)
                return loss, terms
        except Exception as error:  # of the compiler; those of the model come up again below
            self.failed = True
            result = self.plain(*arguments)
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            rank_zero_warn(
                f"model.compile: the step cannot be compiled, and goes on as it is ({reason[:200]})",
                category=UserWarning,
            )
            return result

    def _note(self, kind: str) -> int | None:
        """Notes when a step begins, and how many have; None once the gain was told."""
        starts = self._starts[kind]
        if len(starts) >= TOLD:
            return None
        starts.append(time.perf_counter())
        return len(starts)

    def _gain(self) -> str:
        """What compiling took and gains, in a sentence."""
        plain, compiled = (
            [later - start for start, later in pairwise(starts)]
            for starts in (self._starts["plain"], self._starts["compiled"])
        )
        after = statistics.median(compiled)
        took = sum(seconds - after for seconds in compiled if seconds > 10 * after)
        said = f"model.compile: compiled in {took:.0f} s, a step takes {1000 * after:.1f} ms"
        if len(plain) < PLAIN // 2:  # a training that has gone on
            return said
        before = statistics.median(plain)
        if before <= after:
            return f"{said}, which is no less than the {1000 * before:.1f} ms before: leave it out"
        return f"{said} in place of {1000 * before:.1f}: it pays from {took / (before - after):,.0f} steps on"
