"""Small tokenizers and decoders that several tests of text share."""

import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from common.conditions.condition import Source
from modalities.text.likelihood import TokenSequence
from modalities.text.networks.compact import TextDecoder, no_probability
from modalities.text.networks.copying import Words
from modalities.text.tokenizer import BOS, EOS, MASK, PAD, Tokenizer


def word_tokenizer(*words):
    """One token a word, after the four special ones."""
    names = [PAD, BOS, EOS, MASK, *words]
    backend = Backend(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token=MASK))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens([PAD, BOS, EOS, MASK])
    return Tokenizer(backend.to_str())


WORDS = "words"  # in place of a source sentence: the words that the latent's vectors stand for


def random_decoder(tokenizer, length, inject="prefix", source=False, spread=0.5, latent_layers=0):
    """A decoder far from uniform: two latent vectors of three units; it may copy from a source, or from WORDS."""
    decoder = TextDecoder(
        len(tokenizer), length, tokenizer.bos, tokenizer.pad, width=8, heads=2, layers=2, vectors=2, vector_dim=3,
        condition_dim=4, inject=inject, source_dim=5 if source is True else 0, copy=source is True,
        copy_latent=source == WORDS, latent_layers=latent_layers, special=tokenizer.special,
    )  # fmt: skip
    for weight in decoder.parameters():
        torch.nn.init.normal_(weight, std=spread)
    return decoder.eval().requires_grad_(False)


def random_sources(tokenizer, rows):
    """Source sentences of at most three words; the last row has none."""
    tokens = torch.randint(4, len(tokenizer), (rows, 3))
    tokens[0, 2] = tokenizer.pad
    tokens[-1] = tokenizer.pad
    return Source(torch.randn(rows, 3, 5) * (tokens != tokenizer.pad).unsqueeze(-1), tokens)


def random_context(decoder, tokenizer, rows):
    """Random latents and conditions, with source sentences where the decoder reads them."""
    given = random_sources(tokenizer, rows) if decoder.copy is not None else None
    barrier = no_probability(tokenizer.special, len(tokenizer))
    words = Words(torch.randn(rows, 2, 8), torch.randn(len(tokenizer), 8), barrier)
    return decoder.context(torch.randn(rows, 2, 3), torch.randn(rows, 4), given, words)


def random_sentences(tokenizer, rows=3, length=5, inject="prefix", source=False, spread=0.5):
    """A `TokenSequence` of some rows."""
    decoder = random_decoder(tokenizer, length, inject, source, spread)
    return TokenSequence(decoder, random_context(decoder, tokenizer, rows), (rows,), tokenizer)
