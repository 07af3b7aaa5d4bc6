"""Kinds of media that a container can hold."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Media:
    """A kind of media.

    Attributes:
        kind: what Hugging Face's `datasets` calls a column of it, `Image` or `Audio`.
        suffixes: of its files, in small letters.
        usual: suffix of what has no name.
    """

    kind: str
    suffixes: Collection[str]
    usual: str
