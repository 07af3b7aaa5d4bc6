"""p(x | z, c) of a row: one normalised distribution for each column."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, NegativeBinomial, Normal, Poisson, StudentT
from torch.nn.functional import softplus

from common.distributions.likelihoods import Likelihood
from common.distributions.mixed import Mixed, ZeroSafeLogNormal, ordinal_logits
from common.nn.transplant import taken
from modalities.tabular.columns import Column
from modalities.tabular.networks.features import Features

SCALED = ("student_t", "gaussian", "censored_gaussian", "log_normal", "negative_binomial")  # have scales of their own
LOG_SCALES = (-5.0, 3.0)
LOG_RATES = (-20.0, 20.0)
FREEDOM = (2.5, 8.0)  # least and initial degrees of freedom of a Student-t


class CensoredNormal(Normal):
    """max(0, y) for y ~ N(loc, scale^2): P(0) = Phi(-loc / scale), and above zero the density of y.

    Source: Tobin 1958, "Estimation of Relationships for Limited Dependent Variables", equations 3 and 4.
    """

    @property
    def mean(self) -> Tensor:
        """E[max(0, y)] = loc Phi(a) + scale phi(a) with a = loc / scale."""
        a = self.loc / self.scale
        density = torch.exp(-0.5 * a**2) / math.sqrt(2 * math.pi)
        return (self.loc * torch.special.ndtr(a) + self.scale * density).clamp_min(0.0)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of zero, log-density of a positive value, nats."""
        return torch.where(value > 0, super().log_prob(value), torch.special.log_ndtr(-self.loc / self.scale))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Values [*sample_shape, ...]."""
        return super().sample(torch.Size(sample_shape)).clamp_min(0.0)


class MixedColumns(Likelihood):
    """Mixed columns from a decoder's output [..., W + S]: a location for each feature, a log-scale for S columns.

    Locations are in the units of `Features`, so that a linear map of z can be the decoder: the location of a number,
    the logarithm of a count's rate, the shift of a discrete column's logits from those of its training frequencies.

    Args:
        columns: the table's columns.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        self.columns = list(columns)
        layout = Features(columns)
        self.width = layout.width
        self.slices = layout.slices()
        self.scaled = [position for position, column in enumerate(columns) if column.family in SCALED]
        self.groups = _groups(columns)
        self.log_scale = nn.Parameter(torch.zeros(len(self.scaled)))
        students = [column for column in columns if column.family == "student_t"]
        start = math.log(math.expm1(FREEDOM[1] - FREEDOM[0]))
        self.freedom = nn.Parameter(torch.full((len(students),), start))
        ordinals = [column for column in columns if column.family == "ordinal"]
        self.thresholds = nn.ParameterList(_thresholds(column) for column in ordinals)
        self.slope = nn.Parameter(torch.zeros(len(ordinals)))

    @property
    def size(self) -> int:
        """W + S, the size of a decoder's output for a row."""
        return self.width + len(self.scaled)

    def adapted(self, old: "MixedColumns") -> dict[str, Tensor]:
        """Scales and thresholds of the columns that an older likelihood has. See `common.nn.transplant`."""
        families = {"log_scale": SCALED, "freedom": ("student_t",), "slope": ("ordinal",)}
        result: dict[str, Tensor] = {}
        for name, chosen in families.items():
            mine, theirs = ([c.name for c in part.columns if c.family in chosen] for part in (self, old))
            places = {mine.index(column): theirs.index(column) for column in mine if column in theirs}
            result[name] = taken(getattr(self, name), getattr(old, name), places)
        ordinals, others = ([(c.name, c.values) for c in m.columns if c.family == "ordinal"] for m in (self, old))
        for number, key in enumerate(ordinals):
            source = old.thresholds[others.index(key)] if key in others else self.thresholds[number]
            result[f"thresholds.{number}"] = source.detach().clone()
        return result

    def start(self, noise: Tensor) -> None:
        """Sets scales from the noise variances [W] of a linear model of the features."""
        with torch.no_grad():
            for number, position in enumerate(self.scaled):
                self.log_scale[number] = 0.5 * noise[self.slices[position]].mean().clamp_min(1e-4).log()
            ordinals = [p for p, column in enumerate(self.columns) if column.family == "ordinal"]
            for number, position in enumerate(ordinals):
                # A standard logistic has deviation pi / sqrt(3).
                deviation = noise[self.slices[position]].mean().clamp_min(0.05).sqrt()
                slope = math.pi / math.sqrt(3) / float(deviation)
                self.slope[number] = math.log(slope)
                # These thresholds preserve the frequencies when the location varies as well.
                spread = math.sqrt(1 + 3 * slope**2 / math.pi**2)
                self.thresholds[number].copy_(_thresholds(self.columns[position], spread))

    def forward(self, parameters: Tensor, event_ndim: int = 1) -> Independent:
        """p(x | z, c): batch shape [...], event shape [F].

        Args:
            parameters: [..., W + S].
            event_ndim: number of event dimensions: 1.
        """
        parameters = parameters.float()
        location = parameters[..., : self.width]
        log_scale = (parameters[..., self.width :] + self.log_scale).clamp(*LOG_SCALES)
        device = parameters.device
        parts = [
            (torch.tensor(positions, device=device), self._part(family, positions, location, log_scale))
            for family, positions in self.groups
        ]
        return Independent(Mixed(parts), event_ndim)

    def _part(self, family: str, positions: list[int], location: Tensor, log_scale: Tensor) -> Distribution:
        """The distribution of some columns of one family."""
        columns = [self.columns[position] for position in positions]
        if family in ("categorical", "ordinal"):
            logits = torch.stack([self._logits(position, location) for position in positions], dim=-2)
            return Categorical(logits=logits, validate_args=False)
        mean = location[..., [self.slices[position].start for position in positions]]
        if family == "poisson":
            return Poisson(_log_rate(columns, mean).exp(), validate_args=False)
        scale = log_scale[..., [self.scaled.index(position) for position in positions]]
        if family == "gaussian":
            return Normal(mean, scale.exp(), validate_args=False)
        if family == "student_t":
            return StudentT(FREEDOM[0] + softplus(self.freedom), mean, scale.exp(), validate_args=False)
        unit = torch.tensor([column.scale for column in columns], device=mean.device)
        if family == "censored_gaussian":
            centre = torch.tensor([column.location for column in columns], device=mean.device)
            return CensoredNormal(centre + mean * unit, scale.exp() * unit, validate_args=False)
        if family == "log_normal":
            return ZeroSafeLogNormal(mean * unit, scale.exp() * unit, validate_args=False)
        # Var[x] = rate + rate^2 / r: sqrt(1 / r) is the scale of log x in excess of a Poisson's.
        log_count = (-2 * (scale + unit.log())).clamp(-6.0, 12.0)
        return NegativeBinomial(log_count.exp(), logits=_log_rate(columns, mean) - log_count, validate_args=False)

    def _logits(self, position: int, location: Tensor) -> Tensor:
        """Logits [..., V] of a discrete column."""
        column, own = self.columns[position], location[..., self.slices[position]]
        shares = location.new_tensor(column.shares).clamp_min(1e-4)
        if column.family == "ordinal":
            number = [p for p, c in enumerate(self.columns) if c.family == "ordinal"].index(position)
            raw = self.thresholds[number]
            ascending = torch.cat([raw[:1], raw[:1] + torch.cumsum(softplus(raw[1:]), dim=0)])
            return ordinal_logits(own[..., 0] * self.slope[number].exp(), ascending)
        if column.kind == "categorical":  # d log p = dp / p, and one unit of the feature is sqrt(p (1 - p))
            return shares.log() + own * ((1 - shares) / shares.clamp_min(0.01)).sqrt()
        codes = torch.arange(len(column.shares), device=location.device)
        return shares.log() + own * (codes - column.location) / column.scale


def _log_rate(columns: Sequence[Column], location: Tensor) -> Tensor:
    """Log-rate whose average over standard normal locations is the mean count of the training rows."""
    unit = location.new_tensor([column.scale for column in columns])
    centre = location.new_tensor([math.log(max(column.mean, 1e-3)) - column.scale**2 / 2 for column in columns])
    return (centre + unit * location).clamp(*LOG_RATES)


def _groups(columns: Sequence[Column]) -> list[tuple[str, list[int]]]:
    """Families with the positions of their columns; discrete columns are also grouped by their number of values."""
    groups: dict[tuple[str, int], list[int]] = {}
    for position, column in enumerate(columns):
        # A group of ordinal and categorical columns with the same number of values is one Categorical.
        groups.setdefault((column.family, len(column.values)), []).append(position)
    return [(family, positions) for (family, _), positions in groups.items()]


def _thresholds(column: Column, spread: float = 1.0) -> nn.Parameter:
    """First threshold and softplus-inverted gaps that give a logistic of this spread the column's frequencies."""
    shares = torch.tensor(column.shares, dtype=torch.float64).clamp_min(1e-3)
    cumulative = (shares / shares.sum()).cumsum(0)[:-1]
    edges = spread * torch.logit(cumulative.clamp(1e-3, 1 - 1e-3))
    gaps = edges.diff().clamp_min(1e-2)
    return nn.Parameter(torch.cat([edges[:1], gaps.expm1().log()]).float())
