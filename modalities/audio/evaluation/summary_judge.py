"""The second judge of audio: support-vector machines on summary statistics that are not learned."""

from typing import Any

import torch
from torch import Tensor
from torchaudio.functional import create_dct

from common.conditions.attributes import Attribute
from common.conditions.classifier import RealFigures
from common.data.examples import Examples
from modalities.audio.evaluation.judge import examine, judged
from modalities.audio.signal.features import LogMel
from modalities.audio.signal.onsets import onset_strength

CEPSTRA = 20
LAGS = 64  # frames
CLIPS = 4000  # most training clips: the cost of a support-vector machine grows with their square


class SummaryJudge:
    """Classifies categorical conditions by mel-frequency cepstra over time and by the rhythm of onsets.

    The statistics of a clip are mean and deviation of its first 20 mel-frequency cepstral coefficients, and the
    autocorrelation of its onset strength at lags up to 64 frames.

    Args:
        attributes: the fields.
        features: how clips are standardised.
    """

    real: RealFigures

    def __init__(self, attributes: dict[str, Attribute], features: LogMel) -> None:
        self.attributes: dict[str, Attribute] = dict(judged(attributes))
        self.settings = features
        self.readers: dict[str, Any] = {}

    @staticmethod
    def of(table: Examples, features: LogMel) -> "SummaryJudge":
        """The judge of a table, trained on its training split and examined on its test split."""
        judge = SummaryJudge(table.attributes, features)
        rows = table.splits["train"]
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:CLIPS]]
        judge.fit(features.standardise(table.x[rows]), {name: table.fields[name][rows] for name in judge.attributes})
        judge.real = examine(judge, table, features)
        return judge

    def fit(self, x: Tensor, labels: dict[str, Tensor]) -> None:
        """Trains on real clips; for each field, clips without a label are left out."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import SVC

        vectors = self.features(x).numpy()
        for name, label in labels.items():
            known = (label >= 0).numpy()
            reader = make_pipeline(StandardScaler(), SVC(C=10.0, class_weight="balanced"))
            self.readers[name] = reader.fit(vectors[known], label.numpy()[known])

    def features(self, x: Tensor) -> Tensor:
        """Statistics [B, 2 * 20 + 64] of standardised features [B, 1, mels, frames]."""
        log_mel = self.settings.restore(x)
        cepstra = torch.einsum("bmt,mk->bkt", log_mel[:, 0], create_dct(CEPSTRA, log_mel.shape[2], "ortho"))
        return torch.cat([cepstra.mean(-1), cepstra.std(-1), self._rhythm(log_mel)], dim=1)

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted category of each field, [B], for standardised features."""
        vectors = self.features(x).numpy()
        return {name: torch.from_numpy(reader.predict(vectors)).long() for name, reader in self.readers.items()}

    def _rhythm(self, log_mel: Tensor) -> Tensor:
        onset = onset_strength(log_mel)
        onset = onset - onset.mean(-1, keepdim=True)
        spectrum = torch.fft.rfft(onset, 2 * onset.shape[-1])
        correlation = torch.fft.irfft(spectrum.abs() ** 2)
        lags = min(LAGS, onset.shape[-1] - 1)
        return correlation[:, 1 : lags + 1] / correlation[:, :1].clamp_min(1e-6)
