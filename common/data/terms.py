"""Data in a checkpoint's terms: categories, fields and statistics are those that a model was trained with, by name."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Continuous
from common.data.examples import Examples

TRAIN = "; a new training can start from its weights: fit --weights CKPT"


@dataclass(frozen=True)
class Terms:
    """What a model knows of its data.

    Attributes:
        learned: what its DataModule learned from the training data, by name: `attributes`, and what the modality adds.
        used: names of the conditions that the model reads.
        extend: whether further conditions and categories are added to the known ones, for a training that starts from
            the checkpoint's weights; otherwise categories that it does not know are refused.
    """

    learned: Mapping[str, Any]
    used: Sequence[str] = ()
    extend: bool = False

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The condition fields of the model's data."""
        return dict(self.learned["attributes"])

    def applied(self, examples: Examples) -> tuple[Examples, list[str]]:
        """The examples with the fields and attributes of these terms, and what was left out or added, in sentences.

        Raises:
            ValueError: for a condition that the data lacks, a category that the model does not know (the message lists
                the names on both sides), or examples of another shape.
        """
        shape, found = self.learned.get("shape"), tuple(examples.x.shape[1:])
        if shape is not None and tuple(shape) != found and not self.extend:
            raise ValueError(f"an example has the shape {found}, the checkpoint's model reads {tuple(shape)}{TRAIN}")
        known, present = self.attributes, examples.attributes
        others = {name: field for name, field in examples.fields.items() if name not in present}
        fields, attributes, notes = {}, {}, []
        for name, attribute in known.items():
            if name in present:
                field, attribute = _translated(name, examples.fields[name], present[name], attribute, self.extend)
                fields[name], attributes[name] = field, attribute
            elif name in self.used and not self.extend:
                raise ValueError(
                    f"the data has no condition {name}, which the checkpoint's model reads; the data has: "
                    f"{', '.join(present) or 'none'}; the model knows: {', '.join(known)}. Say which one it is with "
                    f"--data.map OTHER={name}"
                )
        further = [name for name in present if name not in known]
        if further and self.extend:
            fields |= {name: examples.fields[name] for name in further}
            attributes |= {name: present[name] for name in further}
            notes.append(f"conditions that the checkpoint does not know: {', '.join(further)}")
        elif further:
            notes.append(f"left out conditions that the checkpoint does not know: {', '.join(further)}")
        return replace(examples, fields=fields | others, attributes=attributes), notes


def _translated(name: str, field: Tensor, own: Attribute, known: Attribute, extend: bool) -> tuple[Tensor, Attribute]:
    """A field in the terms of a known attribute, and that attribute, with further categories where they are added."""
    if isinstance(known, Continuous):
        return (field if isinstance(own, Continuous) else _as_numbers(name, field, own)), known
    assert isinstance(known, Categorical)
    if not isinstance(own, Categorical):
        own, field = _as_categories(field)
    own = _spelt_as_known(own, known)
    unknown = [value for value in own.values if value not in known.values]
    if unknown and not extend:
        raise ValueError(
            f"condition {name}: the checkpoint's model does not know {', '.join(unknown)}; it knows: "
            f"{', '.join(known.values)}; the data has: {', '.join(own.values)}. Say which is which with --data.map "
            f"{unknown[0]}={_closest(unknown[0], known.values)} (several: '[a=b,c=d]'){TRAIN}"
        )
    extended = Categorical([*known.values, *unknown], known.untrained)
    positions = torch.tensor([*(extended.values.index(value) for value in own.values), -1])
    return positions[field.long()], extended  # -1, a missing category, indexes the last position


def _spelt_as_known(own: Categorical, known: Categorical) -> Categorical:
    """The categories, those that differ from a known one in capital letters alone under its name."""
    spellings = {value.lower(): value for value in known.values}
    values = [v if v in known.values else spellings.get(v.lower(), v) for v in own.values]
    if len(spellings) < len(known.values) or len(set(values)) < len(values):
        return own
    return Categorical(values)


def _closest(name: str, known: Sequence[str]) -> str:
    return (difflib.get_close_matches(name, known, n=1, cutoff=0.0) or list(known))[0]


def _as_numbers(name: str, field: Tensor, own: Attribute) -> Tensor:
    """Categories whose names are numbers as these numbers; NaN where missing."""
    assert isinstance(own, Categorical)
    try:
        numbers = [float(value) for value in own.values]
    except ValueError:
        raise ValueError(
            f"condition {name} is a number for the checkpoint's model; the data has the names {', '.join(own.values)}"
        ) from None
    return torch.tensor([*numbers, float("nan")])[field.long()]


def _as_categories(field: Tensor) -> tuple[Categorical, Tensor]:
    """Numbers as categories with their texts as names."""
    values, positions = field[~field.isnan()].unique(return_inverse=True)
    result = torch.full(field.shape, -1)
    result[~field.isnan()] = positions
    return Categorical([f"{value:.10g}" for value in values.tolist()]), result


def renamed(examples: Examples, names: Mapping[str, str]) -> Examples:
    """The examples with other names of conditions and of categories; categories that get one name become one.

    Args:
        examples: the data.
        names: new name by old name, of a condition or of a category (`cat`), the latter also as `condition:cat` where
            several conditions have it.

    Raises:
        ValueError: for a name that is neither a condition nor a category of the data.
    """
    attributes, fields = {}, dict(examples.fields)
    used: set[str] = set()
    for name, attribute in examples.attributes.items():
        field = fields.pop(name)
        if isinstance(attribute, Categorical):
            keys = [f"{name}:{value}" if f"{name}:{value}" in names else value for value in attribute.values]
            used |= {key for key in keys if key in names}
            new = [names.get(key, value) for key, value in zip(keys, attribute.values, strict=True)]
            values = list(dict.fromkeys(new))
            positions = torch.tensor([*(values.index(value) for value in new), -1])
            attribute, field = Categorical(values), positions[field.long()]
        used |= {name} & names.keys()
        target = names.get(name, name)
        if target in attributes:
            raise ValueError(f"data.map gives two conditions the name {target}")
        attributes[target], fields[target] = attribute, field
    unknown = [name for name in names if name not in used]
    if unknown:
        known = [
            f"{name} ({', '.join(attribute.values)})" if isinstance(attribute, Categorical) else name
            for name, attribute in examples.attributes.items()
        ]
        raise ValueError(f"data.map: no condition or category is called {unknown[0]}; there are: {'; '.join(known)}")
    return replace(examples, fields=fields, attributes=attributes)


def name_map(pairs: Sequence[str] | str | None) -> dict[str, str]:
    """New names by old names from texts `old=new`.

    Raises:
        ValueError: for a text without an equals sign, or an old name twice.
    """
    result: dict[str, str] = {}
    for pair in [pairs] if isinstance(pairs, str) else pairs or []:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise ValueError(f"data.map is written old=new; got {pair!r}")
        if old in result:
            raise ValueError(f"data.map gives {old} two names: {result[old]} and {new}")
        result[old] = new
    return result
