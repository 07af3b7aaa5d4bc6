"""Control: whether generated samples have the requested condition, according to two frozen judges.

Judges are trained on the real training split, never on generated data. Their figures on real test data are reported
beside those of generated data: they are the upper limit. The second judge is of another family, so that what it does
not confirm may be an artefact of the first.
"""

from collections.abc import Sequence

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import Judge, Reader, scores
from common.evaluation.fidelity import fidelity_figures
from common.model.generation import Generation
from common.results import Measurement
from common.seeding import seeded

SECOND = "second_judge/"  # before the names of figures of the second judge


def control_figures(
    model: Generation,
    judge: Judge,
    conditions: Fields,
    num_samples: int,
    seed: int,
    guidance: float = 1.0,
    batch_size: int = 100,
    second: Reader | None = None,
) -> dict[str, Measurement]:
    """Control accuracy, the judge's accuracy on real data, and how samples differ from real data in its features.

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
        second: a judge of another family, which reads the same samples.
    """
    total = len(next(iter(conditions.values())))
    with seeded(seed):
        order = torch.cat([torch.randperm(total) for _ in range(-(-num_samples // total))])[:num_samples]
        parts = [
            model.sample({name: field[rows] for name, field in conditions.items()}, guidance=guidance)[0].cpu()
            for rows in order.split(batch_size)
        ]
    asked = {name: field[order] for name, field in conditions.items()}
    estimator = f"{model.sampled} with z ~ p(z|c)" + (f", guidance {guidance:g}" if guidance != 1.0 else "")
    figures = judged(judge, second, parts, asked, estimator)
    for warning in at_chance(figures, judge.attributes, conditions):
        rank_zero_warn(warning, category=UserWarning)
    real = judge.real
    if real.features is None:
        return figures
    generated = torch.cat([judge.features(x) for x in parts])
    return figures | fidelity_figures(real.features, generated, real.truth, asked, judge.attributes, seed)


def judged(
    judge: Reader, second: Reader | None, samples: Sequence[Tensor], asked: Fields, estimator: str
) -> dict[str, Measurement]:
    """What one judge or two say of samples, and how often both say the same.

    Args:
        judge: the first judge.
        second: another one.
        samples: M samples, in parts.
        asked: the raw fields that they were asked for, each [M].
        estimator: what the samples are, for the results.
    """
    figures: dict[str, Measurement] = {}
    found: list[dict[str, Tensor]] = []
    for prefix, reader, name in (("", judge, "frozen judge"), (SECOND, second, "second judge")):
        if reader is None:
            continue
        read = [reader.read(x) for x in samples]
        found.append({field: torch.cat([part[field] for part in read]) for field in reader.attributes})
        generated = scores(reader.attributes, found[-1], asked)
        figures |= _by_field(f"{prefix}control", reader.attributes, generated, f"{name}, {estimator}", asked)
        real = f"{name}, real test data"
        figures |= _by_field(f"{prefix}judge", reader.attributes, reader.real.scores, real, reader.real.truth)
    if second is None:
        return figures
    for field, attribute in second.attributes.items():
        if field in judge.attributes:
            of_samples, of_real = found, [judge.real.read, second.real.read]
            for suffix, (one, other), how in (("", of_samples, estimator), ("_real", of_real, "real test data")):
                name = f"test/judges_agree{suffix}/{field}"
                figures[name] = _agreement(attribute, one[field], other[field], f"both judges, {how}")
    return figures


def _agreement(attribute: Attribute, one: Tensor, other: Tensor, how: str) -> Measurement:
    """Share of examples of which both read the same category; the correlation of two readings of a number."""
    if isinstance(attribute, Categorical):
        return Measurement.mean((one == other).double(), "share", f"same category by {how}")
    value = float(torch.corrcoef(torch.stack([one, other]).double())[0, 1].nan_to_num()) if len(one) > 1 else 0.0
    return Measurement(value, None, len(one), "correlation", f"readings of {how}")


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
            figures[f"test/{kind}_accuracy/{name}"] = figure
            if figure.n > 0:
                accuracies.append(figure)
        else:
            unit = f"absolute error of {name}"
            figures[f"test/{kind}_error/{name}"] = Measurement.mean(values[name], unit, estimator)
    if accuracies:
        mean = torch.tensor([figure.value for figure in accuracies]).mean().item()
        first = accuracies[0]
        overall = Measurement(mean, None, first.n, "accuracy", f"{estimator}, mean of fields")
        figures[f"test/{kind}_accuracy"] = first if len(accuracies) == 1 else overall
    return figures
