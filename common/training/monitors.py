"""Monitors: callbacks that report in plain words when training goes wrong."""

import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.batch import Batch
from common.data.names import named_examples
from common.evaluation.columns import Columns
from common.evaluation.information import active_units, informative_units
from common.seeding import seeded
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO

REMEDIES = (
    "Look at these examples; try a lower learning rate, trainer.gradient_clip_val, or trainer.precision bf16-mixed in "
    "place of 16-mixed"
)


@runtime_checkable
class ChoosesRecognition(Protocol):
    """A model that can be trained without a recognition network; q(z | x, c) is then the prior, and the KL zero."""

    recognition: bool


class CollapseMonitor(Callback):
    """Warns when the decoder does not use the latent (posterior collapse), for example because beta is too large.

    It is silent about models whose KL is small by design: they ignore z, or draw it from the prior.

    Args:
        min_kl: KL in nats below which it warns.
        min_units: number of units with a KL above .05 nats below which it warns; where the prior does not factorise,
            of units whose posterior mean varies.
        from_epoch: first epoch that can warn, counted from 1.
    """

    def __init__(self, min_kl: float = 0.5, min_units: int = 1, from_epoch: int = 2) -> None:
        self.min_kl = min_kl
        self.min_units = min_units
        self.from_epoch = from_epoch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the validation table."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.current_epoch + 1 < self.from_epoch:
            return
        assert isinstance(pl_module, ConditionalELBO)
        from_prior = isinstance(pl_module, ChoosesRecognition) and not pl_module.recognition
        silent = pl_module.ignores_latent or from_prior
        message = None if silent else self.warning(Evaluator.of(trainer).validation)
        if message:
            rank_zero_warn(f"epoch {trainer.current_epoch + 1}: {message}", category=UserWarning)

    def warning(self, table: Columns) -> str | None:
        """The warning for a validation table, or None."""
        kl, units = table["kl"].mean().item(), active_units(table["mean"])
        if "kl_per_unit" in table:
            units = informative_units(table["kl_per_unit"])
        if kl >= self.min_kl and units >= self.min_units:
            return None
        return (
            f"the latent carries almost nothing: KL {kl:.3f} nats, {units} of {table['mean'].shape[1]} units in use. "
            "The decoder reconstructs without z (posterior collapse). Remedies: a lower or annealed beta "
            "(objective.beta), free bits (objective.free_bits), a weaker decoder, word or input dropout"
        )


class NonFiniteGuard(Callback):
    """Stops a training at a number that is not finite, and names the term, the examples and their conditions.

    A weight that is not finite gets into no checkpoint, and a validation that is not finite is never the best. On a CPU
    every loss is checked before its gradients are taken; elsewhere every few, because a check waits for the device. A
    loss that overflows in 16 bits is no fault as long as the gradient scaler leaves such steps out.

    Args:
        every_n_steps: steps between checks on a device.
        overflows: number of checks in a row at which an overflow in 16 bits is a fault.
    """

    def __init__(self, every_n_steps: int = 20, overflows: int = 10) -> None:
        self.every_n_steps, self.overflows = every_n_steps, overflows
        self._batch: Batch | None = None
        self._overflown = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps the batch, whose examples a message names."""
        self._batch = batch if isinstance(batch, Batch) else None

    # Before the backward pass, because the optimiser's step would spread the NaN to all weights.
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Checks the loss.

        Raises:
            FloatingPointError: if it is NaN or infinite.
        """
        if loss.device.type != "cpu" and trainer.global_step % self.every_n_steps:
            return
        if math.isfinite(loss.item()):
            self._overflown = 0
            return
        self._overflown += 1
        scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
        if not scaled or self._overflown >= self.overflows:
            raise FloatingPointError(self._explain(trainer, pl_module, f"the loss is {loss.item():g}"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks the validation, before a checkpoint can be the best by it.

        Raises:
            FloatingPointError: if its ELBO is NaN or infinite.
        """
        elbo = trainer.callback_metrics.get("val/elbo")
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or elbo is None or elbo.isfinite():
            return
        table = Evaluator.of(trainer).validation
        wrong = (~table["elbo"].isfinite()).nonzero()[:, 0]
        rows = table["index"][wrong].long() if "index" in table else wrong
        terms = [name for name in ("reconstruction", "kl") if not table[name].isfinite().all()]
        raise FloatingPointError(
            f"step {trainer.global_step}: the ELBO of {len(wrong)} of {len(table['elbo'])} validation examples is not "
            f"finite ({' and '.join(terms)}): {named_examples(_data(trainer), 'val', rows)}. "
            f"{self._weights(pl_module)}. {REMEDIES}"
        )

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Checks what is about to be saved.

        Raises:
            FloatingPointError: if a weight, or a number of the optimiser, is NaN or infinite; then nothing is written.
        """
        saved = {name: part for name, part in checkpoint.items() if name not in ("loops", "callbacks")}
        broken = [name for name, tensor in tensors_of(saved) if not tensor.isfinite().all()]
        if broken:
            raise FloatingPointError(
                f"step {trainer.global_step}: {len(broken)} states are not finite ({', '.join(broken[:3])}): "
                f"nothing was saved. Checkpoints of earlier steps remain. {REMEDIES}"
            )

    def _explain(self, trainer: Trainer, pl_module: LightningModule, fault: str) -> str:
        """What is not finite in the present step."""
        parts = [f"step {trainer.global_step}: {fault}"]
        if self._batch is not None and isinstance(pl_module, ConditionalELBO):
            with torch.no_grad(), seeded(0):
                terms = pl_module.draws(self._batch, 1).terms()
            wrong = {name: ~getattr(terms, name).isfinite() for name in ("reconstruction", "kl")}
            names = [name for name, rows in wrong.items() if rows.any()]
            rows = torch.stack(list(wrong.values())).any(0).nonzero()[:, 0]
            if names:
                examples = named_examples(_data(trainer), "train", self._batch.positions[rows].cpu())
                parts.append(f"{' and '.join(names)} of {len(rows)} of {len(self._batch)} examples ({examples})")
            else:
                parts.append("the ELBO of its examples is finite, so that it is a further term of the objective")
        return f"{'; '.join(parts)}. {self._weights(pl_module)}. {REMEDIES}"

    @staticmethod
    def _weights(pl_module: LightningModule) -> str:
        broken = [name for name, weight in pl_module.named_parameters() if not weight.isfinite().all()]
        return f"Weights that are not finite: {', '.join(broken[:3]) or 'none'}"


def tensors_of(part: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of floating-point numbers in nested dictionaries and lists, with their dotted names."""
    if isinstance(part, Tensor):
        if part.is_floating_point():
            yield name, part
    elif isinstance(part, dict | list | tuple):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield from tensors_of(value, f"{name}.{key}" if name else str(key))


def _data(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]
