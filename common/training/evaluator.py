"""Evaluator: the callback that computes figures from what a model's validation and test steps return."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning_utilities.core.rank_zero import rank_zero_info, rank_zero_warn
from torch import Tensor

from common.batch import Batch
from common.data.datamodule import ConditionalDataModule
from common.data.names import named_examples
from common.evaluation.bounds import Candidates
from common.evaluation.columns import CONDITION, GROUP, Columns, ExampleTable, columns_of
from common.evaluation.evaluation import Evaluation, candidates_of
from common.evaluation.information import active_units
from common.evaluation.report import Report
from common.model.generation import Generation
from common.objectives.samples import PosteriorSamples
from common.results import Measurement
from common.seeding import seeded

T = TypeVar("T")


class Evaluator(Callback):
    """Collects the figures of each example from every process, and logs the results.

    Args:
        evaluation: sample counts and seed.
        report: the figures that only the modality has; None adds nothing.

    Attributes:
        validation: columns of the last validation, for monitors.
        results: figures of the last test by name (`test/...`), with their errors and sample counts.
        examples: figures of each example of the last test.
        failed: reasons why some figures of the last test could not be measured, by kind.
        not_finite: what is not finite in the last test, and of which examples.
        steps: optimiser steps of the tested weights, where they are not the trainer's.
    """

    def __init__(self, evaluation: Evaluation, report: Report | None = None) -> None:
        self.evaluation = evaluation
        self.report = report or Report()
        self.report.judge_steps = evaluation.judge_steps
        self.table = ExampleTable()
        self.candidates: Candidates | None = None
        self.total: int | None = None  # of the test's examples
        self.validation: Columns = {}
        self.results: dict[str, Measurement] = {}
        self.examples: dict[str, Tensor] = {}
        self.failed: dict[str, str] = {}
        self.not_finite: str | None = None
        self.steps: int | None = None

    @staticmethod
    def of(trainer: Trainer) -> "Evaluator":
        """The evaluator of a trainer.

        Raises:
            ValueError: if it has none, because it has not trained or tested a model of the suite yet.
        """
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Evaluator):
                return callback
        raise ValueError("this trainer has no Evaluator among its callbacks: fit or test a model of the suite first")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Says what a plain DataLoader leaves out."""
        if _data_of(trainer) is None:
            rank_zero_info(
                "training without a DataModule of the suite: NLL, KL and the figures of z are measured; control, "
                "leakage, condition gain, pictures and the modality's own figures need one (docs/own-data.md)"
            )

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        """Stores ELBO and posterior of each example."""
        self._add(trainer, batch, columns_of(outputs["samples"]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Logs the ELBO and the active units."""
        self.validation = self.table.gather()
        values = {f"val/{name}": self.validation[name].mean().item() for name in ("elbo", "reconstruction", "kl")}
        values["val/active_units"] = float(active_units(self.validation["mean"]))
        pl_module.log_dict(values, sync_dist=True, prog_bar=True)
        data = _data_of(trainer)
        if data is not None and not trainer.sanity_checking:
            with seeded(self.evaluation.seed):  # training draws what it would have drawn without a validation
                self.report.after_validation(pl_module, data)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Chooses the conditions of the training split that the condition gain compares with."""
        assert isinstance(pl_module, Generation)
        self.failed = {}
        data, self.candidates, self.total = _data_of(trainer), None, None
        if data is not None:
            if trainer.limit_test_batches == 1.0:  # a part of the test has other examples than a random choice of all
                self.total = len(data.examples.splits["test"])
            self.candidates = candidates_of(pl_module, data, "test", self.evaluation.gain_conditions)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: Any
    ) -> None:
        """Measures each example, under the precision of the test."""
        assert isinstance(pl_module, Generation)
        assert isinstance(batch, Batch)
        samples: PosteriorSamples = outputs["samples"]
        with trainer.precision_plugin.test_step_context():
            columns = self._attempt(
                "likelihood of each example",
                lambda: self.evaluation.columns(pl_module, batch, samples, self.candidates, self.total),
                columns_of(samples),
            )
        self._add(trainer, batch, columns)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Computes and logs the test's figures."""
        assert isinstance(pl_module, Generation)
        table, data = self.table.gather(), _data_of(trainer)
        self.not_finite = _not_finite(table, data)
        measured = self.evaluation
        none: dict[str, Measurement] = {}
        if data is not None and data.examples.groups is not None:
            table[GROUP] = data.examples.groups[data.examples.splits["test"]][table["index"].long()]
        self.results = self._attempt("likelihood", lambda: measured.measure(table, self.candidates), none)
        self.results |= self._attempt("latents", lambda: measured.latent(table), none)
        if data is not None:
            judge = self._attempt("judge", lambda: self.report.judge(data), None)
            second = self._attempt("second judge", lambda: self.report.second_judge(data), None)
            self.results |= self._attempt("leakage", lambda: measured.leakage(data.attributes, table), none)
            both = judge, second
            self.results |= self._attempt("control", lambda: measured.control(pl_module, table, data, *both), none)
            figures = self.report.figures
            self.results |= self._attempt("report", lambda: figures(pl_module, data, measured, table), none)
        self.examples = {name: column for name, column in table.items() if column.dim() == 1 and CONDITION not in name}
        pl_module.log_dict({name: figure.value for name, figure in self.results.items()}, sync_dist=True)
        pl_module.log("step", float(self.step_of(trainer)), rank_zero_only=True)  # where Lightning puts the row

    def step_of(self, trainer: Trainer) -> int:
        """The step of the tested weights, counted from 0 as the loggers count them."""
        return max(0, (trainer.global_step if self.steps is None else self.steps) - 1)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Names the modality's report and file format, so that scripts find them."""
        for name, part in (("report", self.report), ("files", self.report.files)):
            checkpoint[name] = f"{type(part).__module__}.{type(part).__qualname__}"

    def _attempt(self, what: str, figures: Callable[[], T], otherwise: T) -> T:
        """Some figures; where they fail, the reason is kept and said, and the other figures go on."""
        try:
            return figures()
        except Exception as error:
            if what not in self.failed:
                rank_zero_warn(f"{what}: not measured ({type(error).__name__}: {error})", category=UserWarning)
            self.failed[what] = f"{type(error).__name__}: {error}"
            return otherwise

    def _add(self, trainer: Trainer, batch: Batch, columns: Columns) -> None:
        data = _data_of(trainer)
        self.table.add(batch, columns, () if data is None else data.attributes)


def _not_finite(table: Columns, data: ConditionalDataModule | None) -> str | None:
    """Which terms of which test examples are not finite."""
    # The NLL of an example that is not measured is NaN as well; where its ELBO is finite, so is its NLL.
    terms = [name for name in ("reconstruction", "kl") if not table[name].isfinite().all()]
    if not terms:
        return None
    rows = torch.stack([~table[name].isfinite() for name in terms]).any(0).nonzero()[:, 0]
    examples = named_examples(data, "test", table["index"][rows].long())
    return f"{' and '.join(terms)} of {len(rows)} of {len(table['index'])} test examples: {examples}"


def _data_of(trainer: Trainer) -> ConditionalDataModule | None:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    return data if isinstance(data, ConditionalDataModule) else None
