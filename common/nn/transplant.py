"""Weights of one network in another one: what has a place is copied, what has none stays as it was initialised."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Adapts(Protocol):
    """A module some of whose weights belong to names (categories, columns) and are found by these."""

    def adapted(self, old: Self) -> dict[str, Tensor]:
        """Some of this module's weights by their names in it, with the values of an older module of its class."""


@dataclass
class Transplant:
    """What became of the weights.

    Attributes:
        copied: names of the weights that were copied as they are.
        resized: names of those of which a part was copied, with both shapes.
        fresh: names of those that stay as they were initialised, with the reason.
        unused: names of old weights that have no place.
    """

    copied: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{len(self.copied)} weights loaded as they are"]
        for title, names in (("in part", self.resized), ("fresh", self.fresh), ("not used", self.unused)):
            lines += [f"  {title}: {name}" for name in names]
        return "\n".join(lines)


@torch.no_grad()
def transplant(new: nn.Module, old: nn.Module) -> Transplant:
    """Copies the weights of `old` into `new`, by name; modules that adapt themselves find theirs by category.

    A weight whose shape has changed stays fresh, but for the rows of an embedding that both have (positions).
    """
    result = Transplant()
    _walk(new, old, "", result)
    present = new.state_dict().keys()
    result.unused = [name for name in old.state_dict() if name not in present]
    return result


def _walk(new: nn.Module, old: nn.Module | None, prefix: str, result: Transplant) -> None:
    adapted: dict[str, Tensor] = {}
    if isinstance(new, Adapts) and type(old) is type(new):
        adapted = new.adapted(old)
        own = new.state_dict(keep_vars=True)
        before = {} if old is None else old.state_dict()
        for name, value in adapted.items():
            # A module's place may have changed with the order of the names.
            if any(torch.equal(other, value) for other in before.values() if other.shape == value.shape):
                result.copied.append(prefix + name)
            elif torch.equal(own[name], value):
                result.fresh.append(f"{prefix}{name} {_shape(value)}: the checkpoint has nothing for it")
            else:
                shape = f" of {_shape(before[name])}" if name in before else ""
                result.resized.append(f"{prefix}{name} {_shape(value)}{shape}")
            own[name].copy_(value)
    _walk_rest(new, old, prefix, "", adapted.keys(), result)


def _walk_rest(
    new: nn.Module, old: nn.Module | None, prefix: str, inner: str, done: Collection[str], result: Transplant
) -> None:
    """The weights of a module and its children that are not among those that it has adapted itself."""
    theirs = {} if old is None else dict(old.named_parameters(recurse=False)) | dict(old.named_buffers(recurse=False))
    stored = new.state_dict().keys()
    for name, value in [*new.named_parameters(recurse=False), *new.named_buffers(recurse=False)]:
        if inner + name in done or name not in stored:
            continue
        source = theirs.get(name)
        if source is not None and source.shape == value.shape:
            value.copy_(source)
            result.copied.append(prefix + name)
        elif source is not None and isinstance(new, nn.Embedding) and source.shape[1:] == value.shape[1:]:
            rows = min(len(source), len(value))
            value[:rows] = source[:rows]
            result.resized.append(f"{prefix}{name} {_shape(value)} of {_shape(source)}: the first {rows} rows")
        else:
            why = "the checkpoint has none" if source is None else f"the checkpoint's is {_shape(source)}"
            result.fresh.append(f"{prefix}{name} {_shape(value)}: {why}")
    children = {} if old is None else dict(old.named_children())
    for name, child in new.named_children():
        other = children.get(name)
        within = f"{inner}{name}."
        if any(entry.startswith(within) for entry in done):
            _walk_rest(child, other, f"{prefix}{name}.", within, done, result)
        else:
            _walk(child, other, f"{prefix}{name}.", result)


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "1"


def taken(new: Tensor, old: Tensor, places: Mapping[int, int], dim: int = 0) -> Tensor:
    """A copy of `new` with entries of `old` along a dimension.

    Args:
        new: the fresh weight.
        old: the older one, equal to it in the other dimensions; where it is not, `new` stays as it is.
        places: position in `new` -> position in `old`.
        dim: the dimension.
    """
    result = new.detach().clone()
    rest = [size for axis, size in enumerate(new.shape) if axis != dim % new.dim()]
    if rest == [size for axis, size in enumerate(old.shape) if axis != dim % old.dim()] and places:
        rows = torch.tensor(list(places), device=new.device)
        result.index_copy_(dim, rows, old.detach().index_select(dim, torch.tensor(list(places.values()))).to(result))
    return result
