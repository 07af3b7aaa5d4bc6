"""Clips of any length as windows of the training length."""

from collections.abc import Iterable

import torch
from torch import Tensor


def window_starts(total: int, frames: int, overlap: int) -> list[int]:
    """First frames of the windows that cover `total` frames; neighbours share `overlap` frames.

    The last window ends at the last frame and may share more with the one before; a short input has one window.
    """
    if total <= frames:
        return [0]
    starts = list(range(0, total - frames, frames - overlap))
    return [*starts, total - frames]


def cut(x: Tensor, frames: int, overlap: int, silence: float) -> Tensor:
    """Windows [B * W, ..., frames] of x [B, ..., T], consecutive rows for each input; short inputs end in silence."""
    if x.shape[-1] < frames:
        x = torch.nn.functional.pad(x, (0, frames - x.shape[-1]), value=silence)
    parts = [x[..., start : start + frames] for start in window_starts(x.shape[-1], frames, overlap)]
    return torch.stack(parts, dim=1).flatten(0, 1)


def join(windows: Tensor, total: int, overlap: int) -> Tensor:
    """x [B, ..., total] from windows [B * W, ..., frames] by cross-fading: the inverse of `cut`.

    Args:
        windows: as `cut` returns them.
        total: frames of the result.
        overlap: least number of frames that neighbours share.
    """
    frames = windows.shape[-1]
    starts = window_starts(total, frames, overlap)
    parts = windows.unflatten(0, (-1, len(starts))).unbind(1)
    return cross_fade(zip(starts, parts, strict=True), max(total, frames), overlap)[..., :total]


def cross_fade(parts: Iterable[tuple[int, Tensor]], total: int, overlap: int) -> Tensor:
    """Cross-fades overlapping parts [..., n] into one signal [..., total].

    Args:
        parts: (start, part) pairs that together cover the whole length.
        total: length of the result.
        overlap: length of a fade; neighbours share at least this much.
    """
    result, weight = torch.zeros(0), torch.zeros(0)
    for start, part in parts:
        if not len(weight):
            result, weight = part.new_zeros(*part.shape[:-1], total), part.new_zeros(total)
        end, fade = start + part.shape[-1], part.new_ones(part.shape[-1])
        ramp = torch.arange(1, overlap + 1, device=part.device) / (overlap + 1)
        if start > 0:
            fade[:overlap] *= ramp
        if end < total:
            fade[len(fade) - overlap :] *= ramp.flip(0)
        result[..., start:end] += part * fade
        weight[start:end] += fade
    return result / weight
