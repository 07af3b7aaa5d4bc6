"""Architectures of text models: their interface, and compact transformers trained from scratch."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from common.configurable import Configurable
from modalities.text.networks.compact import TextDecoder, TextEncoder
from modalities.text.tokenizer import Tokenizer, divisible, in_range


@dataclass(frozen=True)
class DecoderSizes:
    """Sizes that a decoder has to match.

    Attributes:
        length: longest sentence in tokens.
        vectors: latent vectors of a sentence.
        vector_dim: size of one latent vector.
        condition_dim: size of the condition's vector.
        source_dim: width of a source sentence's states; 0 without one.
    """

    length: int
    vectors: int
    vector_dim: int
    condition_dim: int
    source_dim: int


@dataclass(frozen=True)
class Architecture(Configurable):
    """Base of the architectures."""

    def encoder(self, tokenizer: Tokenizer, length: int, condition_dim: int) -> nn.Module:
        """A module (tokens [N, T], c [N, C]) -> states [N, T, E], with E as `width` and embeddings as `table`."""
        raise NotImplementedError

    def decoder(self, tokenizer: Tokenizer, sizes: DecoderSizes) -> nn.Module:
        """A `modalities.text.likelihood.Decoder`: a module with `length`, `context`, `forward` and `score`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Compact(Architecture):
    """Pre-norm transformers trained from scratch.

    Attributes:
        width: width of their states.
        heads: attention heads.
        encoder_layers: blocks of the encoder.
        decoder_layers: blocks of the decoder.
        dropout: dropout rate of embeddings and residual paths.
        inject: how latent and condition enter the decoder: as a prefix of keys and values in every layer, by addition
            to every token's embedding, or both.
        copy: with a source sentence, adds a gate that copies its tokens.
        copy_latent: adds a gate that copies words predicted from the latent vectors; it needs the model's `stride`.
        latent_layers: blocks in front of the decoder in which the latent vectors attend to each other; 0 is none.
    """

    width: int = 160
    heads: int = 4
    encoder_layers: int = 2
    decoder_layers: int = 2
    dropout: float = 0.1
    inject: Literal["prefix", "addition", "both"] = "prefix"
    copy: bool = True
    copy_latent: bool = False
    latent_layers: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "heads", "encoder_layers", "decoder_layers"):
            in_range(f"architecture.{name}", getattr(self, name), 1)
        in_range("architecture.dropout", self.dropout, 0, 1)
        in_range("architecture.latent_layers", self.latent_layers, 0)
        divisible(self.width, self.heads)

    def encoder(self, tokenizer: Tokenizer, length: int, condition_dim: int) -> TextEncoder:
        """A bidirectional transformer."""
        return TextEncoder(
            len(tokenizer), length, tokenizer.pad, self.width, self.heads, self.encoder_layers, self.dropout,
            condition_dim,
        )  # fmt: skip

    def decoder(self, tokenizer: Tokenizer, sizes: DecoderSizes) -> TextDecoder:
        """A causal transformer."""
        return TextDecoder(
            vocabulary=len(tokenizer),
            length=sizes.length,
            bos=tokenizer.bos,
            pad=tokenizer.pad,
            width=self.width,
            heads=self.heads,
            layers=self.decoder_layers,
            vectors=sizes.vectors,
            vector_dim=sizes.vector_dim,
            condition_dim=sizes.condition_dim,
            dropout=self.dropout,
            inject=self.inject,
            source_dim=sizes.source_dim,
            copy=self.copy and sizes.source_dim > 0,
            copy_latent=self.copy_latent,
            latent_layers=self.latent_layers,
            special=tokenizer.special,
        )
