"""TensorBoard's log of a run, in its folder."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning_utilities.core.rank_zero import rank_zero_only
from PIL import Image

from common.evaluation.media_files import MediaFile
from common.lazy import pd
from common.results import Results


class TensorBoardLog(TensorBoardLogger):
    """`tensorboard/` in the run folder, with media and the final figures.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, name="", version="", sub_dir="tensorboard", default_hp_metric=False)

    @rank_zero_only
    def log_media(self, folder: Path, files: Sequence[MediaFile]) -> None:
        """Pictures as `media/<name>`, tables as `tables/<name>`, in text, and sounds as `sounds/<name>`."""
        import soundfile

        for file in files:
            path = folder / file.file
            if file.kind == "picture":
                with Image.open(path) as picture:
                    pixels = np.asarray(picture.convert("RGB"))
                self.experiment.add_image(file.key, pixels, file.step, dataformats="HWC")
            elif file.kind == "table":
                table = pd.read_csv(path, keep_default_na=False, dtype=str)
                rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
                text = "\n".join(f"| {' | '.join(_cell(entry) for entry in row)} |" for row in rows)
                self.experiment.add_text(file.key, f"{file.caption}\n\n{text}", file.step)
            else:
                waveform, rate = soundfile.read(path, dtype="float32")
                sound = torch.from_numpy(waveform).unsqueeze(0)
                self.experiment.add_audio(file.key, sound, file.step, rate)

    @rank_zero_only
    def log_results(self, results: Results) -> None:
        """The figures as a table, and what identifies the run."""
        rows = [["figure", "value", "± error", "unit", "n", "estimator"], ["---"] * 6]
        for name, figure in results.metrics.items():
            error = "" if figure.stderr is None else f"{figure.stderr:.2g}"
            rows.append([name, f"{figure.value:.4g}", error, figure.unit, str(figure.n), figure.estimator])
        run = [f"- {name}: {value}" for name, value in asdict(results.run).items()]
        table = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
        self.experiment.add_text("results", "\n".join([*table, "", *run]))


def _cell(entry: object) -> str:
    """A cell of a Markdown table."""
    return str(entry).replace("|", "\\|").replace("\n", " ")
