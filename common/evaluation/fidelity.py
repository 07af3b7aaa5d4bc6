"""How samples differ from real data, in the features of a judge: distances of both sets, support, and diversity.

All are comparable within one data set and judge, never with figures in the features of an Inception network.
Features are [N, F] of real and [M, F] of generated examples.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from common.conditions.attributes import Attribute, Categorical, Fields
from common.data.splits import some_rows
from common.results import Measurement
from common.seeding import seeded

NEIGHBOURS = 5
SUBSETS = 20  # of the kernel distance, whose spread over them is its error
NEAR = 2000  # most examples of each side whose neighbours are looked for: all pairs of them are in memory
PAIRED = 500  # most examples of a condition of which all pairs are compared


class _Features(nn.Module):
    """Takes the place of torchmetrics' feature network and returns the given features unchanged."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """|m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)).

    Source: Heusel et al. 2017, "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    equation 6.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # which imports every metric there is

    # Every process has all features already: a sum over processes would count them twice.
    metric = FrechetInceptionDistance(feature=_Features(real.shape[1]), sync_on_compute=False)
    metric.set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return float(metric.compute())


def kernel_distance(real: Tensor, generated: Tensor, seed: int = 0) -> tuple[float, float]:
    """The squared maximum mean discrepancy with the kernel (x.y / F + 1)^3, unbiased: zero in expectation where the
    distributions are the same; and its deviation over random halves.

    Source: Binkowski, Sutherland, Arbel and Gretton 2018, "Demystifying MMD GANs", section 4.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = max(2, min(len(real), len(generated), 1000) // 2)
    with warnings.catch_warnings(), seeded(seed):
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save all")
        metric = KernelInceptionDistance(
            feature=_Features(real.shape[1]), subsets=SUBSETS, subset_size=size, sync_on_compute=False
        )
        metric.update(real.double(), real=True)
        metric.update(generated.double(), real=False)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def density_and_coverage(real: Tensor, generated: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """How densely real examples surround generated ones, and the share of real examples with a generated one nearby.

    Nearby is within the distance of a real example to its k-th real neighbour. For samples like the data the density is
    1 in expectation, and the coverage of as many samples 1 - 2^-k.
    Source: Naeem, Oh, Uh, Choi and Yoo 2020, "Reliable Fidelity and Diversity Metrics for Generative Models",
    equations 5 and 6.

    Raises:
        ValueError: if there are no more real examples than neighbours.
    """
    if len(real) <= neighbours:
        raise ValueError(f"{len(real)} real examples have no {neighbours} neighbours each")
    real, generated = real.double(), generated.double()
    radius = torch.cdist(real, real).kthvalue(neighbours + 1, dim=1).values  # the nearest is the example itself
    near = torch.cdist(real, generated) <= radius.unsqueeze(1)
    return float(near.double().sum(0).mean() / neighbours), float(near.any(1).double().mean())


def diversity(real: Tensor, generated: Tensor, of_real: Fields, of_generated: Fields) -> tuple[float, int]:
    """The mean distance of two samples of one condition over that of two real examples of it.

    1 says that samples of a condition differ as much as real examples of it do, 0 that each condition has a single
    outcome. Conditions with fewer than two examples on either side are left out; the others count by their samples.

    Args:
        real: [N, F].
        generated: [M, F].
        of_real: categories by name, each [N].
        of_generated: those that samples were asked for, each [M].

    Returns:
        The ratio, a mean over conditions, and the number of conditions behind it.

    Raises:
        ValueError: if no condition has two examples on both sides.
    """
    own, asked = (_table(fields, len(side)) for fields, side in ((of_real, real), (of_generated, generated)))
    total, weight, count = 0.0, 0, 0
    for row in asked.unique(dim=0):
        sides = real[(own == row).all(1)], generated[(asked == row).all(1)]
        if min(map(len, sides)) < 2:
            continue
        known, made = (torch.pdist(_some(side, PAIRED).double()).mean().item() for side in sides)
        if known > 0:
            total, weight, count = total + len(sides[1]) * made / known, weight + len(sides[1]), count + 1
    if not count:
        raise ValueError("no condition has two real and two generated examples that differ")
    return total / weight, count


def _some(features: Tensor, most: int) -> Tensor:
    return features[some_rows(len(features), most)]


def _table(fields: Fields, count: int) -> Tensor:
    """Categories as the columns of a table [N, fields]; one column of zeros without any."""
    columns = [field.long() for field in fields.values()] or [torch.zeros(count, dtype=torch.long)]
    return torch.stack(columns, dim=1)


def fidelity_figures(
    real: Tensor,
    generated: Tensor,
    of_real: Fields,
    of_generated: Fields,
    attributes: Mapping[str, Attribute],
    seed: int,
) -> dict[str, Measurement]:
    """All of these by name (`test/...`); those that need more examples than there are, are left out.

    Args:
        real: features [N, F] of real test examples.
        generated: features [M, F] of samples.
        of_real: raw fields of the real examples, each [N].
        of_generated: raw fields that samples were asked for, each [M].
        attributes: the fields; samples of one condition are those with the same categories.
        seed: seed of the kernel distance's halves.
    """
    if len(real) < 2 or len(generated) < 2:  # one example has no covariance
        return {}
    count, note = len(generated), f"judge features, {len(real)} real test examples"
    distance = frechet_distance(real, generated)
    figures = {"test/frechet_distance": Measurement(distance, None, count, "squared feature units", note)}
    if min(len(real), len(generated)) >= 4:
        kernel, deviation = kernel_distance(real, generated, seed)
        halves = f"{note}; cubic kernel, {SUBSETS} random halves"
        figures["test/kernel_distance"] = Measurement(kernel, deviation, count, "squared discrepancy", halves)
    if len(real) > NEIGHBOURS:
        sides = _some(real, NEAR), _some(generated, NEAR)
        dense, covered = density_and_coverage(*sides)
        near = f"judge features, {len(sides[0])} real test examples, {NEIGHBOURS} neighbours"
        figures["test/density"] = Measurement(dense, None, len(sides[1]), "ratio", near)
        figures["test/coverage"] = Measurement(covered, None, len(sides[1]), "share", near)
    names = [name for name, attribute in attributes.items() if isinstance(attribute, Categorical) and name in of_real]
    try:
        ratio, conditions = diversity(
            real, generated, {name: of_real[name] for name in names}, {name: of_generated[name] for name in names}
        )
    except ValueError:  # as where every example has a condition of its own
        return figures
    how = f"{note}; distance of two samples of a condition over that of two real examples, {conditions} conditions"
    figures["test/diversity"] = Measurement(ratio, None, count, "ratio", how)
    return figures
