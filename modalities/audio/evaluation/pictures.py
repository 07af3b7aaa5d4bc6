"""Spectrograms and sounds of an audio model's reconstructions and samples."""

import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Attribute, Categorical, Fields
from common.distributions.noise import prior_sample
from common.eval_mode import eval_mode
from common.evaluation.media import Media, Sound, file_name, render
from modalities.audio.model import AudioGenreCVAE
from modalities.audio.signal.features import LogMel

COLUMNS = 5
MAX_ROWS = 10
LISTENED = 4  # clips of each kind to listen to
RANGE = 12.0  # range of the natural logarithm of power from black to white
DECIBELS = 10 / math.log(10)  # of a natural logarithm of power
TICKS = (100, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def audio_media(model: AudioGenreCVAE, batch: Batch) -> Media:
    """Clips above their reconstructions; one sample for each pair of conditions, all from the same noise."""
    clips = batch[slice(0, COLUMNS)]
    reconstructed = model.reconstruct(clips)
    own = [_described(model.condition.attributes, clips.condition, row) for row in range(len(clips))]
    both = torch.cat([clips.x, reconstructed])
    title = "validation clips and their reconstructions from the posterior mean"
    media = Media({"reconstructions": mel_grid(both, model.features, ["clip", "reconstruction"], own, title)})
    media.captions["reconstructions"] = f"{title}: {'; '.join(own)}"
    media.pictures["samples"], samples, labels = conditions_picture(model)
    media.files["samples"] = file_name("samples", *(["by", *model.condition.attributes] if labels else []))
    media.captions["samples"] = f"one sample for each of {', '.join(dict.fromkeys(labels)) or 'several noises'}"
    for kind, x, conditions in (
        ("clip", clips.x, own),
        ("reconstruction", reconstructed, own),
        ("sample", samples, labels),
    ):
        for number, waveform in enumerate(model.sound(x[:LISTENED].cpu())):
            condition = conditions[number] if number < len(conditions) else ""
            key = f"{kind}-{number}"
            media.files[key] = file_name(key, condition)
            shown = mel_grid(x[number : number + 1], model.features, [""], [], f"{kind} {number} {condition}".strip())
            media.sounds[key] = Sound(waveform, model.features.sample_rate, shown)
            media.captions[key] = f"{kind} {number}: {condition}" if condition else f"{kind} {number}"
    return media


def _described(attributes: dict[str, Attribute], fields: Fields, row: int) -> str:
    """The categories of an example, in words."""
    return " ".join(
        str(attribute.values[int(fields[name][row])])
        for name, attribute in attributes.items()
        if isinstance(attribute, Categorical) and name in fields and int(fields[name][row]) >= 0
    )


def conditions_picture(model: AudioGenreCVAE, seed: int = 0) -> tuple[Image.Image, Tensor, list[str]]:
    """Spectrograms with a row for each value of the first category and a column for each of the second.

    All share their noise. With fewer than two categories each column has noise of its own instead.

    Returns:
        The picture, the samples, and the condition of each in words.
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
    title = f"samples by {' and '.join(names)}, the same noise" if names else "samples, no condition"
    picture = mel_grid(x, model.features, rows, columns if len(names) == 2 else [], title, len(columns))
    return picture, x, [f"{row} {column}".strip() for row in rows for column in columns] if names else []


def mel_grid(
    x: Tensor, features: LogMel, rows: Sequence[str], columns: Sequence[str], title: str, across: int | None = None
) -> Image.Image:
    """Spectrograms of standardised features [rows * across, 1, mels, T], row by row, over time and frequency.

    Args:
        x: the features.
        features: what they are.
        rows: a text for each row.
        columns: a text for each column; none where they are empty.
        title: above the grid.
        across: number of columns.
    """
    across = across or max(1, len(x) // len(rows))
    wide, high = (1.75, 1.15) if len(x) > 1 else (4.2, 1.9)
    size = (0.9 + wide * across + 0.8, 0.75 + high * len(rows))
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    panels = figure.subplots(len(rows), across, sharex=True, sharey=True, squeeze=False)
    loudest = features.restore(x.new_tensor(features.silence)).item() + RANGE
    places, names = _frequency_ticks(features)
    extent = (0.0, features.seconds, 0.0, float(features.mels))
    for panel, one in zip(panels.flat, features.restore(x).detach().cpu(), strict=True):
        power = DECIBELS * (one[0].numpy() - loudest)
        drawn = panel.imshow(
            power, "magma", aspect="auto", origin="lower", extent=extent, vmin=-DECIBELS * RANGE, vmax=0
        )
        panel.set_yticks(places, names)
        panel.tick_params(labelsize=7)
    for panel, name in zip(panels[0], columns, strict=False):
        panel.set_title(name, fontsize=8)
    for panel, name in zip(panels[:, 0], rows, strict=True):
        panel.set_ylabel(f"{name}\nHz" if name else "frequency, Hz", fontsize=8)
    figure.supxlabel("time, s", fontsize=8)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    figure.colorbar(drawn, ax=panels, label="power, dB").ax.tick_params(labelsize=7)
    return render(figure)


def _frequency_ticks(features: LogMel) -> tuple[list[float], list[str]]:
    """Positions in bands of some frequencies (HTK's mel scale), and their names."""
    low, high = _mel(features.low), _mel(features.high)
    known = [hz for hz in TICKS if features.low <= hz <= features.high][:: 1 if features.high < 3000 else 2]
    places = [(_mel(hz) - low) / (high - low) * features.mels for hz in known]
    return places, [f"{hz // 1000}k" if hz >= 1000 else str(hz) for hz in known]


def _mel(hz: float) -> float:
    return 2595 * math.log10(1 + hz / 700)
