"""Report: the figures and media that only one modality has. A model does not depend on it."""

from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from common.batch import Batch
from common.conditions.classifier import Judge, Reader
from common.data.datamodule import ConditionalDataModule
from common.evaluation.columns import Columns
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media
from common.model.files import FileFormat
from common.model.generation import Generation
from common.results import Measurement

Model = TypeVar("Model", bound=Generation)  # the modality's model
Data = TypeVar("Data", bound=ConditionalDataModule)  # the base of its DataModules


class Report(Generic[Model, Data]):
    """Base of the reports; by itself it adds nothing to what all modalities have in common.

    The command line receives it (`SuiteCLI(ImageCVAE, ImageData, ImageReport, ...)`); a checkpoint stores its name.
    """

    files: FileFormat = FileFormat()  # how examples are read from files and written to them
    judge_steps: int | None = None  # optimiser steps of the judge's training; None takes the modality's own

    def __init__(self) -> None:
        self._judges: WeakKeyDictionary[ConditionalDataModule, Judge | None] = WeakKeyDictionary()
        self._seconds: WeakKeyDictionary[ConditionalDataModule, Reader | None] = WeakKeyDictionary()

    def judge(self, data: Data) -> Judge | None:
        """The frozen judge of the data's conditions, made once; None where there is nothing to judge."""
        if data not in self._judges:
            self._judges[data] = None  # for the figures that do without a judge, where making it fails
            self._judges[data] = self.make_judge(data)
        return self._judges[data]

    def make_judge(self, data: Data) -> Judge | None:
        """A judge trained on the real training split of the whole data, where the modality has one."""
        return None

    def second_judge(self, data: Data) -> Reader | None:
        """A frozen judge of another family, made once; None where there is no first one, or the modality has none."""
        if data not in self._seconds:
            self._seconds[data] = None
            if self.judge(data) is not None:
                self._seconds[data] = self.make_second_judge(data)
        return self._seconds[data]

    def make_second_judge(self, data: Data) -> Reader | None:
        """A judge of another family than the first one, trained on the same split, where the modality has one."""
        return None

    def figures(self, model: Model, data: Data, evaluation: Evaluation, table: Columns) -> dict[str, Measurement]:
        """Figures that only this modality has, by name (`test/...`); the same in all processes.

        Args:
            model: the tested model, on its device.
            data: the tested data.
            evaluation: sample counts and seed.
            table: the columns of all test examples.
        """
        return {}

    def media(self, model: Model, batch: Batch) -> Media:
        """Pictures, tables and sounds of the model, made from a validation batch."""
        return Media()

    def after_validation(self, model: Model, data: Data) -> None:
        """Fits what a model stores beside its weights to validation data, such as the width of its intervals."""
