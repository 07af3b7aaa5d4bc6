"""Judge and pictures of image models."""

from itertools import product

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from PIL import Image
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import OBSERVED, Attribute, Categorical, Continuous, Fields
from common.distributions.noise import prior_sample
from common.eval_mode import eval_mode
from common.evaluation import disentanglement
from common.evaluation.columns import Columns
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media, enlargement, file_name, image_grid, labelled
from common.evaluation.probes import few_label_accuracy
from common.evaluation.report import Report
from common.evaluation.second_judge import StatisticsJudge
from common.results import Measurement
from modalities.image.completion import Completion
from modalities.image.data import ImageData
from modalities.image.files import ImageFormat
from modalities.image.judge import ImageJudge, pixel_judge
from modalities.image.model import ImageCVAE
from modalities.image.sprites import ORDERED, Sprites

COLUMNS = 10
MAX_ROWS = 12
COMPLETIONS = 6
LABELS = 100  # examples that a downstream classifier is trained on


class ImageReport(Report[ImageCVAE, ImageData]):
    """Reconstructions; completions, or a condition-by-sample grid and a latent traversal."""

    files = ImageFormat()

    def make_judge(self, data: ImageData) -> ImageJudge | None:
        """A convolutional network; None without attributes, or for completion, which generates no whole images."""
        if not data.attributes or isinstance(data, Completion):
            return None
        return ImageJudge.of(data.whole, data.fingerprint, self.judge_steps)

    def make_second_judge(self, data: ImageData) -> StatisticsJudge | None:
        """Support-vector machines on pixels."""
        return pixel_judge(data.whole, self.judge_steps)

    def figures(
        self, model: ImageCVAE, data: ImageData, evaluation: Evaluation, table: Columns
    ) -> dict[str, Measurement]:
        """Of pictures whose factors are known, how z stands for those that are not the condition, and for those."""
        return factor_figures(model, data, evaluation.seed, table) if isinstance(data, Sprites) else {}

    def media(self, model: ImageCVAE, batch: Batch) -> Media:
        """The pictures, by name."""
        media = Media({"reconstructions": reconstructions_picture(batch.x, model.reconstruct(batch))})
        media.captions["reconstructions"] = "validation images above their reconstructions from the posterior mean"
        if model.condition.reads_observed:
            media.pictures["completions"] = completions_picture(model, batch)
            media.captions["completions"] = "validation images, what is observed of them, and completions of it"
        else:
            media.pictures |= {"samples": conditions_picture(model), "traversal": traversal_picture(model, batch)}
            names = ", ".join(model.condition.attributes)
            media.captions["samples"] = f"samples by {names or 'noise alone'}"
            media.files["samples"] = file_name("samples", f"by {names}" if names else "")
            media.captions["traversal"] = "one validation image along its most active latent units, from -3 to 3"
        return media


def factor_figures(model: ImageCVAE, data: Sprites, seed: int, table: Columns) -> dict[str, Measurement]:
    """Disentanglement of the posterior means by name (`test/...`), and what a classifier of few labels makes of them.

    Args:
        model: the tested model, whose condition are some factors.
        data: the tested data.
        seed: seed of splits, forests and groups.
        table: the columns of the test examples.

    Raises:
        ValueError: if a factor that z is to be scored on is given to the model.
    """
    codes, factors = table["mean"], {name: codes[table["index"].long()] for name, codes in data.factors("test").items()}
    given = {name: factor for name, factor in factors.items() if name in model.condition.attributes}
    free = {name: factor for name, factor in factors.items() if name not in given}
    scored = {name: factors[name] for name in (free if data.scored_factors is None else data.scored_factors)}
    if both := given.keys() & scored.keys():
        names = ", ".join(sorted(both))
        raise ValueError(f"data.scored_factors names {names}, which the model is given: z is free of it")
    found = disentanglement.figures(codes, scored, ORDERED, seed) if scored else {}
    if given:
        known = disentanglement.figures(codes, given, ORDERED, seed)["test/dci_informativeness"]
        found["test/given_informativeness"] = known
    accuracies = []
    if len(codes) <= LABELS:
        rank_zero_warn(f"{LABELS} labels leave none of {len(codes)} test pictures: no figures of few labels")
        return found
    for name in free:
        value, error, count = few_label_accuracy(codes, free[name], LABELS, seed=seed)
        text = f"linear classifier of posterior means with {LABELS} labels"
        found[f"test/few_labels/{name}"] = Measurement(value, error, count, "accuracy", text)
        accuracies += [value] if name in scored else []
    if accuracies:
        mean, names = sum(accuracies) / len(accuracies), ", ".join(scored)
        found["test/few_labels"] = Measurement(mean, None, count, "accuracy", f"{text}, mean of {names}")
    return found


def reconstructions_picture(images: Tensor, reconstructed: Tensor) -> Image.Image:
    """Images above their reconstructions."""
    count = min(len(images), COLUMNS)
    grid = image_grid(torch.cat([images[:count], reconstructed[:count]]), count, enlargement(images))
    return labelled(grid, ["image", "reconstruction"], "images and their reconstructions from the posterior mean")


def conditions_picture(model: ImageCVAE, seed: int = 0) -> Image.Image:
    """Samples under each condition: one row for each combination of categories.

    Every row uses the same noise from left to right, so that a column differs by its condition alone. With a continuous
    attribute, the columns sweep its range instead, and each row has its own noise. Without any attribute, every sample
    has its own noise.
    """
    attributes = model.condition.attributes
    swept = next((name for name, attribute in attributes.items() if isinstance(attribute, Continuous)), None)
    fields, names = _rows({name: attribute for name, attribute in attributes.items() if name != swept})
    if swept is not None or not fields:
        repeats = max(1, MAX_ROWS // 3 // len(names))  # several noises for each row of a short grid
        fields = {name: field.repeat_interleave(repeats) for name, field in fields.items()}
        names = [name for name in names for _ in range(repeats)]
    sweep = [] if swept is None else _sweep(attributes[swept], COLUMNS)
    noise = _noise(len(names), model.latent_prior.size + 1, swept is not None, bool(fields), seed).to(model.device)
    cells = []
    with eval_mode(model):
        for column in range(COLUMNS):
            if swept is not None:
                fields[swept] = torch.full((len(names),), sweep[column])
            moved = {name: field.to(model.device) for name, field in fields.items()}
            c = model.condition(moved).expand(len(names))
            z = prior_sample(model.prior(c), noise[:, column, 1:], noise[:, column, 0])
            cells.append(model.decode(z, c).mean)
    samples = torch.stack(cells, dim=1).flatten(0, 1)
    title = f"samples by {' and '.join(fields)}, the same noise in each column" if fields else "samples, no condition"
    if swept is not None:
        title = f"samples, {swept} from left to right, the same noise in each row"
    columns = [f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}" for value in sweep]
    return labelled(image_grid(samples, COLUMNS, enlargement(samples)), names, title, columns)


def _noise(rows: int, size: int, by_row: bool, by_column: bool, seed: int) -> Tensor:
    """Standard normal noise [rows, COLUMNS, size], the same along each row or each column on request."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, 1, size) if by_row else (1, COLUMNS, size) if by_column else (rows, COLUMNS, size)
    return torch.randn(shape, generator=generator).expand(rows, COLUMNS, size)


def completions_picture(model: ImageCVAE, batch: Batch) -> Image.Image:
    """Images, their observed part and several completions, each with its own z: one column per image."""
    chosen = batch[slice(0, COLUMNS)]
    observed = chosen.condition[OBSERVED]
    grey = torch.where(observed.isnan(), 0.5, observed)
    completed = model.sample(chosen.condition, COMPLETIONS).flatten(0, 1)
    grid = image_grid(torch.cat([chosen.x, grey, completed]), len(chosen), enlargement(completed))
    names = ["image", "observed", *(f"z {number}" for number in range(1, COMPLETIONS + 1))]
    return labelled(grid, names, "completions of the observed part, hidden pixels grey")


def traversal_picture(model: ImageCVAE, batch: Batch) -> Image.Image:
    """One example along its most active latent units: each row moves one unit from -3 to 3."""
    one = batch[slice(0, 1)]
    with eval_mode(model):
        posteriors = model.encode(batch.x, model.embed(batch)).base_dist
        c = model.embed(one)
        units = posteriors.loc.var(dim=0).argsort(descending=True)[: MAX_ROWS // 2]
        path = torch.linspace(-3, 3, COLUMNS, device=batch.x.device)
        z = posteriors.loc[:1].expand(len(units), COLUMNS, -1).clone()
        for row, unit in enumerate(units):
            z[row, :, unit] = path
        images = model.decode(z.flatten(0, 1).unsqueeze(1), c).mean.squeeze(1)
    grid = image_grid(images, COLUMNS, enlargement(images))
    names = [f"unit {unit}" for unit in units.tolist()]
    title = "one image along its most active latent units, value of the unit above"
    return labelled(grid, names, title, [f"{value:.1f}" for value in path.tolist()])


def _rows(attributes: dict[str, Attribute]) -> tuple[Fields, list[str]]:
    """Fields and names of combinations of categories, at most `MAX_ROWS`; one unnamed row without categories."""
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
