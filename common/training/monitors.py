"""Monitors: callbacks that report in plain words when training goes wrong."""

from typing import Protocol, runtime_checkable

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.rank_zero import rank_zero_warn

from common.evaluation.columns import Columns
from common.evaluation.information import active_units, informative_units
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO


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
    """Stops training when a checked loss is NaN or infinite, and reports possible causes.

    A loss that is not finite usually spreads to the weights, so that the next check finds it too.

    Args:
        every_n_steps: steps between checks; each check waits for the device.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps

    # Before the backward pass, because the optimiser's step would spread the NaN to all weights.
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """Checks the loss.

        Raises:
            FloatingPointError: if it is NaN or infinite.
        """
        if trainer.global_step % self.every_n_steps == 0 and not torch.isfinite(loss):
            terms = {
                name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train/")
            }
            broken = [name for name, weight in pl_module.named_parameters() if not torch.isfinite(weight).all()]
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {trainer.global_step}; terms {terms}; weights that are not finite: "
                f"{', '.join(broken[:5]) or 'none'}. Try a lower learning rate, trainer.gradient_clip_val, or "
                "trainer.precision bf16-mixed instead of 16-mixed"
            )
