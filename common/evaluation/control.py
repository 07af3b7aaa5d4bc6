"""Control: whether generated samples show the condition they were asked for, as a frozen judge sees them.

A judge is trained on the real training split and never sees generated data. Its figures on real test data stand beside
every figure of generated data: they are the ceiling.
"""

from typing import Any

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import Judge, scores
from common.evaluation.frechet import frechet_distance
from common.results import Measurement


def control_figures(
    model: Any,
    judge: Judge,
    conditions: Fields,
    num_samples: int,
    seed: int,
    guidance: float = 1.0,
    batch_size: int = 100,
) -> dict[str, Measurement]:
    """Control accuracy, the judge's accuracy on real data, and the Frechet distance in the judge's features.

    Conditions are those of test examples, drawn without replacement as far as they go; samples are means of p(x | z, c)
    for z ~ p(z | c). Continuous fields are reported as mean absolute errors.

    Args:
        model: generates.
        judge: judges.
        conditions: raw condition fields of the test split, each [N].
        num_samples: how many samples to judge.
        seed: fixes conditions and samples.
        guidance: of the samples.
        batch_size: samples generated at once.
    """
    total = len(next(iter(conditions.values())))
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        order = torch.cat([torch.randperm(total) for _ in range(-(-num_samples // total))])[:num_samples]
        read: dict[str, list[Tensor]] = {name: [] for name in judge.attributes}
        features = []
        for rows in order.split(batch_size):
            fields = {name: field[rows] for name, field in conditions.items()}
            x = model.sample(fields, guidance=guidance)[0].cpu()
            features.append(judge.features(x))
            for name, values in judge.read(x).items():
                read[name].append(values)
    truth = {name: field[order] for name, field in conditions.items()}
    generated = scores(judge.attributes, {name: torch.cat(values) for name, values in read.items()}, truth)
    how = f"frozen judge, {getattr(model, 'shown', 'means of p(x|z,c)')} with z ~ p(z|c)"
    how += f", guidance {guidance:g}" if guidance != 1.0 else ""
    figures = _by_field("control", judge.attributes, generated, how)
    figures |= _by_field("judge", judge.attributes, judge.real.scores, "frozen judge, real test data")
    distance = frechet_distance(judge.real.features, torch.cat(features))
    note = f"judge features, {len(judge.real.features)} real test examples"
    figures["test/frechet_distance"] = Measurement(distance, None, num_samples, "squared feature units", note)
    return figures


def _by_field(
    kind: str, attributes: dict[str, Attribute], values: dict[str, Tensor], how: str
) -> dict[str, Measurement]:
    """`test/<kind>_accuracy`, the mean over categorical fields, and one figure for each field."""
    figures: dict[str, Measurement] = {}
    accuracies = []
    for name, attribute in attributes.items():
        if isinstance(attribute, Categorical):
            figure = Measurement.accuracy(values[name], how)
            accuracies.append(figure)
            figures[f"test/{kind}_accuracy/{name}"] = figure
        else:
            figures[f"test/{kind}_error/{name}"] = Measurement.mean(values[name], f"absolute error of {name}", how)
    if accuracies:
        mean = torch.tensor([figure.value for figure in accuracies]).mean().item()
        first = accuracies[0]
        whole = (
            first if len(accuracies) == 1 else Measurement(mean, None, first.n, "accuracy", f"{how}, mean of fields")
        )
        figures[f"test/{kind}_accuracy"] = whole
    return figures
