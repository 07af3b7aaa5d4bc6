"""Pictures, tables and sounds of a model's outputs, in the same form for all modalities where possible."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from common.lazy import pd


@dataclass(frozen=True)
class Sound:
    """A waveform [T] with values in [-1, 1], its sample rate in Hz, and its spectrogram where there is a picture."""

    waveform: Tensor
    sample_rate: int
    picture: Image.Image | None = None

    def save(self, path: Path) -> None:
        """Writes a 16-bit WAV file."""
        import soundfile

        soundfile.write(path, self.waveform.detach().float().cpu().clamp(-1, 1).numpy(), self.sample_rate, "PCM_16")


@dataclass
class Media:
    """Pictures, tables of text and sounds by name, which is that of a series over epochs, and the same in all runs.

    Attributes:
        captions: what they show, with the condition, by the same names.
        files: names of files that say the condition, where there is one, by the same names.
    """

    pictures: dict[str, Image.Image] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    sounds: dict[str, Sound] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def image_grid(images: Tensor, columns: int, scale: int = 1, gap: int = 2) -> Image.Image:
    """Images [N, 1 or 3, H, W] with values in [0, 1], row by row, as one picture.

    Args:
        images: the images; values outside of [0, 1] are clipped.
        columns: images per row.
        scale: each pixel becomes scale x scale.
        gap: pixels between images.
    """
    images = images.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)
    large = images.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    grid = make_grid(large, columns, padding=gap, pad_value=1.0)
    return Image.fromarray((grid.permute(1, 2, 0) * 255).round().byte().numpy())


def enlargement(images: Tensor) -> int:
    """The factor by which the pixels of small images [..., W] are enlarged for viewing."""
    return max(1, 56 // images.shape[-1])


def labelled(picture: Image.Image, rows: list[str], title: str = "", columns: list[str] | None = None) -> Image.Image:
    """A picture with a text for each of its equally high rows, a title, and a text for each column."""
    width, height = picture.size
    names = columns or []
    left = 16 + max(map(_width, rows), default=0)
    top = 10 + 22 * bool(title) + 20 * any(names)
    whole, high = max(left + width + 10, _width(title) + 20), top + height + 10
    figure = Figure(figsize=(whole / 100, high / 100), dpi=100)
    axes = figure.add_axes((left / whole, 10 / high, width / whole, height / high))
    axes.imshow(np.asarray(picture), interpolation="nearest", aspect="auto")
    axes.set_yticks([(position + 0.5) * height / max(len(rows), 1) for position in range(len(rows))], rows)
    axes.set_xticks([(position + 0.5) * width / max(len(names), 1) for position in range(len(names))], names)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.suptitle(title, x=10 / whole, y=1 - 6 / high, ha="left", va="top", fontsize=10)
    return render(figure)


def _width(text: str, size: float = 10) -> int:
    """Pixels that a line of text takes at 100 dots per inch, about."""
    return math.ceil(len(text) * size * 0.84)


def file_name(*words: str) -> str:
    """Words as the name of a file: `sample-0-reel-flute`."""
    return "-".join("".join(letter if letter.isalnum() else " " for letter in " ".join(words)).split())


def table_picture(table: pd.DataFrame, title: str = "", width: int = 26) -> Image.Image:
    """A table of texts as a picture.

    Args:
        table: its cells are texts.
        title: above the table.
        width: characters of a line within a cell.
    """
    cells = [[textwrap.fill(_drawable(str(value)), width) for value in row] for row in table.itertuples(index=False)]
    lines = [max((cell.count("\n") + 1 for cell in row), default=1) for row in cells]
    size = (0.2 + 0.078 * width * len(table.columns), 0.65 + 0.16 * (sum(lines) + len(lines)))
    figure = Figure(figsize=size, dpi=100)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98 - 0.3 / size[1]))
    axes.axis("off")
    names = [str(name) for name in table.columns]
    drawn = axes.table(
        cells or [[""] * len(names)], colLabels=names, loc="upper left", cellLoc="left", bbox=Bbox.unit()
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_height(1.6 if row == 0 else lines[row - 1] + 1)
        cell.PAD = 0.03
        cell.set_edgecolor("lightgrey")
        if row == 0:
            cell.set_facecolor("whitesmoke")
            cell.get_text().set_fontweight("bold")
        cell.get_text().set_parse_math(False)  # a dollar in a text is a dollar
    figure.suptitle(title, x=0.01, y=1 - 0.06 / size[1], ha="left", va="top", fontsize=10)
    return render(figure)


def _drawable(text: str) -> str:
    """The text with a dot for each control character, which has no glyph."""
    return "".join(letter if letter.isprintable() or letter in "\t\n" else "·" for letter in text)


def latent_map(means: Tensor, field: Tensor, name: str, values: Sequence[str] | None) -> Image.Image:
    """Posterior means [N, D] on their two principal axes, coloured by a condition field [N].

    Args:
        means: posterior means.
        field: the condition of each example.
        name: name of the condition.
        values: names of its categories; None for a continuous condition.
    """
    centred = means.float() - means.float().mean(0)
    if centred.shape[1] > 2:
        _, _, directions = torch.linalg.svd(centred, full_matrices=False)
        centred = centred @ directions[:2].T
    points = torch.nn.functional.pad(centred, (0, max(0, 2 - centred.shape[1]))).numpy()
    figure = Figure(figsize=(6, 5), dpi=100, layout="constrained")
    axes = figure.subplots()
    if values is None:
        dots = axes.scatter(points[:, 0], points[:, 1], c=field.numpy(), s=8, cmap="viridis")
        figure.colorbar(dots, label=name)
    else:
        for position, value in enumerate(values):
            chosen = points[(field == position).numpy()]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=8, label=value, color=_colour(position, len(values)))
        if len(values) <= 20:
            axes.legend(title=name, fontsize=7, markerscale=2)
    axes.set_title(f"posterior means of z, by {name}", fontsize=10, loc="left")
    axes.set_xlabel("first principal axis")
    axes.set_ylabel("second principal axis")
    axes.spines[["top", "right"]].set_visible(False)
    return render(figure)


def _colour(position: int, count: int) -> tuple[float, ...]:
    from matplotlib import colormaps

    return colormaps["tab10"](position) if count <= 10 else colormaps["turbo"](position / max(count - 1, 1))


def render(figure: Figure) -> Image.Image:
    """A matplotlib figure as a picture."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
