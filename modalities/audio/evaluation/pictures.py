"""Spectrograms and sounds of an audio model's reconstructions and samples."""

import torch
from PIL import Image
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Categorical, Fields
from common.distributions.noise import prior_sample
from common.eval_mode import eval_mode
from common.evaluation.media import Media, Sound, image_grid, labelled
from modalities.audio.model import AudioGenreCVAE
from modalities.audio.signal.features import LogMel

COLUMNS = 5
MAX_ROWS = 10
LISTENED = 4  # clips of each kind to listen to
RANGE = 12.0  # range of the natural logarithm of power from black to white


def audio_media(model: AudioGenreCVAE, batch: Batch) -> Media:
    """Clips above their reconstructions; one sample for each pair of conditions, all from the same noise."""
    clips = batch[slice(0, COLUMNS)]
    reconstructed = model.reconstruct(clips)
    grid = image_grid(spectrograms(torch.cat([clips.x, reconstructed]), model.features), COLUMNS)
    title = "log-mel power and reconstructions from the posterior mean"
    pictures = {"reconstructions": labelled(grid, ["clip", "reconstruction"], title)}
    pictures["conditions"], samples = conditions_picture(model)
    sounds = {}
    for kind, x in (("clip", clips.x), ("reconstruction", reconstructed), ("sample", samples)):
        for number, waveform in enumerate(model.sound(x[:LISTENED].cpu())):
            sounds[f"{kind}-{number}"] = Sound(waveform, model.features.sample_rate)
    return Media(pictures, sounds=sounds)


def conditions_picture(model: AudioGenreCVAE, seed: int = 0) -> tuple[Image.Image, Tensor]:
    """Spectrograms with a row for each value of the first category and a column for each of the second; the samples.

    All share their noise. With fewer than two categories each column has noise of its own instead.
    """
    categories = {n: a.values for n, a in model.condition.attributes.items() if isinstance(a, Categorical)}
    names = list(categories)[:2]
    rows = list(categories[names[0]])[:MAX_ROWS] if names else [""]
    columns = list(categories[names[1]])[:MAX_ROWS] if len(names) == 2 else [""] * COLUMNS
    fields: Fields = {}
    if names:
        fields[names[0]] = torch.arange(len(rows)).repeat_interleave(len(columns))
    if len(names) == 2:
        fields[names[1]] = torch.arange(len(columns)).repeat(len(rows))
    generator = torch.Generator().manual_seed(seed)
    kinds = 1 if len(names) == 2 else len(columns)
    noise = torch.randn(kinds, model.latent_prior.size + 1, generator=generator)
    noise = noise.repeat(len(rows) * len(columns) // kinds, 1).to(model.device)
    with eval_mode(model):
        c = model.condition({name: field.to(model.device) for name, field in fields.items()}).expand(len(noise))
        x = model.decode(prior_sample(model.prior(c), noise[:, 1:], noise[:, 0]), c).mean
    grid = image_grid(spectrograms(x, model.features), len(columns))
    title = f"samples by {' and '.join(names) or 'noise'}, log-mel power"
    return labelled(grid, rows, title, columns if len(names) == 2 else None), x


def spectrograms(x: Tensor, features: LogMel) -> Tensor:
    """Standardised features [N, 1, mels, T] as images [N, 1, mels, T] in [0, 1], low frequencies at the bottom."""
    return ((features.restore(x) - features.restore(x.new_tensor(features.silence))) / RANGE).flip(2)
