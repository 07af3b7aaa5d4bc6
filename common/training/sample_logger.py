"""Pictures, texts and sounds of a model in training, as files and in the loggers that take them."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from common.batch import Batch
from common.conditions.attributes import Attribute, Categorical
from common.data.datamodule import ConditionalDataModule
from common.eval_mode import eval_mode
from common.evaluation.media import Media, latent_map
from common.evaluation.media_files import Kind, MediaFile, append_media
from common.evaluation.report import Report
from common.paths import writing
from common.seeding import seeded
from common.training.curves import curves_picture
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO
from common.training.tracking.recipients import TakesMedia

USUAL_SHARE = 0.01  # of a training's time


class SampleLogger(Callback):
    """Logs media as files in `samples/` and in the loggers: the modality's pictures, texts and sounds, latent maps.

    Args:
        every_n_epochs: epochs between logs during training; the test of the best checkpoint logs once more.
        examples: validation examples for the media.
        map_examples: validation examples in the latent maps.
        max_share: share of a training's time above which media of further epochs are left out; None takes 0.01.
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

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The curves of the training."""
        metrics = self.folder.parent / "metrics.csv"
        if not trainer.is_global_zero or not metrics.exists():
            return
        try:
            picture = curves_picture(metrics)
        except Exception as error:
            rank_zero_warn(f"no picture of the curves ({type(error).__name__}: {error})", category=UserWarning)
            return
        if picture is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            picture.save(self.folder / "curves.png")

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
        media.pictures |= maps.pictures
        media.captions |= maps.captions
        files = self._save(media, when, trainer)
        for logger in trainer.loggers:
            if isinstance(logger, TakesMedia):
                logger.log_media(self.folder, files)

    def _save(self, media: Media, when: str, trainer: Trainer) -> list[MediaFile]:
        """Writes media into the folder, and lists them."""
        testing = trainer.state.fn == TrainerFn.TESTING
        step = Evaluator.of(trainer).step_of(trainer) if testing else trainer.global_step - 1
        epoch = None if testing else trainer.current_epoch + 1
        files: list[MediaFile] = []

        def listed(name: str, kind: Kind, suffix: str, picture: str | None = None) -> Path:
            file = f"{when}-{media.files.get(name, name)}{suffix}"
            files.append(MediaFile(file, when, epoch, step, kind, name, media.captions.get(name, ""), picture))
            return self.folder / file

        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, picture in media.pictures.items():
                picture.save(listed(name, "picture", ".png"))
            for name, table in media.tables.items():
                table.to_csv(listed(name, "table", ".csv"), index=False)
            for name, sound in media.sounds.items():
                shown = None
                if sound.picture is not None:
                    shown = f"{when}-{media.files.get(name, name)}-mel.png"
                    sound.picture.save(self.folder / shown)
                sound.save(listed(name, "sound", ".wav", shown))
            append_media(self.folder, files)
        return files

    def _latent_maps(self, model: ConditionalELBO, batch: Batch, attributes: dict[str, Attribute]) -> Media:
        with eval_mode(model):
            means = model.posterior_mean(batch).cpu()
        maps = Media()
        for name, attribute in list(attributes.items())[:3]:
            values = attribute.values if isinstance(attribute, Categorical) else None
            key = f"latent-map-{name}"
            maps.pictures[key] = latent_map(means, batch.condition[name].cpu(), name, values)
            maps.captions[key] = f"posterior means of {len(means):,} examples on their two principal axes, by {name}"
        return maps
