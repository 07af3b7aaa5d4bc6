"""The search space of a sweep: choices and ranges of options, as Optuna knows them and as the training script does."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.sweeps.specification import Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DISTRIBUTIONS = ("uniform", "int_uniform", "q_uniform", "log_uniform_values")


@dataclass(frozen=True)
class Choice:
    """One of some values.

    Attributes:
        values: name for Optuna, which knows texts, numbers and true or false alone -> value.
    """

    values: dict[Any, Any]

    @property
    def size(self) -> float:
        """Number of values."""
        return len(self.values)

    @property
    def points(self) -> list[Any]:
        """All of them, as Optuna names them."""
        return list(self.values)

    def distribution(self) -> "BaseDistribution":
        """Optuna's."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.points)

    def value(self, point: Any) -> Any:
        """The value of an option."""
        return self.values[point]


@dataclass(frozen=True)
class Range:
    """A number between two others, both included.

    Attributes:
        low: the least.
        high: the greatest.
        step: distance of two values; None where there are infinitely many.
        log: whether its logarithm is spread evenly.
        whole: whether it is a whole number.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def size(self) -> float:
        """Number of values."""
        return math.inf if self.step is None else round((self.high - self.low) / self.step) + 1

    @property
    def points(self) -> list[Any]:
        """All values, of which there must not be infinitely many."""
        assert self.step is not None
        return [self.low + index * self.step for index in range(int(self.size))]

    def distribution(self) -> "BaseDistribution":
        """Optuna's."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def value(self, point: Any) -> Any:
        """The value of an option."""
        return point


Space = Mapping[str, Choice | Range]


def constants(sweep: Sweep) -> dict[str, Any]:
    """The options that have one value in all trials."""
    return {name: entry["value"] for name, entry in sweep.parameters.items() if "value" in entry}


def space(sweep: Sweep) -> Space:
    """What is searched.

    Raises:
        ValueError: naming the parameter that is not understood.
    """
    found: dict[str, Choice | Range] = {}
    for name, entry in sweep.parameters.items():
        try:
            part = _part(entry)
        except ValueError as error:
            raise ValueError(f"{sweep.path}: parameters.{name}: {error}") from None
        if part is not None:
            found[name] = part
    if not found:
        raise ValueError(f"{sweep.path}: parameters: nothing is searched, all options have one value")
    endless = [name for name, part in found.items() if part.size == math.inf]
    if sweep.method == "grid" and endless:
        raise ValueError(
            f"{sweep.path}: parameters.{endless[0]}: a grid needs values; with a range, method is random or bayes"
        )
    return found


def _part(entry: Any) -> Choice | Range | None:
    """A parameter; None for one with a single value."""
    if not isinstance(entry, dict) or not entry:
        raise ValueError("must have value, values, or min and max")
    distribution, given = entry.get("distribution"), set(entry) - {"distribution"}
    if "parameters" in entry:
        raise ValueError("has parameters of its own: write one dotted option for each")
    if given == {"value"} and distribution in (None, "constant"):
        _readable(entry["value"])
        return None
    if given == {"values"} and distribution in (None, "categorical"):
        return _choice(entry["values"])
    if not {"min", "max"} <= given <= {"min", "max", "q"} or distribution not in (None, *DISTRIBUTIONS):
        known = ", ".join(DISTRIBUTIONS)
        raise ValueError(f"must have value, values, or min and max with one of the distributions {known}; got {entry}")
    return _range(entry["min"], entry["max"], entry.get("q"), distribution)


def _choice(values: Any) -> Choice:
    if not isinstance(values, list) or not values:
        raise ValueError("values must be a list that is not empty")
    for value in values:
        _readable(value)
    names = [value if isinstance(value, bool | int | float | str) else json.dumps(value) for value in values]
    if len(set(names)) < len(names):
        raise ValueError(f"two of its values are the same: {values}")
    return Choice(dict(zip(names, values, strict=True)))


def _readable(value: Any) -> None:
    """Refuses what W&B's agent hands to a script in another way than it is meant."""
    if value is None:
        raise ValueError("W&B's agent writes null as None, which is another value: leave the option out")


def _range(low: Any, high: Any, q: Any, distribution: str | None) -> Range:
    for name, value in (("min", low), ("max", high), ("q", q)):
        if isinstance(value, str):
            raise ValueError(f"{name} is the text {value!r}, as YAML and W&B read it: write it with a point (1.0e-4)")
        if value is not None and (isinstance(value, bool) or not math.isfinite(value)):
            raise ValueError(f"{name} must be a number; got {value}")
    if low >= high:
        raise ValueError(f"min must be less than max; got {low} and {high}")
    whole = isinstance(low, int) and isinstance(high, int)
    if distribution is None:
        if isinstance(low, int) != isinstance(high, int):
            raise ValueError("min and max must both be whole numbers or both have a point, or name the distribution")
        distribution = "int_uniform" if whole else "uniform"
    if (q is not None) != (distribution == "q_uniform"):
        raise ValueError("q belongs to the distribution q_uniform, which needs it")
    if distribution == "int_uniform":
        if not whole:
            raise ValueError("int_uniform needs whole numbers")
        return Range(low, high, 1, whole=True)
    if distribution == "q_uniform":
        steps = (high - low) / q if q > 0 else math.nan
        if not abs(steps - round(steps)) < 1e-9:
            raise ValueError(f"max - min must be a multiple of q; got {low}, {high} and {q}")
        return Range(low, high, q, whole=whole and isinstance(q, int))
    if distribution == "log_uniform_values" and low <= 0:
        raise ValueError(f"min must be above 0 for log_uniform_values; got {low}")
    return Range(float(low), float(high), log=distribution == "log_uniform_values")


def size(parts: Space) -> float:
    """Number of combinations."""
    return math.prod(part.size for part in parts.values())


def combinations(parts: Space) -> Iterator[dict[str, Any]]:
    """All combinations, as Optuna names them, in the order of the file."""
    for points in itertools.product(*(part.points for part in parts.values())):
        yield dict(zip(parts, points, strict=True))


def options(parts: Space, points: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the options of a trial."""
    return {name: part.value(points[name]) for name, part in parts.items()}
