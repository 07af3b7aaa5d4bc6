"""Text <-> tokens: byte-level BPE trained on the data, or any pretrained tokenizer."""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor

from common.configurable import Configurable

PAD, BOS, EOS, MASK = "<pad>", "<s>", "</s>", "<mask>"


class Tokenizer(Configurable):
    """A Hugging Face tokenizer as plain JSON, so that checkpoints contain it.

    A sentence is its tokens followed by `eos` and padded with `pad`. Decoders start from `bos`; `mask` replaces a token
    hidden from the encoder or the decoder.

    Args:
        json: output of `tokenizers.Tokenizer.to_str`.
    """

    def __init__(self, json: str) -> None:
        self.json = json
        self.pad, self.bos, self.eos, self.mask = (self._special(name) for name in (PAD, BOS, EOS, MASK))

    @staticmethod
    def train(texts: Iterable[str], vocabulary: int = 4096) -> "Tokenizer":
        """Trains a byte-level BPE, which encodes every Unicode string without loss.

        Args:
            texts: texts of the training split.
            vocabulary: number of tokens, special ones and the 256 bytes included.

        Raises:
            ValueError: for fewer than 260 tokens.
        """
        in_range("vocabulary", vocabulary, 260, why="the 256 bytes and 4 special tokens")
        backend = Backend(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[PAD, BOS, EOS, MASK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(texts, trainer)
        return Tokenizer(backend.to_str())

    @classmethod
    def pretrained(cls, name: str | Path) -> Self:
        """The tokenizer of a pretrained model.

        Args:
            name: a folder, a `tokenizer.json`, or a name on the Hugging Face hub.

        Raises:
            ValueError: if there is none, or if it has no fast version.
        """
        path = Path(name)
        if path.suffix == ".json":
            if not path.is_file():
                raise ValueError(f"no tokenizer at {name}: give a folder, a tokenizer.json or a hub name")
            backend = Backend.from_file(str(path))
        else:
            backend = Backend.from_str(load_tokenizer(str(name)).backend_tokenizer.to_str())
        backend.no_padding()
        backend.no_truncation()
        backend.add_special_tokens([PAD, BOS, EOS, MASK])
        return cls(backend.to_str())

    @cached_property
    def backend(self) -> Backend:
        """The `tokenizers` object."""
        backend = Backend.from_str(self.json)
        backend.encode_special_tokens = True  # `</s>` spelled out in a text does not end it
        return backend

    def __len__(self) -> int:
        return self.backend.get_vocab_size()

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (self.json,)  # `tokenizers` does not pickle `encode_special_tokens`

    def __deepcopy__(self, memo: dict[int, object]) -> "Tokenizer":
        return self

    @property
    def special(self) -> list[int]:
        """Tokens that no sentence contains: all special ones but `eos`."""
        return [self.pad, self.bos, self.mask]

    def _special(self, name: str) -> int:
        position = self.backend.token_to_id(name)
        if position is None:
            raise ValueError(f"the tokenizer lacks the token {name}: make it with Tokenizer.train or .pretrained")
        return position

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text with `eos` at the end. Text that spells a special token stays ordinary text."""
        encoded = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [[*row.ids, self.eos] for row in encoded]

    def decode(self, tokens: Tensor) -> list[str]:
        """The text of each row [B, T], up to its first `eos`."""
        rows = []
        for row in tokens.tolist():
            end = row.index(self.eos) if self.eos in row else len(row)
            rows.append([token for token in row[:end] if token not in (self.pad, self.bos, self.mask)])
        return self.backend.decode_batch(rows, skip_special_tokens=False)

    def rows(self, texts: Sequence[str], length: int | None = None) -> Tensor:
        """Tokens of texts as one padded tensor [B, T].

        Args:
            texts: B texts.
            length: T; None takes the longest text's.

        Raises:
            ValueError: if a text is longer.
        """
        return pad_rows(self.encode(texts), self.pad, length)


def in_range(
    name: str, value: float | None, low: float, high: float = math.inf, above: bool = False, why: str = ""
) -> None:
    """Refuses a number out of its range; None passes.

    Args:
        name: the option, for the message.
        value: its value.
        low: least value.
        high: largest value.
        above: whether the value must lie above `low`.
        why: what the limit stands for, for the message.

    Raises:
        ValueError: naming the option, the range and the value.
    """
    if value is None or (math.isfinite(value) and low <= value <= high and not (above and value == low)):
        return
    limits = f"{'above' if above else 'at least'} {low:g}{f' ({why})' if why else ''}"
    limits += f" and at most {high:g}" if math.isfinite(high) else ""
    raise ValueError(f"{name} must be {limits}; got {value:g}")


def divisible(width: int, heads: int) -> None:
    """Refuses a width that attention heads cannot share.

    Raises:
        ValueError: naming both.
    """
    if width % heads:
        raise ValueError(f"width ({width}) must be a multiple of heads ({heads})")


def load_tokenizer(name: str) -> Any:
    """The `transformers` tokenizer of a pretrained model.

    Args:
        name: a folder, or a name on the Hugging Face hub.

    Raises:
        ValueError: if there is none, or if it has no fast version.
    """
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(f"no tokenizer at {name}: give a folder, a tokenizer.json or a hub name ({error})") from error
    if getattr(loaded, "backend_tokenizer", None) is None:
        raise ValueError(f"the tokenizer of {name} has no fast version, which the suite needs")
    # For a folder without a tokenizer, transformers returns one that has special tokens alone.
    if len(loaded) <= len(loaded.all_special_tokens):
        raise ValueError(f"no tokenizer at {name}: give a folder, a tokenizer.json or a hub name")
    return loaded


def pad_rows(rows: Sequence[Sequence[int]], pad: int, length: int | None = None) -> Tensor:
    """Rows of different lengths as one tensor [B, T], padded with `pad`.

    Raises:
        ValueError: if a row is longer than `length`.
    """
    sizes = torch.tensor([len(row) for row in rows])
    longest = int(sizes.max()) if len(rows) else 0
    length = longest if length is None else length
    if longest > length:
        raise ValueError(f"a text of {longest} tokens does not fit into {length}; shorten it")
    result = torch.full((len(rows), length), pad, dtype=torch.int32)
    result[torch.arange(length) < sizes.unsqueeze(1)] = torch.tensor(
        [token for row in rows for token in row], dtype=torch.int32
    )
    return result


def trimmed(tokens: Tensor, pad: int) -> Tensor:
    """Rows [B, T] cut to the longest of them, which keeps at least one token; as they are in a compiled program."""
    if torch.compiler.is_compiling():  # whose shapes depend on no value
        return tokens
    return tokens[:, : max(1, int((tokens != pad).sum(1).max()))]
