"""Whether training steps with a batch of some size fit into memory: those of a copy, after which all is as before."""

import copy
import gc
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from common.batch import Batch
from common.data.datamodule import ConditionalDataModule
from common.eval_mode import eval_mode
from common.objectives.objectives import Objective, Staged
from common.process_memory import peak_memory_mb, release_memory, resident_memory_mb, restart_peak_memory
from common.training.averaging import WeightEMA
from common.training.module import ConditionalELBO
from common.training.signals import slurm

# Options of the trainer that decide how much memory a step takes.
OPTIONS = ("accelerator", "devices", "num_nodes", "strategy", "precision", "gradient_clip_val",
           "gradient_clip_algorithm", "deterministic", "benchmark")  # fmt: skip
REPEATS = 2  # the first step makes the optimiser's state, the second one has it
LATE = 10**9  # a step after every warm-up


class OverLimitError(RuntimeError):
    """A step takes more memory than was allowed."""


class TrialStep:
    """Tries steps of copies of a model, as its training would begin with them.

    Args:
        model: the model, on the CPU.
        data: its data.
        options: options of the trainer.
        averaging: decay of an average of the weights, which takes memory too; None is none.
        memory_mb: as in `BatchFinder`.

    Raises:
        ValueError: if several processes would train, or the memory of a CPU is not limited.
    """

    def __init__(
        self,
        model: ConditionalELBO,
        data: ConditionalDataModule,
        options: Mapping[str, Any],
        averaging: float | None,
        memory_mb: float | None,
    ) -> None:
        self.model, self.data, self.averaging, self.memory_mb = model, data, averaging, memory_mb
        self.options = {name: options[name] for name in OPTIONS if options.get(name) is not None}
        with _silent():
            trainer = self._trainer([])
        if trainer.world_size > 1 or not isinstance(trainer.strategy, SingleDeviceStrategy):
            raise ValueError(
                "batch_finder tries batches on one device: find the size with --trainer.devices 1 --trainer.strategy "
                "auto, and give it as data.batch_size or data.batch_tokens"
            )
        self.device = trainer.strategy.root_device
        if self.device.type == "cpu" and memory_mb is None:
            raise ValueError(
                "batch_finder: on a CPU a batch that is too large is not refused, it ends the process: state the MB "
                f"that it may take, batch_finder.memory_mb (it takes {resident_memory_mb():,.0f} now)"
            )

    def __call__(self, size: int) -> str | None:
        """Why a batch of some size does not fit; None if it does."""
        gc.collect()
        release_memory()
        restart_peak_memory()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        with _silent(), isolate_rng(include_cuda=self.device.type == "cuda"):
            reason = self._tried(size)
        garbage_collection_cuda()  # after the frames of an error, which hold the tensors of the step
        if reason is None and self.memory_mb is not None and peak_memory_mb(self.device) > self.memory_mb:
            return self._limited
        return reason

    @property
    def _limited(self) -> str:
        return f"it takes more than batch_finder.memory_mb {self.memory_mb:,.0f}"

    def _tried(self, size: int) -> str | None:
        model, data = copy.deepcopy(self.model), copy.copy(self.data)
        model.compiles = False  # compiled steps take less, and the first ones are not
        data.batch_size = size
        if self.device.type == "cpu" and self.memory_mb is not None:
            _watch(model, self.memory_mb)
        heavy = REPEATS * data.train_dataloader().heaviest()
        stages = [*_changes(model.objective), LATE]
        data.__dict__["train_dataloader"] = lambda: _Batches(heavy * len(stages))
        callbacks: list[Callback] = [_Stages(stages, len(heavy)), _Validation(data)]
        callbacks += [] if self.averaging is None else [WeightEMA(self.averaging)]
        try:
            self._trainer(callbacks).fit(model, data)
        except OverLimitError:
            return self._limited
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return "the memory does not suffice"
        return None

    def _trainer(self, callbacks: list[Callback]) -> Trainer:
        return Trainer(
            **copy.deepcopy(self.options), callbacks=callbacks, max_epochs=1, limit_val_batches=0, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, num_sanity_val_steps=0, plugins=[*slurm([])],
        )  # fmt: skip


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device does not suffice."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError) or is_oom_error(error)
    return known or "MPS backend out of memory" in str(error)


class _Batches:
    """A loader of some batches; Lightning takes a list for several loaders."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class _Stages(Callback):
    """Lets a training skip to the first step of each stage of its objective, and to one after every warm-up."""

    def __init__(self, stages: list[int], batches: int) -> None:
        self.stages, self.batches = stages, batches

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % self.batches == 0:
            progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
            progress.optimizer.step.total.completed = self.stages[batch_idx // self.batches]


class _Validation(Callback):
    """A validation step with the heaviest batches."""

    def __init__(self, data: ConditionalDataModule) -> None:
        self.data = data

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ConditionalELBO)
        with eval_mode(pl_module), trainer.precision_plugin.val_step_context():
            for batch in self.data.val_dataloader().heaviest():
                moved: Batch = self.data.transform(batch.to(pl_module.device), training=False)
                pl_module.validation_step(moved, 0)


def _changes(objective: Objective) -> list[int]:
    """First steps of the stages of an objective."""
    if not isinstance(objective, Staged):
        return [0]
    return sorted({*_changes(objective.first), objective.change, *_changes(objective.then)})


def _watch(model: nn.Module, memory_mb: float) -> None:
    """Stops a forward pass, after any of its modules, where the process has more resident memory than it may."""

    def stop(*_: Any) -> None:
        if resident_memory_mb() > memory_mb:
            raise OverLimitError

    for module in model.modules():
        module.register_forward_hook(stop)


@contextmanager
def _silent() -> Iterator[None]:
    """What a trial says is not of the training."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
