"""ConditionalELBO: the LightningModule that every CVAE of the suite derives from."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from lightning_utilities.core.rank_zero import rank_zero_info
from torch import Tensor

from common.batch import Batch, as_batch
from common.conditions.encoders import ConditionEncoder
from common.data.datamodule import ConditionalDataModule
from common.data.loader import TensorLoader
from common.distributions.priors import Prior
from common.eval_mode import eval_mode
from common.evaluation import bounds
from common.evaluation.columns import Columns
from common.evaluation.evaluation import Evaluation
from common.model.generation import Generation
from common.objectives.invariance import InvarianceRegulariser
from common.objectives.objectives import ELBO, Objective
from common.objectives.samples import PosteriorSamples
from common.training.checkpoint import description, rebuild
from common.training.compiled_step import CompiledStep
from common.training.evaluator import Evaluator
from common.training.hub import Shared
from common.training.optimizers import Factories, batches_done, total_steps
from common.training.sharding import Sharded
from common.training.step import check_support, is_logged, log_short, training_loss
from common.training.step_seed import seed_step

# Arguments that do not define the network: a checkpoint does not store them.
TRAINING_ARGUMENTS = ("optimizer", "scheduler", "compile", "checkpointing")


class ConditionalELBO(Sharded, Generation, LightningModule, Shared):
    """A conditional VAE, trained by its evidence lower bound or another objective: steps, optimiser, checkpoint.

    A subclass supplies `encode` and `decode`. Everything is in nats per example: summed over dimensions, averaged over
    the batch. The ELBO is logged whatever is optimised. Validation and test steps return
    posterior samples, from which `common.training.evaluator.Evaluator` computes figures.

    Attributes:
        changeable: arguments that may differ from a checkpoint's when its weights are tested: none of them changes a
            density.

    Args:
        condition: condition encoder.
        prior: p(z | c); N(0, I) where none is given.
        objective: what training minimises. The ELBO is reported in any case.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes a learning-rate scheduler from the optimiser. Those with `total_steps` step with every batch,
            and take a total of 0 from the trainer; others step with every epoch.
        compile: compiles the training step as a whole with torch.compile, see `common.training.compiled_step`.
        latent_dim: D. Needed by priors with parameters; otherwise taken from the first posterior.
        shape: shape of one example, where it is fixed. Needed by VampPrior.
        evaluation: sample counts and seed of validation and test.
        invariance: removes the categorical conditions from z by a further term of the training loss.
    """

    changeable: tuple[str, ...] = ("objective", "evaluation", "invariance")

    def __init__(
        self,
        condition: ConditionEncoder,
        prior: Prior | None = None,
        objective: Objective = ELBO(),  # noqa: B008 (frozen)
        optimizer: OptimizerCallable = torch.optim.Adam,
        scheduler: LRSchedulerCallable | None = None,
        compile: bool = False,
        latent_dim: int | None = None,
        shape: tuple[int, ...] | None = None,
        evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
        invariance: InvarianceRegulariser | None = None,
    ) -> None:
        super().__init__(condition, prior, shape=shape)
        for name in TRAINING_ARGUMENTS:
            self.__dict__["_init_args"].pop(name, None)
        self.objective = objective
        self.factories = Factories(optimizer, scheduler)
        self.noise_seed: int | None = None  # of what training draws; see `common.training.step_seed`
        self.has_weights = False  # whether training starts from the weights of another run
        self.compiles = compile
        self.compiled_step: CompiledStep | None = None
        self.evaluation = evaluation
        self.invariance = invariance
        if latent_dim is not None:
            self.build_prior(latent_dim)

    def build_prior(self, latent_dim: int) -> None:
        """As in the base; also builds the invariance regulariser, which needs the size of z."""
        super().build_prior(latent_dim)
        if self.invariance is not None:
            self.invariance.build(latent_dim, self.condition.attributes)

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the present hook forty times a step: torch would look each time whether it is a weight.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def data(self) -> ConditionalDataModule | None:
        """The DataModule of the present training or test, where it is one of the suite's."""
        data: Any = None if self._trainer is None else self._trainer.datamodule  # type: ignore[attr-defined]
        return data if isinstance(data, ConditionalDataModule) else None

    @property
    def lr(self) -> float | None:
        """The learning rate that Lightning's finder has set; None leaves that of the optimiser."""
        return self.factories.rate

    @lr.setter
    def lr(self, rate: float | None) -> None:
        self.factories = replace(self.factories, rate=rate)
        configs = [] if self._trainer is None else self._trainer.lr_scheduler_configs
        for config in configs if rate is not None else []:  # which would otherwise set its own rate again
            scheduler: Any = config.scheduler
            scheduler.base_lrs = [rate for _ in scheduler.base_lrs]

    def auxiliary(self, batch: Batch, samples: PosteriorSamples) -> dict[str, Tensor]:
        """Further terms of the training loss by name, each a number in nats per example.

        Args:
            batch: the batch as loaded, with all of its conditions.
            samples: its posterior samples, for which some conditions may have been dropped.
        """
        if self.invariance is None:
            return {}
        with torch.autocast(batch.x.device.type, enabled=False):
            fields = self.encoder_input(batch).condition
            return {"invariance": self.invariance(samples.z[0], samples.posterior, fields)}

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Seeds torch's generators in training, before a step draws anything; takes batches of a plain DataLoader."""
        if self._trainer is not None and self._trainer.training:
            self.noise_seed = seed_step(self.noise_seed, self._trainer)
        return batch if isinstance(batch, Batch) else _of_plain_loader(batch, self)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss; logs it beside the ELBO."""
        if batch_idx == 0 and self.current_epoch == 0:
            check_support(self, batch)
        step, logged = self.global_step, is_logged(self._trainer)
        size = None if self.data is None else self.data.train_size
        if self.compiled_step is None:
            loss, terms = training_loss(self, self.objective, self.auxiliary, batch, step, size, logged)
        else:
            loss, terms = self.compiled_step(batch, step, size)
        if logged or (self._trainer is not None and self._trainer.is_last_batch):  # callbacks read it after an epoch
            self.log("train/loss", loss, prog_bar=True, batch_size=len(batch))
        if logged:
            terms |= self.objective.at(step).coefficients(step)
            terms["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
            self.log_dict({f"train/{name}": value for name, value in terms.items()}, batch_size=len(batch))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, PosteriorSamples]:
        """One posterior sample of each example, from its own noise, for the `Evaluator`."""
        return {"samples": self.draws(batch, 1, self.evaluation.seed, self.evaluation.most_decodes)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, PosteriorSamples]:
        """As in validation."""
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> Columns:
        """Position and ELBO terms of each example, in nats."""
        terms = self.draws(batch, 1, self.evaluation.seed, self.evaluation.most_decodes).terms()
        return {"index": batch.positions, "elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}

    def log_likelihood(self, batch: Batch, num_samples: int, seed: int = 0, at_once: int | None = None) -> Tensor:
        """Importance-sampled log p(x | c) in nats, [B]. See `common.evaluation.bounds.log_likelihood`.

        Args:
            batch: B examples.
            num_samples: importance samples.
            seed: seed of their noise.
            at_once: samples that are decoded at once; None takes `evaluation.decodes`.
        """
        with eval_mode(self):
            return bounds.log_likelihood(
                self, batch, num_samples, seed, at_once or self.evaluation.most_decodes
            ).log_likelihood

    def configure_callbacks(self) -> list[Callback]:
        """An evaluator, unless the trainer already has one, with a report of the modality."""
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        return [] if any(isinstance(callback, Evaluator) for callback in callbacks) else [Evaluator(self.evaluation)]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the noise of a stored training."""
        self.noise_seed = checkpoint.get("noise_seed")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimiser and scheduler from the constructor's factories."""
        # Fused steps undo the scale of gradients in 16 bits themselves, so that Lightning does not clip them.
        fuse = not isinstance(self.trainer.precision_plugin, MixedPrecision)
        return self.factories.make(self.parameters(), lambda: total_steps(self.trainer), fuse)

    def on_train_start(self) -> None:
        """Takes up a resumed training within its epoch, fits its schedule to the present length, logs short ones."""
        loader = self.trainer.train_dataloader
        if isinstance(loader, TensorLoader):
            done = batches_done(self.trainer)
            # An epoch that ended, at its limit or all of its batches, is followed by a whole one.
            loader.first = done if done < min(len(loader), self.trainer.num_training_batches) else 0
        log_short(self.trainer)
        for config in self.trainer.lr_scheduler_configs if self.global_step else []:
            said = Factories.lengthen(config.scheduler, total_steps(self.trainer), self.global_step)
            if said:
                rank_zero_info(said)

    def setup(self, stage: str) -> None:
        """Compiles the training step, which changes no name of a weight."""
        if self.compiles and stage == "fit":
            self.compiled_step = CompiledStep(self, self.objective, self.auxiliary, varying=self.shape is None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores how to build this model and what it knows of its data, as plain data."""
        checkpoint |= description(self, self.data)
        checkpoint["noise_seed"] = self.noise_seed

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, map_location: Any = "cpu", **arguments: Any
    ) -> Self:
        """The model of a checkpoint, of the class it was saved from; nothing else is needed.

        Args:
            checkpoint_path: a file that training wrote.
            map_location: device, as in `torch.load`.
            arguments: replace the stored arguments of the constructor.

        Raises:
            ValueError: if the file is not a checkpoint of the suite, or lacks what rebuilds the model.
        """
        return rebuild(cls, Path(checkpoint_path), map_location, arguments)


def _of_plain_loader(batch: Any, model: ConditionalELBO) -> Batch:
    """A batch of a plain DataLoader, (x, y) or x alone, as `Batch`: y are the model's conditions in their order.

    Raises:
        ValueError: for another shape of x, or conditions that the model does not know.
    """
    read = as_batch(batch, list(model.condition.attributes))
    found = list(read.x.shape[1:])
    if model.shape is not None and found != list(model.shape):
        raise ValueError(f"an example of the DataLoader has the shape {found}, the model's {list(model.shape)}")
    return read.replace(condition=model.condition.parse(read.condition))
