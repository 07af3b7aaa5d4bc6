"""The parts of a model as modules of plain tensors: what is exported, and the inputs that it is traced with.

Shapes: B examples, D latent units, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import MixtureSameFamily

from common.conditions.attributes import OBSERVED, Categorical, Continuous, Fields
from common.conditions.condition import Condition
from common.distributions.noise import prior_sample
from common.model.abilities import WritesTokens
from common.model.generation import Generation
from common.seeding import seeded

WORDS = ("a", "two words", "and three words")  # texts to trace with, where a condition has some


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Attributes:
        name: of its files.
        module: from its tensors and the raw fields of the condition, by name, to `outputs`.
        inputs: names of its tensors.
        outputs: names of what it returns.
        does: what it computes, in words.
    """

    name: str
    module: "_Part"
    inputs: Sequence[str]
    outputs: Sequence[str]
    does: str

    @property
    def fields(self) -> list[str]:
        """Names of the raw fields of the condition, in their order."""
        return self.module.model.condition.field_names


class _Part(nn.Module):
    """Base of the modules, which read the condition as raw fields, each [B, ...]."""

    def __init__(self, model: Generation) -> None:
        super().__init__()
        self.model = model

    def condition(self, fields: Fields, size: int) -> Condition:
        embedded: Condition = self.model.condition(fields)
        return embedded.expand(size)


class Encoder(_Part):
    """Mean and scale of q(z | x, c), each [B, D]."""

    def forward(self, x: Tensor, fields: Fields) -> tuple[Tensor, Tensor]:
        """From x [B, ...], NaN where a value of a table is not known."""
        base: Any = self.model.encode(x, self.condition(fields, len(x))).base_dist
        return base.loc, base.scale


class Prior(_Part):
    """A sample of p(z | c), [B, D]."""

    def forward(self, noise: Tensor, fields: Fields) -> Tensor:
        """From standard normal noise [B, D]."""
        c = self.condition(fields, len(noise))
        return prior_sample(self.model.prior(c), noise, noise[:, 0])


class MixturePrior(_Part):
    """A sample of a mixture p(z | c), [B, D]."""

    def forward(self, noise: Tensor, choice: Tensor, fields: Fields) -> Tensor:
        """From standard normal noise [B, D], and standard normal numbers [B] that choose the components."""
        return prior_sample(self.model.prior(self.condition(fields, len(noise))), noise, choice)


class Decoder(_Part):
    """The mean of p(x | z, c), [B, ...]; the likeliest code of a discrete column."""

    def forward(self, z: Tensor, fields: Fields) -> Tensor:
        """From z [B, D]."""
        return self.model.decode(z, self.condition(fields, len(z))).mean


class TokenStep(_Part):
    """Log-probabilities of the next token, [B, V]."""

    def forward(self, tokens: Tensor, z: Tensor, fields: Fields) -> Tensor:
        """From the tokens so far [B, T], the first of which begins a sentence, and z [B, D]."""
        model: Any = self.model
        return model.next_token(tokens, z, self.condition(fields, len(z)))


def parts(model: Generation) -> list[Part]:
    """Encoder, prior and decoder of a model."""
    with torch.no_grad():
        mixture = isinstance(model.prior(model.condition(_attributes(model, 1, torch.Generator()))), MixtureSameFamily)
    found = [Part("encoder", Encoder(model), ("x",), ("mean", "scale"), "mean and scale of q(z | x, c)")]
    if mixture:
        does = "z ~ p(z | c) from standard normal noise, and from standard normal numbers that choose components"
        found.append(Part("prior", MixturePrior(model), ("noise", "choice"), ("z",), does))
    else:
        found.append(Part("prior", Prior(model), ("noise",), ("z",), "z ~ p(z | c) from standard normal noise"))
    if isinstance(model, WritesTokens):
        does = "log-probabilities of the token after those so far, the first of which begins a sentence"
        return [*found, Part("decoder", TokenStep(model), ("tokens", "z"), ("log_probabilities",), does)]
    return [*found, Part("decoder", Decoder(model), ("z",), ("x",), "the mean of p(x | z, c)")]


@dataclass(frozen=True)
class Example:
    """Inputs of all parts for some examples: what they are traced with, and compared on.

    Attributes:
        tensors: x, z, noise, choice and tokens by name, each [B, ...].
        fields: the raw fields of the condition by name, each [B, ...].
    """

    tensors: Mapping[str, Tensor]
    fields: Fields

    def of(self, part: Part) -> tuple[Any, ...]:
        """The arguments of a part."""
        return (*(self.tensors[name] for name in part.inputs), self.fields)


def example(model: Generation, size: int, seed: int = 0) -> Example:
    """Random inputs for `size` examples: conditions that the model knows, and x as it draws them.

    Sentences have as many tokens, `size`.
    """
    generator = torch.Generator().manual_seed(seed)
    fields = _attributes(model, size, generator)
    with seeded(seed):
        x = model.sample(fields, 1 if fields else size).flatten(0, 1)
    noise = torch.randn(size, model.latent_prior.size, generator=generator)
    tensors = {"noise": noise, "z": noise, "choice": torch.randn(size, generator=generator)}
    if isinstance(model, WritesTokens):
        x = x[:, : size + 1].long()
        tensors["tokens"] = torch.cat([model.first_tokens(size), x[:, : size - 1]], dim=1)
    hidden = torch.rand(x.shape, generator=generator) < 0.3
    reads_nan = model.missing_value != model.missing_value
    tensors["x"] = x.masked_fill(hidden, torch.nan) if reads_nan else x
    for name in model.condition.field_names:
        if name == OBSERVED:
            fields[name] = x.masked_fill(hidden, torch.nan)
        elif name not in fields:
            fields[name] = _words(model, name, size)
    return Example(tensors, {name: fields[name] for name in model.condition.field_names})


def _attributes(model: Generation, size: int, generator: torch.Generator) -> Fields:
    """Random categories and numbers of `size` examples."""
    fields: Fields = {}
    for name, attribute in model.condition.attributes.items():
        if isinstance(attribute, Categorical):
            fields[name] = torch.randint(len(attribute.values), (size,), generator=generator)
        elif isinstance(attribute, Continuous):
            fields[name] = attribute.mean + attribute.std * torch.randn(size, generator=generator)
    return fields


def _words(model: Generation, name: str, size: int) -> Tensor:
    """A field of texts, such as a description."""
    return model.condition.parse({name: [WORDS[number % len(WORDS)] for number in range(size)]})[name]
