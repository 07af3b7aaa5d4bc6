"""What makes a tune one dance or another when it is played, and clips of one dance played as another.

A pulse is half a bar: a beat, or two beats of the strathspey. A position within it is a phase in [0, 1). The straight
phase is that of a reel, whose pulse has four even notes; each dance moves it by a piecewise linear map.
"""

import torch
from torch import Tensor

# Beats a minute as the dances are commonly played, and how many of them make a pulse.
BEATS = {"clog": 72.0, "hornpipe": 84.0, "jig": 116.0, "reel": 112.0, "strathspey": 132.0}
BEATS_A_PULSE = {"clog": 1, "hornpipe": 1, "jig": 1, "reel": 1, "strathspey": 2}
SWING = 0.64  # share of a pair of short notes that the first one takes in hornpipes and clogs

# Straight phases and where each dance has them. A jig's three even notes are a reel's long and two short ones; a
# strathspey dots each pair.
STRAIGHT = (0.0, 0.25, 0.5, 0.75, 1.0)
PHASES = {
    "clog": (0.0, SWING / 2, 0.5, 0.5 + SWING / 2, 1.0),
    "hornpipe": (0.0, SWING / 2, 0.5, 0.5 + SWING / 2, 1.0),
    "jig": (0.0, 1 / 6, 1 / 3, 2 / 3, 1.0),
    "reel": STRAIGHT,
    "strathspey": (0.0, 0.375, 0.5, 0.875, 1.0),
}


def pulse_seconds(dance: str) -> float:
    """Length of a pulse at the usual tempo."""
    return 60 * BEATS_A_PULSE[dance] / BEATS[dance]


def played_as(log_mel: Tensor, own: Tensor, other: Tensor, tempo: Tensor, names: tuple[str, ...], frame: float) -> Tensor:
    """Clips that begin on a bar, with their time bent to the tempo and rhythm of another dance: pitches stay.

    What lies beyond the end of a clip that has to go faster is not known: its last frame is held.

    Args:
        log_mel: [B, 1, mels, T].
        own: the dance that is played, [B].
        other: the dance it becomes, [B].
        tempo: of each clip against the usual one of its dance, [B]; the outcome keeps it.
        names: of the dances.
        frame: seconds from frame to frame.
    """
    pulse = torch.tensor([pulse_seconds(name) for name in names])
    phases = torch.tensor([PHASES[name] for name in names])
    count = log_mel.shape[-1]
    seconds = torch.arange(count) * frame
    position = seconds * (tempo / pulse[other]).unsqueeze(1)  # pulses, [B, T]
    whole = position.floor()
    straight = _interpolate(position - whole, phases[other], torch.tensor(STRAIGHT).expand(len(own), -1))
    moved = whole + _interpolate(straight, torch.tensor(STRAIGHT).expand(len(own), -1), phases[own])
    place = (moved * (pulse[own] / tempo).unsqueeze(1) / frame).clamp(0, count - 1)
    first = place.floor().long().clamp_max(count - 2)
    share = (place - first).view(len(own), 1, 1, count)
    rows = first.view(len(own), 1, 1, count).expand_as(log_mel)
    return torch.lerp(log_mel.gather(-1, rows), log_mel.gather(-1, rows + 1), share)


def _interpolate(x: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear functions, one a row, at x [B, T], from ascending knots [B, K] in [0, 1] and values [B, K]."""
    piece = (torch.searchsorted(knots.contiguous(), x.contiguous(), right=True) - 1).clamp(0, knots.shape[1] - 2)
    left, right = knots.gather(1, piece), knots.gather(1, piece + 1)
    share = (x - left) / (right - left)
    return torch.lerp(values.gather(1, piece), values.gather(1, piece + 1), share)
