"""metrics.csv of a run folder."""

import csv
import os
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger

from common.paths import writing, written_whole


class MetricsCSV(CSVLogger):
    """Lightning's CSVLogger, which writes metrics.csv directly into a folder and appends to an existing file.

    Lightning's own deletes the file when a run is resumed or tested.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, name="", version="", flush_logs_every_n_steps=1)

    @property
    def log_dir(self) -> str:
        """The folder itself."""
        return os.fspath(self._root_dir)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer, on process 0."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(self.log_dir)
        return self._experiment

    @property
    def rows(self) -> int:
        """Number of rows so far; other processes than the first write none."""
        return self.experiment.rows if isinstance(self.experiment, _AppendingWriter) else 0

    def keep(self, rows: int) -> int:
        """Keeps the first rows alone, which precede a checkpoint; how many others there were."""
        every = self.experiment.read()
        self.experiment.rewrite(every[:rows])
        return max(len(every) - rows, 0)


class _AppendingWriter(_ExperimentWriter):
    rows = 0

    def _check_log_dir_exists(self) -> None:
        """Takes up an existing file, without a last line that was not written to its end."""
        path = Path(self.metrics_file_path)
        if path.exists():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
            self.rewrite(self.read())

    def read(self) -> list[dict[str, str]]:
        """The complete rows of the file."""
        path = Path(self.metrics_file_path)
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return list(csv.DictReader(whole.splitlines()))

    def rewrite(self, rows: list[dict[str, str]]) -> None:
        """Replaces the file by one of these rows."""
        self.rows = len(rows)
        if not self.metrics_keys:
            return
        with written_whole(Path(self.metrics_file_path)) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(rows)

    def save(self) -> None:
        """Writes the rows that have been logged since."""
        new = len(self.metrics)
        with writing(Path(self.metrics_file_path)):
            super().save()
        self.rows += new

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self.rewrite(self.read())

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Does nothing: config.yaml holds the configuration."""
