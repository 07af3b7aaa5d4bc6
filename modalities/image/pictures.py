"""Pictures of an image model, and images as files."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.batch import Batch
from common.conditions import Attribute, Categorical, Continuous, Fields
from common.inference import in_evaluation
from common.media import image_grid, labelled

if TYPE_CHECKING:
    from modalities.image.model import ImageCVAE

COLUMNS = 10
MAX_ROWS = 12


def reconstructions_picture(images: Tensor, reconstructed: Tensor) -> Image.Image:
    """Images above their reconstructions."""
    count = min(len(images), COLUMNS)
    grid = image_grid(torch.cat([images[:count], reconstructed[:count]]), count, _scale(images))
    return labelled(grid, ["image", "reconstruction"], "reconstructions from the posterior mean")


def conditions_picture(model: "ImageCVAE", seed: int = 0) -> Image.Image:
    """What each condition looks like: a row for each combination of categories.

    Columns are samples of z; where there is a continuous attribute they sweep its range instead, at the same z.
    """
    attributes = model.condition.attributes
    swept = next((name for name, attribute in attributes.items() if isinstance(attribute, Continuous)), None)
    rows, names = _rows({name: attribute for name, attribute in attributes.items() if name != swept})
    count = len(names)
    if swept is not None:
        repeats = max(1, 4 // count)  # several z for each row of a short grid
        rows = {name: field.repeat_interleave(repeats) for name, field in rows.items()}
        names = [name for name in names for _ in range(repeats)]
        count = len(names)
        values = _sweep(attributes[swept], COLUMNS)
        with _fixed_noise(seed):
            z = model.prior(_embedding(model, rows, count)).sample()  # [rows, D], kept along the sweep
        cells = []
        for value in values:
            c = _embedding(model, {**rows, swept: torch.full((count,), value)}, count)
            with in_evaluation(model):
                cells.append(model.decode(z, c).mean)
        samples = torch.stack(cells, dim=1)
        title, columns = f"samples: {swept} from left to right, one z a row", [f"{value:.0f}" for value in values]
    else:
        with _fixed_noise(seed):
            samples = model.sample(rows, num_samples=COLUMNS * (1 if rows else MAX_ROWS // 2)).transpose(0, 1)
        title, columns = "samples by condition", []
        if not rows:
            names = ["samples"]
    grid = image_grid(samples.flatten(0, 1), COLUMNS, _scale(samples[0]))
    return labelled(grid, names, title, columns)


def traversal_picture(model: "ImageCVAE", batch: Batch) -> Image.Image:
    """One example along its most used latent units: each row moves one unit from -3 to 3."""
    one = batch[slice(0, 1)]
    with in_evaluation(model):
        everyone = model.encode(batch.x, model.condition(batch.condition).expand(len(batch), -1)).base_dist
        c = model.condition(one.condition).expand(1, -1)
        units = everyone.loc.var(dim=0).argsort(descending=True)[: MAX_ROWS // 2]
        path = torch.linspace(-3, 3, COLUMNS, device=c.device)
        z = everyone.loc[:1].expand(len(units), COLUMNS, -1).clone()
        for row, unit in enumerate(units):
            z[row, :, unit] = path
        images = model.decode(z.flatten(0, 1).unsqueeze(1), c).mean.squeeze(1)
    grid = image_grid(images, COLUMNS, _scale(images))
    return labelled(grid, [f"unit {unit}" for unit in units.tolist()], "one image along its latent units, -3 to 3")


def write_images(samples: Tensor, path: Path) -> None:
    """Images [N, channels, height, width] as a PNG grid, or as an array `samples` in an NPZ file.

    Raises:
        ValueError: for another suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        np.savez_compressed(path, samples=samples.cpu().numpy())
    elif path.suffix == ".png":
        columns = min(len(samples), max(4, round(len(samples) ** 0.5)))
        image_grid(samples, columns, _scale(samples)).save(path)
    else:
        raise ValueError(f"{path}: images are written as .png (a grid) or .npz (an array)")


def _rows(attributes: dict[str, Attribute]) -> tuple[Fields, list[str]]:
    """Fields and names of combinations of categories, at most `MAX_ROWS`; without any there is one nameless row."""
    categorical = {name: attribute for name, attribute in attributes.items() if isinstance(attribute, Categorical)}
    choices: list[dict[str, int]] = [{}]
    for name, attribute in categorical.items():
        if len(choices) * len(attribute.values) > MAX_ROWS and choices != [{}]:
            break  # the remaining attributes stay unspecified
        values = range(min(len(attribute.values), MAX_ROWS))
        choices = [{**choice, name: value} for choice, value in product(choices, values)]
    names = [" ".join(f"{name} {categorical[name].values[value]}" for name, value in row.items()) for row in choices]
    fields = {name: torch.tensor([row[name] for row in choices]) for name in choices[0]}
    return fields, names


def _sweep(attribute: Attribute, count: int) -> list[float]:
    assert isinstance(attribute, Continuous)
    low = max(attribute.low, attribute.mean - 1.5 * attribute.std)
    high = min(attribute.high, attribute.mean + 2 * attribute.std)
    return torch.linspace(low, high, count).tolist()


def _embedding(model: "ImageCVAE", fields: Fields, count: int) -> Tensor:
    with in_evaluation(model):
        moved = {name: field.to(model.device) for name, field in fields.items()}
        return model.condition(moved).expand(count, -1)


def _scale(images: Tensor) -> int:
    """Small images are enlarged."""
    return max(1, 56 // images.shape[-1])


@contextmanager
def _fixed_noise(seed: int) -> Iterator[None]:
    """The same z in every picture of a run, so that pictures differ by the weights alone."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        yield
