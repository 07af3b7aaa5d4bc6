"""Another tokenizer for a pretrained model: new embeddings start from those of the model's own tokens."""

from typing import Any

import torch
from torch import Tensor, nn

from modalities.text.tokenizer import BOS, EOS, MASK, PAD, Tokenizer


@torch.no_grad()
def adopt(model: Any, tokenizer: Tokenizer, own: Any | None) -> None:
    """Gives a `transformers` model one embedding for each token of the suite's tokenizer, in place.

    A token of the model keeps its embedding; a new one gets the mean embedding of the pieces that the model's own
    tokenizer splits it into (Gee et al. 2022, "Fast Vocabulary Transfer for Language Model Compression",
    section 2).

    Args:
        model: the model.
        tokenizer: the suite's tokenizer.
        own: the model's own tokenizer; None keeps the embeddings in their order.
    """
    old = [weight.clone() for weight in _tables(model)]
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    # Models freeze the embedding of their own padding token, whose row may belong to another token now.
    model.get_input_embeddings().padding_idx = None
    if own is None:
        return
    pieces = _pieces(tokenizer, own)
    for table, before in zip(_tables(model), old, strict=True):
        table.copy_(_means(before, pieces))


def _tables(model: Any) -> list[Tensor]:
    """Parameters with a row for each token: the embeddings, and the output layer where it is not tied to them."""
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    tables = [inputs.weight]
    if outputs is not None:
        tables += [outputs.weight] if outputs.weight is not inputs.weight else []
        tables += [outputs.bias] if getattr(outputs, "bias", None) is not None else []
    return tables


def _pieces(tokenizer: Tokenizer, own: Any) -> list[list[int]]:
    """For each token of the suite, the model's tokens that spell it; empty where there are none."""
    known = own.get_vocab()
    roles: dict[str | None, str | None] = {
        PAD: own.pad_token or own.eos_token,
        BOS: own.bos_token or own.cls_token,
        EOS: own.eos_token or own.sep_token,
        MASK: own.mask_token or own.unk_token,
    }
    names = [tokenizer.backend.id_to_token(token) for token in range(len(tokenizer))]
    names = [name if name in known else roles.get(name) for name in names]
    texts = tokenizer.backend.decode_batch([[token] for token in range(len(tokenizer))], skip_special_tokens=False)
    special = {PAD, BOS, EOS, MASK}  # never split into letters
    split = own(texts, add_special_tokens=False)["input_ids"]
    unreadable = "\N{REPLACEMENT CHARACTER}"  # part of a character
    return [
        [known[name]] if name in known else [] if text in special or unreadable in text else ids
        for name, text, ids in zip(names, texts, split, strict=True)
    ]


def _means(table: Tensor, pieces: list[list[int]]) -> Tensor:
    """Mean rows of a table [V, E] or [V]; the mean of all rows where there are no pieces."""
    rows = table.reshape(len(table), -1)
    counts = torch.tensor([len(ids) for ids in pieces])
    flat = torch.tensor([token for ids in pieces for token in ids], dtype=torch.int64)
    means = nn.functional.embedding_bag(flat, rows, counts.cumsum(0) - counts, mode="mean")
    return torch.where((counts == 0).unsqueeze(1), rows.mean(0), means).reshape(-1, *table.shape[1:])
