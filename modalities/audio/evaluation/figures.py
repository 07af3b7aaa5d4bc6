"""What the test of an audio model measures beyond the shared figures."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Categorical, Fields
from common.results import Measurement
from modalities.audio.evaluation.clip_evaluation import STRETCHED, Figures, Trial
from modalities.audio.evaluation.metrics import chroma, kept, self_similarity
from modalities.audio.signal.onsets import onset_strength
from modalities.audio.signal.vocoder import ROWS

if TYPE_CHECKING:
    from modalities.audio.data.datamodules import AudioData
    from modalities.audio.model import AudioGenreCVAE


def audio_figures(model: "AudioGenreCVAE", table: dict[str, Tensor]) -> Figures:
    """NLL a bin, control before and after the way through sound, spread, tempo, and transfer."""
    nll, bins = table["nll"][~table["nll"].isnan()], model.features.mels * model.features.frames
    how = f"importance sampling, {model.evaluation.num_samples} samples; standardised features"
    figures = {"test/nll_per_bin": Measurement.mean(nll / bins, "nats", how)}
    data: AudioData = model.trainer.datamodule  # type: ignore[attr-defined]
    batch = data.batch("test", model.evaluation.control_samples)
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(model.evaluation.seed)
        guidance = model.evaluation.guidance
        generated = _by_parts(model, lambda part: model.sample(part.condition, guidance=guidance)[0], batch)
        reconstructed = _by_parts(model, model.reconstruct, batch)
        how = "means of p(x|z,c) with z ~ p(z|c)"
        trial = Trial(data, batch, generated, reconstructed, how, model.vocoder)
        figures |= trial.figures()
        for name in trial.fields:
            figures |= transfer_figures(model, trial, name)
    return figures


def _by_parts(model: "AudioGenreCVAE", apply: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    parts = [batch[slice(start, start + ROWS)] for start in range(0, len(batch), ROWS)]
    return torch.cat([apply(part.to(model.device)).cpu() for part in parts])


def transfer_figures(model: "AudioGenreCVAE", trial: Trial, name: str) -> Figures:
    """Test clips under another value of a field: whether it is heard, and what is left of the tune.

    The tune is compared by chroma and by onsets, with the source and with another test clip of the new value.
    Where the new value may change the tempo, both take the best of many uniform stretches of time; where it does
    not, self-similarity, which does not mind the instrument, is compared as well.
    """
    attribute = trial.fields[name]
    assert isinstance(attribute, Categorical)
    batch = trial.batch[slice(0, model.transfers)]
    count = len(attribute.values)
    own = batch.condition[name]
    fields: Fields = {name: (own + torch.randint(1, count, own.shape)) % count}
    target = fields[name]
    asked = batch.replace(condition={**batch.condition, "target": target})

    def change(part: Batch) -> Tensor:
        given = {key: value for key, value in part.condition.items() if key != "target"}
        return model.transfer(part.replace(condition=given), {name: part.condition["target"]})

    changed = trial.vocoder.round_trip(_by_parts(model, change, asked), trial.features)
    wanted = {**batch.condition, **fields}
    figures: Figures = {}
    for prefix, judge in trial.judges.items():
        read = judge.read(changed)
        for field in trial.fields:
            how = f"{'second' if prefix else 'frozen'} judge, test clips with another {name}, through sound"
            hits = read[field] == wanted[field]
            figures[f"test/{prefix}transfer/{name}/accuracy/{field}"] = Measurement.accuracy(hits, how)
    stretch = name == STRETCHED
    curves: dict[str, Callable[[Tensor], Tensor]] = {
        "chroma": lambda x: chroma(x, trial.features),
        "onset": lambda x: onset_strength(x).unsqueeze(1),
    }
    if not stretch:
        curves["self_similarity"] = self_similarity
    others = _others(trial, target, name, len(batch))
    for kind, curve in curves.items():
        outcome = curve(trial.features.restore(changed))
        for suffix, x in (("", batch.x), ("_random", others)):
            how = "correlation over time of the outcome with " + ("another test clip" if suffix else "its source")
            how += ", best of 33 stretches" if stretch else ""
            value = kept(curve(trial.features.restore(x)), outcome, stretch)
            figures[f"test/transfer/{name}/{kind}{suffix}"] = Measurement.mean(value, "correlation", how)
    return figures


def _others(trial: Trial, target: Tensor, name: str, count: int) -> Tensor:
    """For each target value a real test clip that has it, other than the source where there are several."""
    table = trial.data.table
    rows = table.splits["test"]
    values = table.fields[name][rows]
    chosen = []
    for position, value in enumerate(target[:count].tolist()):
        pool = rows[values == value]
        pool = pool if len(pool) else rows
        chosen.append(int(pool[(position * 7919 + 13) % len(pool)]))
    return trial.features.standardise(table.x[chosen])
