"""Pictures, texts and sounds of a model in training, as files and in W&B."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from PIL import Image

from common.batch import Batch
from common.conditions.attributes import Attribute, Categorical
from common.data.datamodule import ConditionalDataModule
from common.eval_mode import eval_mode
from common.evaluation.media import latent_map
from common.evaluation.report import Report
from common.paths import writing
from common.seeding import seeded
from common.training.module import ConditionalELBO

USUAL_SHARE = 0.2  # of a training's time


class SampleLogger(Callback):
    """Logs media as files in `samples/` and in W&B: the modality's pictures, texts and sounds, and latent maps.

    Args:
        every_n_epochs: epochs between logs during training; the test of the best checkpoint logs once more.
        examples: validation examples for the media.
        map_examples: validation examples in the latent maps.
        max_share: share of a training's time above which media of further epochs are left out; None takes a fifth.
    """

    def __init__(
        self, every_n_epochs: int = 5, examples: int = 64, map_examples: int = 1000, max_share: float | None = None
    ) -> None:
        if max_share is not None and not 0 <= max_share <= 1:
            raise ValueError(f"samples.max_share is a share of the time, from 0 to 1; got {max_share:g}")
        self.every_n_epochs = every_n_epochs
        self.max_share = USUAL_SHARE if max_share is None else max_share
        self._begun, self._seconds, self._told = 0.0, 0.0, False
        self.examples = examples
        self.map_examples = map_examples
        self.folder = Path("samples")
        self.report: Report = Report()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock of what media may take."""
        self._begun, self._seconds, self._told = time.monotonic(), 0.0, False

    # At the start of the epoch, because weight averaging inserts its weights before and removes them at the end.
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Media of the present weights."""
        due = self.every_n_epochs > 0 and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not due or trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        now = time.monotonic()
        if self._seconds > self.max_share * (now - self._begun):
            if not self._told:
                rank_zero_info(
                    f"no pictures of epoch {trainer.current_epoch + 1}, nor of others until they have taken less than "
                    f"{self.max_share:.0%} of the training's time (samples.max_share)"
                )
            self._told = True
            return
        self.show(trainer, pl_module, f"epoch-{trainer.current_epoch + 1:04d}")
        self._seconds += time.monotonic() - now

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Media of the tested weights."""
        self.show(trainer, pl_module, "test")

    def show(self, trainer: Trainer, pl_module: LightningModule, when: str) -> None:
        """Makes, saves and logs the media; where that fails, training and test go on."""
        try:
            self._show(trainer, pl_module, when)
        except Exception as error:
            rank_zero_warn(f"no pictures of {when} ({type(error).__name__}: {error})", category=UserWarning)

    def _show(self, trainer: Trainer, pl_module: LightningModule, when: str) -> None:
        if not trainer.is_global_zero or trainer.datamodule is None:  # type: ignore[attr-defined]
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, ConditionalELBO)
        assert isinstance(data, ConditionalDataModule)
        shown, mapped = (data.batch("val", most).to(pl_module.device) for most in (self.examples, self.map_examples))
        with seeded(pl_module.evaluation.seed):  # training draws what it would have drawn without the pictures
            media = self.report.media(pl_module, shown)
            maps = self._latent_maps(pl_module, mapped, data.attributes)
        pictures = media.pictures | maps
        with writing(self.folder):
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

    def _latent_maps(
        self, model: ConditionalELBO, batch: Batch, attributes: dict[str, Attribute]
    ) -> dict[str, Image.Image]:
        with eval_mode(model):
            means = model.posterior_mean(batch).cpu()
        maps = {}
        for name, attribute in list(attributes.items())[:3]:
            values = attribute.values if isinstance(attribute, Categorical) else None
            maps[f"latent-map-{name}"] = latent_map(means, batch.condition[name].cpu(), name, values)
        return maps
