"""Sound of any length in windows of the length that a model was trained on."""

import torch
from torch import Tensor


def window_starts(total: int, frames: int, overlap: int) -> list[int]:
    """First frames of windows that cover `total` frames: `overlap` frames apart from the next one's start or more.

    The last window ends with the last frame, so that it may overlap more; a short input has one window.
    """
    if total <= frames:
        return [0]
    starts = list(range(0, total - frames, frames - overlap))
    return [*starts, total - frames]


def cut(x: Tensor, frames: int, overlap: int, silence: float) -> Tensor:
    """Windows [B * W, ..., frames] of x [B, ..., T], those of one input side by side; short inputs end in silence."""
    if x.shape[-1] < frames:
        x = torch.nn.functional.pad(x, (0, frames - x.shape[-1]), value=silence)
    parts = [x[..., start : start + frames] for start in window_starts(x.shape[-1], frames, overlap)]
    return torch.stack(parts, dim=1).flatten(0, 1)


def join(windows: Tensor, total: int, overlap: int) -> Tensor:
    """[B, ..., total] from windows [B * W, ..., frames], each fading into the next one; the inverse of `cut`.

    Args:
        windows: as `cut` gives them.
        total: frames of the whole.
        overlap: frames that neighbours share at least.
    """
    frames = windows.shape[-1]
    starts = window_starts(total, frames, overlap)
    parts = windows.unflatten(0, (-1, len(starts)))
    length = max(total, frames)
    result = parts.new_zeros(*parts.shape[:1], *parts.shape[2:-1], length)
    weight = parts.new_zeros(length)
    for number, start in enumerate(starts):
        fade = parts.new_ones(frames)
        ramp = torch.arange(1, overlap + 1, device=fade.device) / (overlap + 1)
        if number > 0:
            fade[:overlap] *= ramp
        if number + 1 < len(starts):
            fade[frames - overlap :] *= ramp.flip(0)
        result[..., start : start + frames] += parts[:, number] * fade
        weight[start : start + frames] += fade
    return (result / weight)[..., :total]
