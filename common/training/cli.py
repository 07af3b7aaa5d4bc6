"""SuiteCLI: LightningCLI with a run folder, loggers, the suite's callbacks and a test at the end of fit."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from common.data.datamodule import ConditionalDataModule
from common.data.subset import Subset
from common.evaluation.report import Report
from common.training.evaluator import Evaluator
from common.training.module import ConditionalELBO
from common.training.monitors import CollapseMonitor, NonFiniteGuard
from common.training.predictions import write_scores
from common.training.run_record import ResultsWriter, Throughput
from common.training.run_report import print_run
from common.training.sample_logger import SampleLogger
from common.training.tracking import RunConfig, WandbConfig, config_hash, git_revision, loggers, run_folder


class SaveRunConfig(SaveConfigCallback):
    """Writes config.yaml into the run folder and the whole configuration, with the git revision, to W&B."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Training always writes the file; a test keeps an existing one."""
        folder = Path(trainer.log_dir or ".")  # this broadcasts: call it in every process
        if not trainer.is_global_zero or self.already_saved:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if stage == "fit" or not (folder / self.config_filename).exists():
            self.parser.save(
                self.config, folder / self.config_filename, skip_unset=False, overwrite=True, multifile=False
            )
        config = {**self.config.as_dict(), "git": git_revision()}
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_hyperparams(config)
        self.already_saved = True


class SuiteCLI(LightningCLI):
    """Command line of a training script: `fit`, `validate`, `test` and `predict`.

    Args:
        model_class: the modality's model.
        data_class: base of the modality's DataModules.
        report_class: the figures and media that only the modality has.
        modality: folder of its runs below `run.root`.
        links: pairs (attribute of the data, argument of the model that comes from it).
        args: command line; None takes that of the process.
    """

    def __init__(
        self,
        model_class: type[ConditionalELBO],
        data_class: type[ConditionalDataModule],
        report_class: type[Report],
        modality: str,
        links: list[tuple[str, str]],
        args: list[str] | None = None,
    ) -> None:
        self.modality = modality
        self.report = report_class()
        self.links = links
        torch.set_float32_matmul_precision("high")
        super().__init__(
            model_class,
            data_class,
            subclass_mode_data=True,
            save_config_callback=SaveRunConfig,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            trainer_defaults={"use_distributed_sampler": False, "log_every_n_steps": 20},
            args=args,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """`run`, `wandb`, `subset`, `samples`, and the links from data to model."""
        parser.add_argument("--run", type=RunConfig, default=RunConfig(), help="where the run is stored")
        parser.add_argument("--wandb", type=WandbConfig, default=WandbConfig(), help="Weights & Biases")
        parser.add_argument("--subset", type=Subset, default=Subset(), help="the part of the data to train on")
        parser.add_lightning_class_args(SampleLogger, "samples")
        for source, target in self.links:
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")

    def instantiate_classes(self) -> None:
        """Data, model and trainer; then the data is restricted to the subset, if there is one."""
        super().instantiate_classes()
        self._get(self.config_init, "subset").take_from(self.datamodule)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the run's loggers and callbacks."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        run, wandb = self._get(self.config_init, "run"), self._get(self.config_init, "wandb")
        self.folder = run_folder(run, self.modality, config.get("ckpt_path"))
        samples = self._get(self.config_init, "samples")
        samples.folder, samples.report = self.folder / "samples", self.report
        throughput = Throughput()
        writer = ResultsWriter(
            self.folder / "results.json",
            run.name,
            self.modality,
            int(config.seed_everything),
            config_hash(config.as_dict()),
            git_revision(),
            throughput,
        )
        checkpoint = ModelCheckpoint(
            dirpath=self.folder / "checkpoints",
            filename="best",
            monitor="val/elbo" if run.keep == "best" else None,
            mode="max",
            save_last=True,
            enable_version_counter=False,
        )
        # The evaluator precedes the configured callbacks: weight averaging removes its weights when an epoch ends.
        evaluator = Evaluator(self.model.evaluation, self.report)
        standard = [checkpoint, LearningRateMonitor(), CollapseMonitor(), NonFiniteGuard(), throughput, writer]
        configured = self._get(self.config_init, "trainer.callbacks") or []
        kwargs.setdefault("callbacks", [evaluator, *configured, *standard])
        if self._get(self.config_init, "trainer.logger") is None:
            kwargs.setdefault("logger", loggers(self.folder, run, self.modality, wandb))
        kwargs.setdefault("default_root_dir", str(self.folder))
        return super().instantiate_trainer(**kwargs)

    def after_fit(self) -> None:
        """Tests the best checkpoint, unless `run.test` is false; the last one if training ended before a validation."""
        saved: Any = self.trainer.checkpoint_callback
        path = saved.best_model_path or saved.last_model_path
        if self._get(self.config_init, "run").test and path:
            # Loaded here: with ckpt_path, weight averaging would replace them with the weights before averaging.
            checkpoint = torch.load(path, map_location=self.model.device, weights_only=True)
            self.model.load_state_dict(checkpoint["state_dict"])
            self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
            self.after_test()

    def after_test(self) -> None:
        """Prints the results and the paths of the run's files."""
        if self.trainer.is_global_zero:
            print_run(self.folder)

    def predict(self, **kwargs: Any) -> None:
        """ELBO, reconstruction and KL of each test example, as predictions.csv in the run folder."""
        predictions: Any = self.trainer.predict(**kwargs)
        if self.trainer.is_global_zero:
            path = write_scores(predictions or [], self.folder / "predictions.csv")
            print(f"scores of every test example: {path}")
