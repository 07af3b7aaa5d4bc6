"""SuiteCLI: LightningCLI with a run folder, loggers, the suite's callbacks and a test at the end of fit."""

import hashlib
import sys
from dataclasses import asdict
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn

from common.configurable import check_classes, guarded_names
from common.data.datamodule import ConditionalDataModule
from common.data.overview import overview
from common.data.subset import Subset
from common.evaluation.columns import of_all_processes
from common.evaluation.report import Report
from common.paths import written_whole
from common.results import TESTS
from common.training.averaging import WeightEMA
from common.training.batch_finder import BatchFinder
from common.training.checkpoint_io import WholeCheckpointIO
from common.training.evaluator import Evaluator
from common.training.idle_hooks import skip_idle_hooks
from common.training.module import ConditionalELBO
from common.training.monitors import CollapseMonitor, NonFiniteGuard
from common.training.optimizers import check_factories
from common.training.parser import SuiteParser
from common.training.predictions import write_scores
from common.training.profiler import Unprofiled
from common.training.progress import console
from common.training.quiet import quiet
from common.training.run_folder import Claim, RunConfig, folder_of, forget_id
from common.training.run_record import ResultsWriter, Throughput
from common.training.run_report import print_next, print_run
from common.training.sample_logger import SampleLogger
from common.training.saving import METRICS, BestCheckpoint, LastCheckpoint
from common.training.signals import StopSignals, slurm
from common.training.slow_precision import slow_precision
from common.training.start import Start, check_model, place_of_test, plain
from common.training.tracking.loggers import Name, Recorded, WandbConfig, loggers
from common.training.tracking.metrics_csv import MetricsCSV
from common.training.tracking.provenance import code_difference, config_hash, git_revision
from common.training.tracking.recipients import TakesArtifacts
from common.training.tracking.wandb_process import finish_wandb
from common.training.trial_step import TrialStep
from common.training.weights import start_from


class SaveRunConfig(SaveConfigCallback):
    """Writes config.yaml into the run folder and the configuration to loggers and checkpoints, for a resume to compare.

    Args:
        parser: as in the base.
        config: as in the base.
        options: as in the base.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace, **options: Any) -> None:
        own = config.clone()
        own.ckpt_path = None  # the file describes the run, not the command that went on with it
        super().__init__(parser, own, **options)

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Training always writes the file; a test keeps an existing one."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # this broadcasts: call it in every process
        if not trainer.is_global_zero or self.already_saved:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if stage == "fit" or not (folder / self.config_filename).exists():
            with written_whole(folder / self.config_filename) as partial:
                self.parser.save(self.config, partial, skip_unset=False, overwrite=True, multifile=False)
        if stage == "fit" and (difference := code_difference()):
            with written_whole(folder / "code.diff") as partial:
                partial.write_text(difference)
        config = {**self.config.as_dict(), "git": git_revision()}
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
        self.already_saved = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Stores the configuration."""
        checkpoint["configuration"] = plain(self.config.as_dict())
        checkpoint["parent"] = self.config.get("weights")


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
        self.modality, self.kind = modality, model_class
        self.script = f"train_{modality}.py"
        given = sys.argv[1:] if args is None else args
        self.explicit = {
            name for name in ("root", "name", "id") for word in given if word.partition("=")[0] == f"--run.{name}"
        }
        self.claim: Claim | None = None
        self.signals: StopSignals | None = None
        self.report = report_class()
        self.links = links
        torch.set_float32_matmul_precision("high")
        quiet()
        try:
            with guarded_names():
                super().__init__(
                    model_class,
                    data_class,
                    subclass_mode_data=True,
                    save_config_callback=SaveRunConfig,
                    auto_configure_optimizers=False,
                    parser_class=SuiteParser,
                    seed_everything_default=0,
                    trainer_defaults={"use_distributed_sampler": False, "log_every_n_steps": 20, "devices": 1},
                    args=args,
                )
        finally:
            forget_id()
            finish_wandb()
            if self.claim is not None:
                self.claim.release()
            if self.signals is not None:
                self.signals.restore()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What a run has beside model, data and trainer, and links from data to model."""
        parser.add_argument("--run", type=RunConfig, default=RunConfig(), help="where the run is stored")
        parser.add_argument(
            "--loggers",
            type=list[Name],
            default=[],
            help="where figures and media go beside the run folder: any of wandb, tensorboard and mlflow, see "
            "configs/logger; none or csv leaves metrics.csv alone; an empty list is W&B",
        )
        parser.add_argument("--wandb", type=WandbConfig, default=WandbConfig(), help="Weights & Biases")
        parser.add_argument(
            "--weights",
            type=str | None,
            default=None,
            metavar="CKPT",
            help="checkpoint whose weights a new training starts from, with a new optimiser, schedule and run folder; "
            "further conditions and categories start fresh",
        )
        parser.add_argument(
            "--averaging",
            type=float | None,
            default=None,
            metavar="DECAY",
            help="decay of an exponential moving average of the weights, such as 0.995, which is validated, tested and "
            "saved in place of the last weights",
        )
        parser.add_argument("--subset", type=Subset, default=Subset(), help="the part of the data to train on")
        parser.add_argument(
            "--batch_finder", type=BatchFinder, default=BatchFinder(), help="the largest batch that fits into memory"
        )
        parser.add_lightning_class_args(SampleLogger, "samples")
        for source, target in self.links:
            parser.link_arguments(f"data.{source}", f"model.{target}", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Lightning reads hyperparameters from the checkpoint here; ours has its model's configuration, see `Start`."""

    def _add_instantiators(self) -> None:
        """Data take a checkpoint's terms as soon as they exist, before the model is built from them."""
        super()._add_instantiators()

        def in_terms(data_class: type[ConditionalDataModule], *args: Any, **kwargs: Any) -> ConditionalDataModule:
            kwargs.pop("applied_instantiation_links", None)
            data = data_class(*args, **kwargs)
            if isinstance(data, ConditionalDataModule):
                data.scores_all = self.subcommand == "predict"
                if self.terms is not None:
                    data.adopt(self.terms)
            return data

        self.parser.add_instantiator(in_terms, self._datamodule_class, subclasses=True)

    def before_instantiate_classes(self) -> None:
        """Decides what the command starts from and where it writes; nothing is written or called before the checks."""
        config = self.config[self.subcommand]
        check_classes(config.as_dict())
        check_factories(config.model.as_dict())
        run = RunConfig(**config.run.as_dict())
        self.start = Start.of(str(self.subcommand), config.as_dict(), run, self.modality)
        self.start.check_class(self.kind)
        self.start.check(config.as_dict(), self.script)
        resumes = self.start.resumes and config.ckpt_path is not None  # a job that SLURM repeats keeps its options
        finder, callbacks = BatchFinder(**config.batch_finder.as_dict()), callbacks_of(config.trainer)
        finder.check(str(self.subcommand), resumes, [str(callback.class_path) for callback in callbacks])
        self.terms = self.start.terms
        for warning in replaced_callbacks(config):
            rank_zero_warn(warning, category=UserWarning)
        if self.start.path is not None and not self.start.weights_alone:
            config.ckpt_path = str(self.start.path)
        self.folder = self.start.folder(run, self.modality, self.explicit)

    def _find_batch(self, finder: BatchFinder) -> None:
        """Sets the size of the batch, in the data and in the configuration, which then is that of a given size."""
        config, data = self.config[self.subcommand], self.datamodule
        if self.start.resumes:
            stored: Any = self.start.checkpoint["configuration"]["data"]["init_args"]
            size = int(reduce(getitem, data.batch_option.split("."), stored))
        else:
            options, averaging = (self._get(self.config_init, name) for name in ("trainer", "averaging"))
            trial = TrialStep(self.model, data, options.as_dict(), averaging, finder.memory_mb)
            size, said = finder.find(data, trial)
            rank_zero_info(said)
        data.batch_size = size
        config[f"data.init_args.{data.batch_option}"] = size
        config.batch_finder = Namespace(**asdict(BatchFinder()))

    def after_instantiate_classes(self) -> None:
        """Says what was read; compares data and model with the checkpoint, or takes its weights for a new training."""
        trainer = self.trainer
        rank_zero_info(overview(self.datamodule, trainer.world_size, trainer.accumulate_grad_batches))
        if self.start.path is None:
            return
        if self.start.weights_alone:
            start_from(self.model, self.start.checkpoint, self.start.path)
            return
        self.start.check_data(self.datamodule.fingerprint, self.script)
        check_model(self.model, self.start.checkpoint, self.start.path)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer with the run's loggers and callbacks, after the data have their part and their batches."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        self._get(self.config_init, "subset").take_from(self.datamodule)
        if (finder := self._get(self.config_init, "batch_finder")).on:
            self._find_batch(finder)
        run, wandb = self._get(self.config_init, "run"), self._get(self.config_init, "wandb")
        hashed = config_hash(config.as_dict())
        if self.subcommand == "test" and self.start.path is not None:
            self.folder = place_of_test(self.folder, self.start, hashed, self.datamodule.fingerprint, config.trainer)
        samples = self._get(self.config_init, "samples")
        samples.folder, samples.report = self.folder / "samples", self.report
        throughput = Throughput()
        owner = self.folder.parent.parent if self.folder.parent.name == TESTS else self.folder
        self.writer = ResultsWriter(
            self.folder / "results.json",
            owner.name,
            owner.parent.name,
            self.modality,
            int(self.start.seed(config.seed_everything)),
            hashed,
            git_revision(),
            throughput,
            str(self.start.path) if self.start.weights_alone else self.start.checkpoint.get("parent"),
        )
        if self.start.path is not None and self.subcommand == "test":
            self.writer.checkpoint = self.start.path.name
        self.best = BestCheckpoint(self.folder / "checkpoints", "val/elbo" if run.keep == "best" else None)
        self.last = LastCheckpoint(self.folder / "checkpoints" / "last.ckpt", run.save_minutes)
        saving, stopping = [], []
        if config.trainer.enable_checkpointing is not False:
            go_on = f"{self.script} fit --config {self.folder / 'config.yaml'} --ckpt_path {self.last.path}"
            self.signals = StopSignals(self.last, go_on)
            saving, stopping = [self.best, self.last], [self.signals, self.last.between]
        # The evaluator precedes the configured callbacks: weight averaging removes its weights when an epoch ends.
        self.evaluator = Evaluator(self.model.evaluation, self.report)
        if self.subcommand == "test":
            self.evaluator.steps = self.start.checkpoint.get("global_step")
        standard = [*saving, CollapseMonitor(), NonFiniteGuard(), throughput, self.writer]
        configured = self._get(self.config_init, "trainer.callbacks") or []
        for callback in configured if isinstance(configured, list) else [configured]:
            place = getattr(callback, "dirpath", None) if isinstance(callback, ModelCheckpoint) else None
            if place is not None and not Path(place).resolve().is_relative_to(self.folder.resolve()):
                rank_zero_warn(
                    f"a ModelCheckpoint writes into {place}, outside of the run folder", category=UserWarning
                )
        averaging = self._get(self.config_init, "averaging")
        configured = [*([] if averaging is None else [WeightEMA(averaging)]), *configured]
        shown = [config.trainer.get(f"enable_{what}") is not False for what in ("progress_bar", "model_summary")]
        kwargs.setdefault(
            "callbacks", [*stopping, self.evaluator, *configured, *standard, *console(configured, *shown)]
        )
        # metrics.csv whatever the loggers: false leaves W&B out, others come beside it.
        others = self._get(self.config_init, "trainer.logger")
        if others in (None, True):
            recorded = Recorded(self.folder, run, self.modality, self.writer.seed)
            kwargs["logger"] = loggers(self._get(self.config_init, "loggers"), recorded, wandb)
        else:
            others = [] if others is False else others if isinstance(others, list) else [others]
            kwargs["logger"] = [MetricsCSV(self.folder), *others]
        kwargs.setdefault("default_root_dir", str(self.folder))
        if config.trainer.get("profiler") is None:
            kwargs["profiler"] = Unprofiled()
        plugins = self._get(self.config_init, "trainer.plugins") or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        kwargs["plugins"] = [*plugins, *slurm(plugins), WholeCheckpointIO()]
        trainer = super().instantiate_trainer(**kwargs)
        skip_idle_hooks(trainer.callbacks)  # type: ignore[attr-defined]
        return trainer

    def before_fit(self) -> None:
        """Takes the run folder for this training alone, and catches the signals that may stop it."""
        if self.signals is not None:
            self.signals.install()
        if said := slow_precision(self.trainer):
            rank_zero_warn(said, category=UserWarning)
        # A checkpoint that was copied out of its run's folder goes on in a new one.
        own = self.start.resumes and self.start.path is not None and folder_of(self.start.path) is not None
        self.claim = Claim(self.folder, fresh=not own)
        if self.start.resumes:
            for logger in self.trainer.loggers if self.trainer.is_global_zero else ():
                if isinstance(logger, MetricsCSV) and METRICS in self.start.checkpoint:
                    removed = logger.keep(self.start.checkpoint[METRICS])
                    if removed:
                        rank_zero_info(f"metrics.csv: {removed:,} rows after the checkpoint go, and are written again")
            rank_zero_info(f"going on with {self.folder} from {self.start.path}")
        elif self.start.weights_alone:
            rank_zero_info(f"a new run, {self.folder}, from the weights of {self.start.path}")

    def after_fit(self) -> None:
        """Tests the best checkpoint, unless `run.test` is false; the last one if training ended before a validation."""
        if self.signals is not None and self.signals.received is not None:
            self.signals.stop()
        path = next((path for path in (self._best_of_folder(), self.last.path) if path.exists()), None)
        if path and self.trainer.is_global_zero:
            self._log_artifacts(path)
        if not path:
            rank_zero_info("no checkpoint was saved, so that there is nothing to test")
        if self._get(self.config_init, "run").test and path:
            # Loaded here: with ckpt_path, weight averaging would replace them with the weights before averaging.
            checkpoint = torch.load(path, map_location=self.model.device, weights_only=True)
            self.model.take_weights(checkpoint["state_dict"])
            self.writer.checkpoint = Path(path).name
            self.evaluator.steps = checkpoint["global_step"]
            try:
                self.trainer.test(self.model, datamodule=self.datamodule, verbose=False)
            except Exception as error:
                raise RuntimeError(
                    f"the training is finished and saved, its test failed ({type(error).__name__}: {error}). Test "
                    f"again: {self.script} test --config {self.folder / 'config.yaml'} --ckpt_path {path}"
                ) from error
            self.after_test()

    def _log_artifacts(self, checkpoint: Path) -> None:
        sizes = {name: len(rows) for name, rows in self.datamodule.examples.splits.items()}
        for logger in self.trainer.loggers:
            if isinstance(logger, TakesArtifacts):
                logger.log_artifacts(checkpoint, {"fingerprint": self.datamodule.fingerprint, "examples": sizes})

    def after_test(self) -> None:
        """Prints the results, the paths of the run's files and the next commands."""
        if self.trainer.is_global_zero:
            print_run(self.folder)
            if Evaluator.of(self.trainer).failed:
                checkpoint = self.folder / "checkpoints" / str(self.writer.checkpoint)
                rank_zero_info(
                    f"to measure again what failed: {self.script} test --config {self.folder / 'config.yaml'} "
                    f"--ckpt_path {checkpoint}"
                )
            print_next(self.folder, self.script, self.model.condition.example(), self.report.files.suffix)
        if (broken := Evaluator.of(self.trainer).not_finite) is not None:
            raise FloatingPointError(f"the test is written, but some of its terms are not finite: {broken}")

    def test(self, **kwargs: Any) -> None:
        """Tests the checkpoint; its figures are printed by `after_test`."""
        self.trainer.test(**{**kwargs, "verbose": False})

    def _best_of_folder(self) -> Path:
        return (self.folder / "checkpoints" / "best.ckpt").resolve()

    def predict(self, **kwargs: Any) -> None:
        """ELBO, reconstruction and KL of every example, as a CSV in the run folder.

        Those of the best checkpoint and the run's own data are `predictions.csv`; others name checkpoint and data.
        """
        predictions: Any = self.trainer.predict(**kwargs)
        parts = of_all_processes([{name: value.cpu() for name, value in part.items()} for part in predictions or []])
        if self.trainer.is_global_zero:
            content, stored = self.datamodule.content, self.start.checkpoint.get("data", {})
            assert self.start.path is not None
            own = content == stored.get("content") and self.start.path.resolve() == self._best_of_folder()
            model = hashlib.sha256(self.start.path.read_bytes()).hexdigest()[:8]
            name = "predictions.csv" if own else f"predictions-{self.start.path.stem}-{model}-{content[:8]}.csv"
            path = write_scores(parts, self.datamodule, self.folder / name)
            count = sum(len(part["index"]) for part in parts)
            print(f"scores of {count:,} of {len(self.datamodule.scored):,} examples, in nats: {path}")


def callbacks_of(trainer: Namespace) -> list[Namespace]:
    """The configured callbacks."""
    callbacks = trainer.get("callbacks") or []
    return callbacks if isinstance(callbacks, list) else [callbacks]


def replaced_callbacks(config: Namespace) -> list[str]:
    """A warning for each callback of a configuration file that the list of a later file or option has replaced."""
    present = {str(callback.class_path).rpartition(".")[2] for callback in callbacks_of(config.trainer)}
    warnings = []
    for file in config.get("config") or []:
        content = yaml.safe_load(Path(str(file)).read_text()) or {}
        listed = (content.get("trainer") or {}).get("callbacks") or []
        for callback in listed if isinstance(listed, list) else [listed]:
            path = callback if isinstance(callback, str) else str(callback.get("class_path"))
            if path.rpartition(".")[2] not in present:
                warnings.append(
                    f"{file} has the callback {path}, which a later list of trainer.callbacks replaces: write "
                    "`trainer.callbacks+` there to add to the list"
                )
    return warnings
