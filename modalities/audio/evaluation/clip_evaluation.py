"""Figures of generated and reconstructed clips beside real test clips, before and after the vocoder."""

from functools import cached_property

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Categorical, Fields
from common.conditions.classifier import Judge, Reader
from common.evaluation.control import SECOND
from common.evaluation.fidelity import frechet_distance
from common.results import Measurement
from modalities.audio.data import AudioData
from modalities.audio.evaluation.baselines import nearest
from modalities.audio.evaluation.metrics import log_spectral_distance, spread, tempo, tempo_error
from modalities.audio.signal.vocoder import Vocoder

Figures = dict[str, Measurement]
TEMPO_TOLERANCE = 0.12  # relative: tunes vary by 8 %, and a frame is some 5 % of a beat
NEAREST = 100  # samples that are compared with every training clip
STRETCHED = "genre"  # the field whose change may change the tempo


class ClipEvaluation:
    """Compares real test clips with the clips that a system generates under their conditions and reconstructs.

    Args:
        data: the DataModule.
        judge: classifies the conditions of clips; None if there is none to classify.
        second: another judge; None if there is none.
        batch: N real clips of the test split, standardised.
        generated: N clips generated under their conditions.
        reconstructed: N reconstructions of the real clips.
        how: description of the generated clips, for the results.
        vocoder: turns clips into sound.
    """

    def __init__(
        self,
        data: AudioData,
        judge: Judge | None,
        second: Reader | None,
        batch: Batch,
        generated: Tensor,
        reconstructed: Tensor,
        how: str,
        vocoder: Vocoder,
    ) -> None:
        self.data, self.batch, self.generated, self.reconstructed = data, batch, generated, reconstructed
        self.how, self.vocoder, self.features = how, vocoder, data.features
        self.judge = judge
        self.judges: dict[str, Reader] = {
            prefix: reader for prefix, reader in (("", judge), (SECOND, second)) if reader is not None
        }
        self.fields = dict(judge.attributes) if judge is not None else {}
        self.count = len(batch)
        # What real clips are, even where a model is trained on permuted conditions, which `batch` then has.
        rows = data.whole.splits["test"][batch.positions.cpu()]
        self.truth: Fields = {name: data.whole.fields[name][rows] for name in self.fields}

    @cached_property
    def generated_sound(self) -> Tensor:
        """The generated clips turned into sound and analysed again."""
        return self.vocoder.round_trip(self.generated, self.features)

    @cached_property
    def real_sound(self) -> Tensor:
        """Real clips turned into sound from their features and analysed again: the limit that the vocoder sets."""
        return self.vocoder.round_trip(self.batch.x, self.features)

    def figures(self) -> Figures:
        """Figures of reconstruction and spread; with judges also of control and tempo."""
        figures = self.reconstruction() | self.variety()
        return figures | self.control() | self.tempo() if self.judge is not None else figures

    def control(self) -> Figures:
        """Both judges' accuracy on each field and value, before and after the vocoder."""
        asked, real = self.batch.condition, "real test clips"
        clips = {
            "control_accuracy": (self.generated, asked, self.how),
            "sound/control_accuracy": (self.generated_sound, asked, f"{self.how}, turned into sound and analysed anew"),
            "judge_accuracy": (self.batch.x, self.truth, real),
            "sound/judge_accuracy": (self.real_sound, self.truth, f"{real}, turned into sound from their features"),
        }
        figures: Figures = {}
        for prefix, judge in self.judges.items():
            for kind, (x, expected, what) in clips.items():
                predicted = judge.read(x)
                for name, attribute in judge.attributes.items():
                    assert isinstance(attribute, Categorical)
                    truth = expected[name]
                    known = truth >= 0
                    how = f"{'second' if prefix else 'frozen'} judge, {what}"
                    hits = predicted[name] == truth
                    # The shared evaluation reports both judges' accuracy on features, with samples of its own.
                    if "sound" in kind and known.any():
                        figures[f"test/{prefix}{kind}/{name}"] = Measurement.accuracy(hits[known], how)
                    for number, value in enumerate(attribute.values):
                        if (truth == number).any():
                            chosen = hits[truth == number]
                            figures[f"test/{prefix}{kind}/{name}/{value}"] = Measurement.accuracy(chosen, how)
        assert self.judge is not None
        judge = self.judge
        distance = frechet_distance(judge.features(self.real_sound), judge.features(self.generated_sound))
        how = "judge features, generated and real clips after the way through sound"
        figures["test/sound/frechet_distance"] = Measurement(distance, None, self.count, "squared feature units", how)
        return figures

    def reconstruction(self) -> Figures:
        """Log-spectral distance of reconstructions and of vocoded real clips."""
        real = self.features.restore(self.batch.x)
        figures = {}
        for name, x, how in (
            ("log_spectral_distance", self.reconstructed, "reconstructions"),
            ("sound/log_spectral_distance", self.real_sound, "real clips turned into sound from their features"),
        ):
            figures[f"test/{name}"] = Measurement.mean(log_spectral_distance(self.features.restore(x), real), "dB", how)
        return figures

    def variety(self) -> Figures:
        """Spread of generated against real clips, and the distances of both to the nearest training clips."""
        figures = {}
        how = "deviation over generated clips against that over real test clips of the same conditions, mean of bins"
        for name, x, real in (
            ("spread", self.generated, self.batch.x),
            ("sound/spread", self.generated_sound, self.real_sound),
            ("spread_reconstructed", self.reconstructed, self.batch.x),
        ):
            figures[f"test/{name}"] = Measurement(spread(x) / spread(real), None, self.count, "ratio", how)
        figures |= self._spread_by_value()
        clips, train = self.data.examples.x, self.data.examples.splits["train"]
        real, drawn = (self.features.restore(x[:NEAREST]) for x in (self.batch.x, self.generated))
        own, which = nearest(real, clips, train)
        other, _ = nearest(drawn, clips, train)
        value = (other.mean() / own.mean()).item()
        how = "distance of generated clips to the nearest training clip against that of real test clips"
        figures["test/nearest_training_clip"] = Measurement(value, None, len(own), "ratio", how)
        copied = log_spectral_distance(clips[which].float(), real)
        how = "the nearest training clip in place of a reconstruction"
        figures["test/log_spectral_distance_nearest"] = Measurement.mean(copied, "dB", how)
        return figures

    def _spread_by_value(self) -> Figures:
        figures = {}
        for name, attribute in self.fields.items():
            assert isinstance(attribute, Categorical)
            for number, value in enumerate(attribute.values):
                rows, real = self.batch.condition[name] == number, self.truth[name] == number
                count = int(rows.sum())
                if min(count, int(real.sum())) < 10:
                    continue
                ratio = spread(self.generated_sound[rows]) / spread(self.real_sound[real])
                how = "as test/sound/spread, clips of this value alone"
                figures[f"test/sound/spread/{name}/{value}"] = Measurement(ratio, None, count, "ratio", how)
        return figures

    def tempo(self) -> Figures:
        """Tempo of generated and real clips, by onset autocorrelation, beside the customary tempo of their genre."""
        customary: dict[str, float] = self.data.customary_tempo
        figures: Figures = {}
        if not customary or STRETCHED not in self.fields:
            return figures
        attribute = self.fields[STRETCHED]
        assert isinstance(attribute, Categorical)
        beats = torch.tensor([customary[value] for value in attribute.values])
        clips = {
            "": (self.generated_sound, self.batch.condition[STRETCHED]),
            "_real": (self.real_sound, self.truth[STRETCHED]),
        }
        for kind, (x, genre) in clips.items():
            measured = tempo(self.features.restore(x), self.features)
            known = genre >= 0
            if not known.any():
                continue
            near = tempo_error(measured[known], beats[genre[known]]) <= TEMPO_TOLERANCE
            how = f"onset autocorrelation, within {TEMPO_TOLERANCE:.0%} of the customary tempo or 2, 3, 1/2, 1/3 of it"
            figures[f"test/tempo_accuracy{kind}"] = Measurement.accuracy(near, how)
            for number, value in enumerate(attribute.values):
                if (genre == number).any():
                    bpm = measured[genre == number].median().item()
                    how = f"median by onset autocorrelation; customary {customary[value]:g}"
                    count = int((genre == number).sum())
                    figures[f"test/tempo{kind}/{value}"] = Measurement(bpm, None, count, "beats a minute", how)
        return figures
