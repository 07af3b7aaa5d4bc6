"""What the second judge of audio sees: summary statistics that are not learned."""

from typing import Any

import torch
from torch import Tensor
from torchaudio.functional import create_dct

from common.data.examples import Examples
from common.evaluation.second_judge import StatisticsJudge, second_judge, support_vectors
from modalities.audio.evaluation.judge import judged
from modalities.audio.signal.features import LogMel
from modalities.audio.signal.onsets import onset_strength

CEPSTRA = 20
LAGS = 64  # frames


def summary_judge(table: Examples, features: LogMel, steps: int | None = None) -> StatisticsJudge | None:
    """Support-vector machines on mel-frequency cepstra over time and on the rhythm of onsets; None without categories.

    Args:
        table: clips and fields.
        features: how clips are standardised.
        steps: as in `second_judge`.
    """
    judge = StatisticsJudge(dict(judged(table.attributes)), lambda x: statistics(x, features), support_vectors)
    return second_judge(table, judge, features.standardise, steps)


def statistics(x: Tensor, features: LogMel) -> Any:
    """Statistics [B, 2 * 20 + 64] of standardised features [B, 1, mels, frames].

    They are mean and deviation of the first 20 mel-frequency cepstral coefficients, and the autocorrelation of the
    onset strength at lags up to 64 frames.
    """
    log_mel = features.restore(x)
    cepstra = torch.einsum("bmt,mk->bkt", log_mel[:, 0], create_dct(CEPSTRA, log_mel.shape[2], "ortho"))
    return torch.cat([cepstra.mean(-1), cepstra.std(-1), _rhythm(log_mel)], dim=1).numpy()


def _rhythm(log_mel: Tensor) -> Tensor:
    onset = onset_strength(log_mel)
    onset = onset - onset.mean(-1, keepdim=True)
    spectrum = torch.fft.rfft(onset, 2 * onset.shape[-1])
    correlation = torch.fft.irfft(spectrum.abs() ** 2)
    lags = min(LAGS, onset.shape[-1] - 1)
    return correlation[:, 1 : lags + 1] / correlation[:, :1].clamp_min(1e-6)
