"""Callbacks: pictures, the posterior-collapse monitor, the non-finite guard, throughput and results.json."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.rank_zero import rank_zero_warn
from PIL import Image

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.eval_mode import in_evaluation
from common.evaluation.information import active_units, informative_units
from common.evaluation.media import latent_map
from common.process_memory import peak_memory_mb
from common.results import EXAMPLES, Results, RunInfo
from common.training.module import ConditionalELBO


class SampleLogger(Callback):
    """The model's doing, as files in `samples/` and in W&B: the modality's pictures, texts, sounds, and a latent map.

    Args:
        every_n_epochs: how often during training; the test of the best checkpoint makes them once more.
        examples: validation examples for the media.
        map_examples: validation examples in the latent map.
    """

    def __init__(self, every_n_epochs: int = 5, examples: int = 64, map_examples: int = 1000) -> None:
        self.every_n_epochs = every_n_epochs
        self.examples = examples
        self.map_examples = map_examples
        self.folder = Path("samples")

    # At the start of the epoch, because weight averaging puts its weights in place before and takes them away after.
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pictures of the present weights."""
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking and trainer.state.fn == TrainerFn.FITTING:
            self.show(trainer, pl_module, f"epoch-{trainer.current_epoch + 1:04d}")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pictures of the tested weights."""
        self.show(trainer, pl_module, "test")

    def show(self, trainer: Trainer, pl_module: LightningModule, when: str) -> None:
        """Makes, saves and logs the pictures."""
        if not trainer.is_global_zero or trainer.datamodule is None:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, ConditionalELBO)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        device = pl_module.device
        media = pl_module.media(data.batch("val", self.examples).to(device))
        maps = self._latent_maps(pl_module, data.batch("val", self.map_examples).to(device), data)
        pictures = media.pictures | maps
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            picture.save(self.folder / f"{when}-{name}.png")
        for name, table in media.tables.items():
            table.to_csv(self.folder / f"{when}-{name}.csv", index=False)
        for name, sound in media.sounds.items():
            sound.save(self.folder / f"{when}-{name}.wav")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                for name, picture in pictures.items():
                    logger.log_image(f"media/{name}", [picture], caption=[when])
                for name, table in media.tables.items():
                    logger.log_table(f"media/{name}", dataframe=table)
                for name in media.sounds:
                    logger.log_audio(f"media/{name}", [str(self.folder / f"{when}-{name}.wav")], caption=[when])

    def _latent_maps(self, model: ConditionalELBO, batch: Batch, data: Any) -> dict[str, Image.Image]:
        with in_evaluation(model):
            means = model.encode(batch.x, model.embed(batch)).base_dist.loc.cpu()
        maps = {}
        for name, attribute in list(data.attributes.items())[:3]:
            values = attribute.values if isinstance(attribute, Categorical) else None
            maps[f"latent-map-{name}"] = latent_map(means, batch.condition[name].cpu(), name, values)
        return maps


class CollapseMonitor(Callback):
    """Says in plain words when the decoder stops using the latent (posterior collapse), or a beta keeps it shut.

    Args:
        min_kl: warns below this KL, nats.
        min_units: warns below this number of units with a KL above .05 nats.
        from_epoch: epochs before the first warning.
    """

    def __init__(self, min_kl: float = 0.5, min_units: int = 1, from_epoch: int = 2) -> None:
        self.min_kl = min_kl
        self.min_units = min_units
        self.from_epoch = from_epoch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Looks at the validation table."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        if trainer.current_epoch + 1 < self.from_epoch:
            return
        assert isinstance(pl_module, ConditionalELBO)
        message = None if pl_module.without_latent else self.verdict(pl_module.validation)
        if message:
            rank_zero_warn(f"epoch {trainer.current_epoch + 1}: {message}", category=UserWarning)

    def verdict(self, table: dict[str, torch.Tensor]) -> str | None:
        """The warning that a validation table deserves, or None."""
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
    """Stops a training whose loss is no longer a number, and says where to look.

    Args:
        every_n_steps: how often to look; each look waits for the device.
    """

    def __init__(self, every_n_steps: int = 20) -> None:
        self.every_n_steps = every_n_steps

    # Before the backward pass, because the optimiser's step would spread the NaN to all weights.
    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """Looks at the loss.

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


class Throughput(Callback):
    """Training seconds, examples a second and peak memory: logged each epoch, kept in the checkpoint."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.examples = 0
        self._since: float | None = None
        self._reported = (0.0, 0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts examples of all processes."""
        if isinstance(batch, Batch):
            self.examples += len(batch) * trainer.world_size

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the rate since the last report."""
        self._read_clock()
        seconds, examples = self.seconds - self._reported[0], self.examples - self._reported[1]
        self._reported = (self.seconds, self.examples)
        pl_module.log("train/examples_per_second", examples / max(seconds, 1e-9), rank_zero_only=True)
        pl_module.log("train/peak_memory_mb", peak_memory_mb(pl_module.device), rank_zero_only=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._read_clock()
        self._since = None

    def _read_clock(self) -> None:
        if self._since is not None:
            now = time.perf_counter()
            self.seconds += now - self._since
            self._since = now

    def state_dict(self) -> dict[str, Any]:
        """Seconds and examples so far."""
        self._read_clock()
        return {"seconds": self.seconds, "examples": self.examples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting from a checkpoint, but never backwards within one process."""
        self.seconds = max(self.seconds, state_dict["seconds"])
        self.examples = max(self.examples, state_dict["examples"])
        self._reported = (self.seconds, self.examples)


class ResultsWriter(Callback):
    """Writes results.json after a test, and the figures of each test example as examples.npz beside it.

    Args:
        path: the file.
        name: of the experiment.
        modality: of the model.
        seed: of the run.
        config_hash: of the configuration.
        git: revision.
        throughput: keeps the training time.
    """

    def __init__(
        self, path: Path, name: str, modality: str, seed: int, config_hash: str, git: str, throughput: Throughput
    ) -> None:
        self.path, self.name, self.modality, self.seed = path, name, modality, seed
        self.config_hash, self.git, self.throughput = config_hash, git, throughput
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file, on process 0."""
        assert isinstance(pl_module, ConditionalELBO)
        if not trainer.is_global_zero or not pl_module.results:
            return
        device = pl_module.device
        name = (
            torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"
        )
        run = RunInfo(
            id=self.path.parent.name,
            name=self.name,
            modality=self.modality,
            seed=self.seed,
            git=self.git,
            config_hash=self.config_hash,
            data_fingerprint=getattr(trainer.datamodule, "fingerprint", "unknown"),  # type: ignore[attr-defined]
            started=self.started,
            seconds=round(self.throughput.seconds, 1),
            device=name,
            peak_memory_mb=round(peak_memory_mb(device), 1),
            parameters=sum(weight.numel() for weight in pl_module.parameters()),
        )
        columns: dict[str, Any] = {name: column.numpy() for name, column in pl_module.examples.items()}
        np.savez_compressed(self.path.parent / EXAMPLES, **columns)
        Results(run, pl_module.results).write(self.path)
