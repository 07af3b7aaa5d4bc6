"""Control: whether generated samples have the requested condition, according to a frozen judge.

A judge is trained on the real training split, never on generated data. Its figures on real test data are reported
beside those of generated data: they are the upper limit.
"""

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import Judge, scores
from common.evaluation.frechet import frechet_distance
from common.model.generation import Generation
from common.results import Measurement
from common.seeding import seeded


def control_figures(
    model: Generation,
    judge: Judge,
    conditions: Fields,
    num_samples: int,
    seed: int,
    guidance: float = 1.0,
    batch_size: int = 100,
) -> dict[str, Measurement]:
    """Control accuracy, the judge's accuracy on real data, and the Frechet distance in the judge's features.

    Conditions are those of test examples, repeated only after all have been used; samples are what the model samples by
    default (`model.sampled`), for z ~ p(z | c). Continuous fields are reported as mean absolute errors.

    Args:
        model: the model that generates.
        judge: the judge of the samples.
        conditions: raw condition fields of the test split, each [N].
        num_samples: how many samples to judge.
        seed: fixes conditions and samples.
        guidance: guidance weight of the samples.
        batch_size: samples generated at once.
    """
    total = len(next(iter(conditions.values())))
    with seeded(seed):
        order = torch.cat([torch.randperm(total) for _ in range(-(-num_samples // total))])[:num_samples]
        predicted: dict[str, list[Tensor]] = {name: [] for name in judge.attributes}
        features = []
        for rows in order.split(batch_size):
            fields = {name: field[rows] for name, field in conditions.items()}
            x = model.sample(fields, guidance=guidance)[0].cpu()
            features.append(judge.features(x))
            for name, values in judge.read(x).items():
                predicted[name].append(values)
    truth = {name: field[order] for name, field in conditions.items()}
    generated = scores(judge.attributes, {name: torch.cat(values) for name, values in predicted.items()}, truth)
    estimator = f"frozen judge, {model.sampled} with z ~ p(z|c)"
    estimator += f", guidance {guidance:g}" if guidance != 1.0 else ""
    figures = _by_field("control", judge.attributes, generated, estimator, conditions)
    figures |= _by_field("judge", judge.attributes, judge.real.scores, "frozen judge, real test data", conditions)
    for warning in at_chance(figures, judge.attributes, conditions):
        rank_zero_warn(warning, category=UserWarning)
    if len(judge.real.features) < 2:  # one example has no covariance
        return figures
    distance = frechet_distance(judge.real.features, torch.cat(features))
    note = f"judge features, {len(judge.real.features)} real test examples"
    figures["test/frechet_distance"] = Measurement(distance, None, num_samples, "squared feature units", note)
    return figures


def at_chance(figures: dict[str, Measurement], attributes: dict[str, Attribute], conditions: Fields) -> list[str]:
    """A warning for each field that the judge reads no better, by two standard errors, than the commonest answer would.

    Args:
        figures: with `test/judge_accuracy/<name>` for each categorical field.
        attributes: the judge's fields.
        conditions: raw condition fields of the test split, each [N].
    """
    warnings = []
    for name, attribute in attributes.items():
        known = conditions[name][~attribute.missing(conditions[name])]
        if not isinstance(attribute, Categorical) or len(known) == 0:
            continue
        counts = torch.bincount(known.long(), minlength=len(attribute.values))
        share, figure = counts.max().item() / len(known), figures[f"test/judge_accuracy/{name}"]
        if figure.value <= share + 2 * (figure.stderr or 0.0) and (counts > 0).sum() > 1:
            commonest = attribute.values[int(counts.argmax())]
            warnings.append(
                f"the judge of {name} is at chance: right on {figure.value:.3f} of real test data, as is the answer "
                f"{commonest!r} on {share:.3f}. What it says of generated data means nothing"
            )
    return warnings


def _by_field(
    kind: str, attributes: dict[str, Attribute], values: dict[str, Tensor], estimator: str, conditions: Fields
) -> dict[str, Measurement]:
    """`test/<kind>_accuracy`, the mean over categorical fields, and one figure for each field.

    Estimators name the categories of which there is no test example, so that the figures say nothing of them.
    """
    figures: dict[str, Measurement] = {}
    accuracies = []
    for name, attribute in attributes.items():
        if isinstance(attribute, Categorical):
            there = set(conditions[name].tolist())
            absent = [value for position, value in enumerate(attribute.values) if position not in there]
            without = f", no example of {', '.join(absent)}" if absent else ""
            figure = Measurement.accuracy(values[name], estimator + without)
            accuracies.append(figure)
            figures[f"test/{kind}_accuracy/{name}"] = figure
        else:
            unit = f"absolute error of {name}"
            figures[f"test/{kind}_error/{name}"] = Measurement.mean(values[name], unit, estimator)
    if accuracies:
        mean = torch.tensor([figure.value for figure in accuracies]).mean().item()
        first = accuracies[0]
        overall = Measurement(mean, None, first.n, "accuracy", f"{estimator}, mean of fields")
        figures[f"test/{kind}_accuracy"] = first if len(accuracies) == 1 else overall
    return figures
