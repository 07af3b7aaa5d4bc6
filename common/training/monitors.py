"""Monitors: callbacks that report in plain words when training goes wrong."""

import math
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
from common.training.checkpoint_io import check_finite
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO

REMEDIES = (
    "Look at these examples; try a lower learning rate, trainer.gradient_clip_val, or trainer.precision bf16-mixed in "
    "place of 16-mixed"
)
LAST_OVERFLOWS = 3  # checks without a finite loss, or steps left out, with which no training in 16 bits may end
SMALLEST_SCALE = 2.0**-10  # of gradients in 16 bits; a scaler begins at 2^16, and halves it when it leaves a step out


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
    every loss is checked before its gradients are taken; elsewhere every few, because a check waits for the device. In
    16 bits a loss that is finite in 32 bits is no fault as long as the gradient scaler leaves such steps out, and some
    of the steps are taken.

    Args:
        every_n_steps: steps between checks on a device.
        overflows: number of checks in a row at which an overflow in 16 bits is a fault.
    """

    def __init__(self, every_n_steps: int = 20, overflows: int = 10) -> None:
        self.every_n_steps, self.overflows = every_n_steps, overflows
        self._batch: Batch | None = None
        self._overflown = 0
        self._begun = 0  # step at which this process began
        self._seen: tuple[int, float] | None = None  # step and scale of gradients at the last check
        self._left_out = 0  # steps that the gradient scaler has left out in a row, until the last check

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keeps the batch, whose examples a message names."""
        self._batch = batch if isinstance(batch, Batch) else None
        if self._seen is None and (scaler := _scaler(trainer)) is not None:
            self._begun, self._seen = trainer.global_step, (trainer.global_step, scaler.get_scale())

    # Before the backward pass, because the optimiser's step would spread the NaN to all weights.
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Checks the loss, and that the gradient scaler does not leave out all steps.

        Raises:
            FloatingPointError: if the loss is NaN or infinite, or no gradient is finite at any scale.
        """
        if loss.device.type != "cpu" and trainer.global_step % self.every_n_steps:
            return
        scaler = _scaler(trainer)
        self._count_left_out(trainer)
        if math.isfinite(loss.item()):
            self._overflown = 0
            if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
                raise FloatingPointError(
                    f"step {trainer.global_step}: the loss is finite and its gradients are not, whatever the scale: "
                    f"the gradient scaler leaves out every step. {self._weights(pl_module)}. {REMEDIES}"
                )
            return
        self._overflown += 1
        wrong, terms = self._wrong_terms(trainer, pl_module)
        if scaler is None or self._overflown >= self.overflows or wrong:
            fault = f"step {trainer.global_step}: the loss is {loss.item():g}"
            raise FloatingPointError(f"{fault}; {terms}. {self._weights(pl_module)}. {REMEDIES}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Checks what the last steps have made, whether or not it is saved.

        Raises:
            FloatingPointError: if a weight is NaN or infinite, or the gradient scaler has left out every step.
        """
        if any(not weight.isfinite().all() for weight in pl_module.parameters()):
            raise FloatingPointError(f"step {trainer.global_step}: {self._weights(pl_module)}. {REMEDIES}")
        if _scaler(trainer) is None or self._seen is None:
            return
        if self._overflown >= LAST_OVERFLOWS:
            raise FloatingPointError(
                f"step {trainer.global_step}: the loss was not finite at the last {self._overflown} checks in a row. "
                f"{REMEDIES}"
            )
        self._count_left_out(trainer)
        steps = trainer.global_step - self._begun
        if steps and self._left_out >= min(steps, LAST_OVERFLOWS):
            raise FloatingPointError(
                f"step {trainer.global_step}: the last {self._left_out} of {steps} steps were not taken: their "
                f"gradients were not finite in 16 bits. {REMEDIES}"
            )

    def _count_left_out(self, trainer: Trainer) -> None:
        """Adds the steps since the last check where the scaler, which halves its scale at each, has left out all."""
        scaler = _scaler(trainer)
        if scaler is None or self._seen is None:
            return
        step, scale = self._seen
        new = trainer.global_step - step
        all_left_out = scaler.get_scale() <= scale * scaler.get_backoff_factor() ** new
        self._left_out = self._left_out + new if all_left_out else 0
        self._seen = trainer.global_step, scaler.get_scale()

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
        """Checks what is about to be saved; `WholeCheckpointIO` checks weights that are saved alone.

        Raises:
            FloatingPointError: if a weight, or a number of the optimiser, is NaN or infinite; then nothing is written.
        """
        check_finite(checkpoint, f"step {trainer.global_step}")

    def _wrong_terms(self, trainer: Trainer, pl_module: LightningModule) -> tuple[bool, str]:
        """Whether data or ELBO of the present examples are not finite in 32 bits, and which terms of which of them."""
        if self._batch is None or not isinstance(pl_module, ConditionalELBO):
            return False, "its batch is none of the suite's"
        data = wrong_data(self._batch)
        if data.any():
            examples = named_examples(_data(trainer), "train", self._batch.positions[data].cpu())
            return True, f"the data of {int(data.sum())} of {len(data)} examples are not finite ({examples})"
        try:
            with torch.no_grad(), seeded(0):
                terms = pl_module.draws(self._batch, 1).terms()
        except ValueError as error:  # a distribution refuses a parameter that is not finite
            first = str(error).splitlines()[0]
            examples = named_examples(_data(trainer), "train", self._batch.positions.cpu())
            return True, f"the ELBO cannot be computed ({first}), of some of {len(self._batch)} examples ({examples})"
        wrong = {name: ~getattr(terms, name).isfinite() for name in ("reconstruction", "kl")}
        names = [name for name, rows in wrong.items() if rows.any()]
        if not names:
            return False, "the ELBO of its examples is finite, so that it is a further term of the objective"
        rows = torch.stack(list(wrong.values())).any(0).nonzero()[:, 0]
        examples = named_examples(_data(trainer), "train", self._batch.positions[rows].cpu())
        return True, f"{' and '.join(names)} of {len(rows)} of {len(self._batch)} examples ({examples})"

    @staticmethod
    def _weights(pl_module: LightningModule) -> str:
        broken = [name for name, weight in pl_module.named_parameters() if not weight.isfinite().all()]
        return f"Weights that are not finite: {', '.join(broken[:3]) or 'none'}"


def wrong_data(batch: Batch) -> Tensor:
    """Which examples have an observed value, or a condition, that is not finite; a missing number is NaN. [B]."""
    wrong = ~batch.x.isfinite()
    if batch.mask is not None:
        wrong &= batch.mask
    rows = wrong.flatten(1).any(1)
    for field in batch.condition.values():
        rows |= field.isinf().reshape(len(batch), -1).any(1)
    return rows | wrong_data(batch.view) if batch.view is not None else rows


def _scaler(trainer: Trainer) -> Any:
    """The gradient scaler of 16 bits, or None."""
    scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
    return scaler if scaler is not None and scaler.is_enabled() else None


def _data(trainer: Trainer) -> Any:
    return trainer.datamodule  # type: ignore[attr-defined]
