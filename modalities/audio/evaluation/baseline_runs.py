"""Results of baselines, measured like an audio model: class-conditional Gaussians, and the nearest training clip."""

from datetime import UTC, datetime

import torch
from torch import Tensor

from common.conditions.attributes import Fields
from common.conditions.classifier import Judge
from common.results import Measurement, Results
from common.training.baseline_run import baseline_run
from modalities.audio.data import AudioData
from modalities.audio.evaluation.baselines import COMPONENTS, ClassGaussians, nearest
from modalities.audio.evaluation.clip_evaluation import ClipEvaluation, Figures
from modalities.audio.evaluation.summary_judge import summary_judge
from modalities.audio.signal.vocoder import GriffinLim

BASELINES = ("gaussian", "nearest")


def baseline_results(system: str, data: AudioData, judge: Judge | None, count: int, seed: int = 0) -> Results:
    """Results of a baseline that generates under the conditions of test clips and reconstructs the clips.

    "gaussian" is a PPCA for each combination of categories: it generates from a random code and reconstructs from the
    clip's code. "nearest" generates a random training clip of the same categories and reconstructs by the training
    clip nearest to the test clip.

    Args:
        system: one of `BASELINES`.
        data: the DataModule.
        judge: classifies the conditions of clips; None if there is none to classify.
        count: number of test clips.
        seed: seed of the random draws.

    Raises:
        ValueError: for an unknown system, or data without a category.
    """
    if system not in BASELINES:
        raise ValueError(f"no system {system!r}; there are: {', '.join(BASELINES)}")
    if judge is None:
        raise ValueError(f"{type(data).__name__} has no category to generate under")
    started = datetime.now(UTC)
    torch.manual_seed(seed)
    batch = data.some("test", count)
    clips, train = data.examples.x, data.examples.splits["train"]
    fields = {name: data.examples.fields[name][train] for name in judge.attributes}
    requested = {name: batch.condition[name] for name in judge.attributes}
    figures: Figures = {}
    if system == "gaussian":
        gaussians = ClassGaussians(data.features.standardise(clips[train]), fields)
        nll = -gaussians.log_prob(batch.x, requested)
        how = f"exact; PPCA of {COMPONENTS} components for each combination of conditions; standardised features"
        figures["test/nll"] = Measurement.mean(nll[~nll.isnan()], "nats", how)
        generated = gaussians.sample(requested, data.features.shape)
        reconstructed = gaussians.reconstruct(batch.x, requested)
        how = "means of class-conditional Gaussians given a random code"
    else:
        closest = nearest(data.features.restore(batch.x), clips, train)[1]
        random = train[_random_row(fields, requested)]
        generated, reconstructed = (data.features.standardise(clips[rows]) for rows in (random, closest))
        how = "random training clips of the condition"
    second = summary_judge(data.whole, data.features)
    figures |= ClipEvaluation(data, judge, second, batch, generated, reconstructed, how, GriffinLim()).figures()
    run = baseline_run(system, "audio", seed, started, {"count": count}, data.fingerprint)
    return Results(run, figures)


def _random_row(fields: Fields, requested: Fields) -> Tensor:
    """A random row for each requested condition; any row if none has it."""
    keys, targets = (torch.stack([table[name] for name in fields], dim=1) for table in (fields, requested))
    same = (targets.unsqueeze(1) == keys).all(-1).float()
    same[same.sum(1) == 0] = 1.0
    return torch.multinomial(same, 1).squeeze(1)
