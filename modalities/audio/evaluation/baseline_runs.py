"""Systems that the suite does not train, measured as a model of sound is: Gaussians of each condition, and copying."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.comparison.baseline_runs import baseline_run
from common.conditions.attributes import Fields
from common.results import Measurement, Results
from modalities.audio.evaluation.baselines import COMPONENTS, ClassGaussians, nearest
from modalities.audio.evaluation.clip_evaluation import Figures, Trial
from modalities.audio.signal.vocoder import GriffinLim

if TYPE_CHECKING:
    from modalities.audio.data.datamodules import AudioData

BASELINES = ("gaussian", "nearest")


def baseline_results(system: str, data: "AudioData", count: int, seed: int = 0) -> Results:
    """The record of a system: what it generates under the conditions of test clips, and makes of the clips.

    "gaussian" is a PPCA of each combination of categories: its means given a random code, and given that of the clip.
    "nearest" takes a random training clip of the same categories, and the training clip nearest to the clip.

    Args:
        system: one of `BASELINES`.
        data: of the clips and the judges.
        count: test clips.
        seed: of what is drawn.

    Raises:
        ValueError: for an unknown system, or data without a category.
    """
    if system not in BASELINES:
        raise ValueError(f"no system {system!r}; there are: {', '.join(BASELINES)}")
    judge = data.judge()
    if judge is None:
        raise ValueError(f"{type(data).__name__} has no category to generate under")
    started = datetime.now(UTC)
    torch.manual_seed(seed)
    batch = data.batch("test", count)
    train = data.table.splits["train"]
    x, fields = data.table.x[train], {name: data.table.fields[name][train] for name in judge.attributes}
    asked = {name: batch.condition[name] for name in judge.attributes}
    figures: Figures = {}
    if system == "gaussian":
        gaussians = ClassGaussians(data.features.standardise(x), fields)
        nll = -gaussians.log_prob(batch.x, asked)
        how = f"exact; PPCA of {COMPONENTS} components for each combination of conditions; standardised features"
        figures["test/nll"] = Measurement.mean(nll[~nll.isnan()], "nats", how)
        generated, reconstructed = gaussians.sample(asked, data.features.shape), gaussians.reconstruct(batch.x, asked)
        how = "means of class-conditional Gaussians given a random code"
    else:
        found = nearest(data.features.restore(batch.x), x)[1]
        generated, reconstructed = (data.features.standardise(x[rows]) for rows in (_random_row(fields, asked), found))
        how = "random training clips of the condition"
    figures |= Trial(data, batch, generated, reconstructed, how, GriffinLim()).figures()
    run = baseline_run(system, "audio", seed, started, {"count": count}, data.fingerprint)
    return Results(run, figures)


def _random_row(fields: Fields, asked: Fields) -> Tensor:
    """For each of the asked conditions a random row that has it; any row where none has."""
    keys, wanted = (torch.stack([table[name] for name in fields], dim=1) for table in (fields, asked))
    same = (wanted.unsqueeze(1) == keys).all(-1).float()
    same[same.sum(1) == 0] = 1.0
    return torch.multinomial(same, 1).squeeze(1)
