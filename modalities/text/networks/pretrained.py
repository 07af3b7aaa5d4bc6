"""Pretrained networks of a text model: an encoder such as BERT, a decoder such as GPT-2.

Shapes: N rows, T tokens, S source tokens, P prefix slots, M latent vectors, H key-value heads, L layers, V vocabulary.
"""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor, nn

from common.conditions.condition import Source
from modalities.text.networks.architectures import Architecture, DecoderSizes
from modalities.text.networks.checkpointing import Checkpointed
from modalities.text.networks.compact import no_probability
from modalities.text.networks.context import DecoderContext, KeyValue, KeyValueCache, tile
from modalities.text.networks.copying import Words
from modalities.text.networks.vocabulary import adopt
from modalities.text.tokenizer import Tokenizer, load_tokenizer

TOKENIZER_FILES = ("tokenizer*", "vocab*", "merges*", "*.model", "*.tiktoken")


@dataclass(frozen=True)
class Pretrained(Architecture):
    """Hugging Face models (Li et al. 2020, "OPTIMUS", section 3), whose embeddings are fitted to the suite's tokenizer.

    Each model's own tokenizer lies beside it, or in its place on the hub: it tells which embedding is whose.
    A checkpoint holds configurations and weights: it rebuilds the model without access to folder or hub.

    Attributes:
        encoder_model: folder or hub name of an encoder (`AutoModel`).
        decoder_model: folder or hub name of a causal language model (`AutoModelForCausalLM`).
        weights: false takes the configurations alone, with random weights.
        freeze: trains only the layers added to the pretrained models.
        encoder_config: filled in by checkpoints, to build the encoder without `encoder_model`.
        decoder_config: filled in by checkpoints, to build the decoder without `decoder_model`.
    """

    encoder_model: str
    decoder_model: str
    weights: bool = True
    freeze: bool = False
    encoder_config: dict[str, Any] | None = None
    decoder_config: dict[str, Any] | None = None

    def encoder(self, tokenizer: Tokenizer, length: int, condition_dim: int) -> "PretrainedEncoder":
        """The encoder.

        Raises:
            ValueError: if it or its tokenizer cannot be loaded, it is no encoder, or too short for `length` tokens.
        """
        model = self._load("encoder", tokenizer)
        if model.config.is_encoder_decoder:
            raise ValueError(f"{self.encoder_model} is an encoder with a decoder: give an encoder alone, such as BERT")
        _check_length(self.encoder_model, model, length + 1)
        if getattr(model, "pooler", None) is not None:
            model.pooler = None  # unused: distributed training refuses parameters without a gradient
        return PretrainedEncoder(model, tokenizer.pad, condition_dim)

    def decoder(self, tokenizer: Tokenizer, sizes: DecoderSizes) -> "PretrainedDecoder":
        """The decoder.

        Raises:
            ValueError: if it or its tokenizer cannot be loaded, it is too short for `length` tokens, or it takes no
                explicit positions.
        """
        model = self._load("decoder", tokenizer)
        _check_length(self.decoder_model, model, sizes.length)
        if "position_ids" not in inspect.signature(model.forward).parameters:
            raise ValueError(
                f"{self.decoder_model} takes no explicit positions, so that a prefix would shift them: give another "
                "decoder, such as GPT-2 or Llama"
            )
        return PretrainedDecoder(model, tokenizer, sizes)

    def _load(self, part: str, tokenizer: Tokenizer) -> Any:
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

        name, stored = getattr(self, f"{part}_model"), getattr(self, f"{part}_config")
        factory: Any = AutoModel if part == "encoder" else AutoModelForCausalLM
        float32 = {"dtype": torch.float32}  # instead of the dtype of the file
        if stored is not None:
            model = factory.from_config(AutoConfig.for_model(**stored), **float32)
        else:
            try:
                config = AutoConfig.from_pretrained(name)
                if part == "decoder":
                    config.is_decoder = True  # encoders such as BERT are causal only then
                plain = json.loads(config.to_json_string(use_diff=False))
                if self.weights:
                    model = factory.from_pretrained(name, config=config, **float32)
                else:
                    model = factory.from_config(config, **float32)
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"{part}_model {name} cannot be loaded: give a folder written by save_pretrained, or a name on the "
                    f"Hugging Face hub ({error})"
                ) from error
            # Recorded for checkpoints only: another model of this architecture starts from the pretrained weights too.
            self.__dict__["_init_args"][f"{part}_config"] = plain
        adopt(model, tokenizer, _own_tokenizer(name, model, tokenizer) if stored is None and self.weights else None)
        return model.train().requires_grad_(not self.freeze)


def _own_tokenizer(name: str, model: Any, tokenizer: Tokenizer) -> Any | None:
    """A model's own tokenizer; None for a folder without one, whose embeddings are then those of the suite's tokenizer.

    Raises:
        ValueError: if the tokenizer cannot be loaded, or a folder without one has embeddings of another vocabulary.
    """
    folder = Path(name)
    if not folder.is_dir() or any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
        return load_tokenizer(name)
    size = model.get_input_embeddings().num_embeddings
    if size != len(tokenizer):
        raise ValueError(
            f"{name} holds no tokenizer, and its {size} embeddings are not those of the {len(tokenizer)} tokens of the "
            "data: save the model's own tokenizer beside it"
        )
    rank_zero_warn(
        f"{name} holds no tokenizer: its embeddings are taken for those of the data's tokenizer, in their order",
        category=UserWarning,
    )
    return None


def _check_length(name: str, model: Any, length: int) -> None:
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and longest < length:
        raise ValueError(f"{name} has {longest} positions, {length} are needed: shorten `length` or give another model")


class PretrainedEncoder(Checkpointed):
    """A pretrained encoder: tokens [N, T] -> states [N, T, E]; the condition is prepended as one more position.

    Args:
        model: a `transformers` encoder.
        pad: padding token.
        condition_dim: C, the size of the condition; 0 is none.
    """

    def __init__(self, model: Any, pad: int, condition_dim: int) -> None:
        super().__init__()
        self.model, self.pad = model, pad
        self.width: int = model.config.get_text_config().hidden_size
        self.condition = None
        if condition_dim:
            self.condition = nn.Linear(condition_dim, model.get_input_embeddings().embedding_dim)

    def checkpoint(self) -> None:
        """Turns it on in the pretrained model's layers. A decoder's cannot: they would forget the keys of z."""
        super().checkpoint()
        # Older versions of transformers know the second name alone.
        enable = getattr(self.model, "activation_checkpointing_enable", self.model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
        self.model.disable_input_require_grads()  # which only the reentrant kind needs

    @property
    def table(self) -> Tensor:
        """Embeddings of all tokens, [V, E]."""
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    def forward(self, tokens: Tensor, c: Tensor | None = None) -> Tensor:
        """States of tokens [N, T] under a condition [N, C]; those of padding are meaningless."""
        h = self.model.get_input_embeddings()(tokens)
        real = tokens != self.pad
        if self.condition is not None and c is not None:
            h = torch.cat([self.condition(c).unsqueeze(1), h], dim=1)
            real = nn.functional.pad(real, (1, 0), value=True)
        states: Tensor = self.model(inputs_embeds=h, attention_mask=real.long()).last_hidden_state
        return states[:, -tokens.shape[1] :]


class PretrainedDecoder(nn.Module):
    """A pretrained causal language model: log-probabilities of each next token.

    The M latent vectors, the condition and the states of a source sentence become keys and values in every layer, in
    front of those of the tokens (prefix tuning: Li and Liang 2021, section 4.2; for VAEs: OPTIMUS, "memory").

    Args:
        model: a causal `transformers` language model.
        tokenizer: the suite's tokenizer.
        sizes: sizes that it has to match.
    """

    barrier: Tensor

    def __init__(self, model: Any, tokenizer: Tokenizer, sizes: DecoderSizes) -> None:
        super().__init__()
        config = model.config.get_text_config(decoder=True)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.model, self.pad, self.length = model, tokenizer.pad, sizes.length
        self.register_buffer("barrier", no_probability(tokenizer.special, config.vocab_size), persistent=False)
        self.shape = (config.num_hidden_layers, 2, heads, head_dim)
        outputs = torch.Size(self.shape).numel()
        self.latent_prefix = nn.Linear(sizes.vector_dim, outputs)
        self.slots = nn.Parameter(0.02 * torch.randn(sizes.vectors, outputs))
        self.condition_prefix = nn.Linear(sizes.condition_dim, outputs)
        self.source_prefix = nn.Linear(sizes.source_dim, outputs) if sizes.source_dim else None

    def context(
        self,
        z: Tensor | None,
        c: Tensor,
        source: Source | None = None,
        words: Words | None = None,
    ) -> DecoderContext:
        """Everything the decoder knows before the first token; arguments as in `TextDecoder.context`, words unused."""
        slots = self.condition_prefix(c).unsqueeze(1)
        if z is not None:
            slots = torch.cat([slots, self.latent_prefix(z) + self.slots], dim=1)
        context = DecoderContext(self._split(slots))
        if self.source_prefix is not None and source is not None:
            pairs = self._split(self.source_prefix(source.states))
            context.source = [(tile(keys, len(c)), tile(values, len(c))) for keys, values in pairs]
            context.source_tokens = tile(source.tokens, len(c))
        return context

    def _split(self, slots: Tensor) -> list[KeyValue]:
        """[N, P, L * 2 * H * head_dim] -> keys and values [N, H, P, head_dim] of each layer."""
        keys_values = slots.unflatten(-1, self.shape).permute(2, 3, 0, 4, 1, 5)
        return [(keys, values) for keys, values in keys_values]

    def forward(self, tokens: Tensor, context: DecoderContext, cache: KeyValueCache | None = None) -> Tensor:
        """Log-probabilities [N, T, V] of the token that follows each of `tokens` [N, T], float32.

        With a cache, `tokens` are those that follow the cached ones.
        """
        from transformers import DynamicCache

        count, steps = tokens.shape
        past: Any = DynamicCache()
        for layer, pair in enumerate(context.prefix):
            pairs = [pair]
            if context.source:
                pairs.insert(0, context.source[layer])
            if cache is not None and cache.length:
                pairs.append(cache.layers[layer])
            keys, values = zip(*pairs, strict=True)
            past.update(torch.cat(keys, 2), torch.cat(values, 2), layer)
        start = cache.length if cache is not None else 0
        visible = torch.ones(count, past.get_seq_length() + steps, dtype=torch.long, device=tokens.device)
        if context.source_tokens is not None:
            visible[:, : context.source_tokens.shape[1]] = context.source_tokens != self.pad
        # The prefix has no positions of its own: the tokens' positions start from 0.
        positions = torch.arange(start, start + steps, device=tokens.device).expand(count, -1)
        output = self.model(
            input_ids=tokens, past_key_values=past, attention_mask=visible, position_ids=positions, use_cache=True
        )
        if cache is not None:
            for layer, filled in enumerate(past.layers):
                cache.extend(layer, filled.keys[:, :, -steps:], filled.values[:, :, -steps:])
            cache.length += steps
        return torch.log_softmax(output.logits.float() + self.barrier, dim=-1)

    def score(self, tokens: Tensor, target: Tensor, context: DecoderContext) -> Tensor:
        """Log-probabilities [N, T] of `target` [N, T], each given the tokens [N, T] up to its position."""
        return self(tokens, context).gather(-1, target.unsqueeze(-1)).squeeze(-1)
