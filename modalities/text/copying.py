"""The copy gate: a decoder may repeat tokens of the source sentence."""

import torch
from torch import Tensor, nn


class CopyGate(nn.Module):
    """p = (1 - g) p_vocabulary + g p_copy: a mixture with the source's own tokens under attention.

    Source: See, Liu and Manning 2017, "Get To The Point", equations 8 and 9.

    Args:
        width: E.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, 1)
        self.query = nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -1.0)

    def forward(self, log_p: Tensor, h: Tensor, keys: Tensor, source_tokens: Tensor, pad: int) -> Tensor:
        """Log-probabilities [N, T, V] of the mixture, from states h [N, T, E] and source keys [N, H, S, E / H]."""
        attention, keep, take = self._weigh(h, keys, source_tokens, pad)
        places = source_tokens.long().unsqueeze(1).expand_as(attention)
        copied = torch.zeros_like(log_p).scatter_add_(2, places, attention)
        return torch.logaddexp(log_p + keep, copied.clamp_min(1e-12).log() + take)

    def score(self, log_p: Tensor, target: Tensor, h: Tensor, keys: Tensor, source_tokens: Tensor, pad: int) -> Tensor:
        """As `forward`, for one target at each place: [N, T] from its log-probability under the vocabulary [N, T]."""
        attention, keep, take = self._weigh(h, keys, source_tokens, pad)
        copied = (attention * (source_tokens.unsqueeze(1) == target.unsqueeze(2))).sum(-1)
        return torch.logaddexp(log_p + keep.squeeze(-1), copied.clamp_min(1e-12).log() + take.squeeze(-1))

    def _weigh(self, h: Tensor, keys: Tensor, source_tokens: Tensor, pad: int) -> tuple[Tensor, Tensor, Tensor]:
        """Attention over the source [N, T, S], and log-weights of vocabulary and copy, each [N, T, 1]."""
        keys_NSE = keys.transpose(1, 2).flatten(-2)
        scores_NTS = (self.query(h) @ keys_NSE.transpose(1, 2)).float() / h.shape[-1] ** 0.5
        real = (source_tokens != pad).unsqueeze(1)
        attention = torch.softmax(scores_NTS.masked_fill(~real, -1e9), dim=-1) * real
        # A row without a source has nothing to copy: all of its mass stays with the vocabulary.
        gate = self.gate(h).float().masked_fill(~real.any(-1, keepdim=True), -1e9)
        return attention, nn.functional.logsigmoid(-gate), nn.functional.logsigmoid(gate)
