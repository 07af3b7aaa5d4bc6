"""What the test of an audio model measures beyond the shared figures."""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions import Categorical, Fields
from common.metrics.control import Judge
from common.metrics.frechet import frechet_distance
from common.results import Measurement
from modalities.audio.baselines import COMPONENTS, ClassGaussians, nearest
from modalities.audio.metrics import (
    chroma,
    kept,
    log_spectral_distance,
    onset_strength,
    self_similarity,
    spread,
    tempo,
    tempo_error,
)
from modalities.audio.summary_judge import SummaryJudge

if TYPE_CHECKING:
    from modalities.audio.model import AudioGenreCVAE

Figures = dict[str, Measurement]
TEMPO_TOLERANCE = 0.12  # share: tunes vary by 8 %, and a frame is some 5 % of a beat
NEAREST = 100  # samples that are compared with every training clip
STRETCHED = "genre"  # the field whose change may change the tempo


def audio_figures(model: "AudioGenreCVAE", table: dict[str, Tensor]) -> Figures:
    """NLL a bin, control before and after the way through sound, spread, tempo, transfer, and baselines."""
    nll, bins = table["nll"][~table["nll"].isnan()], model.features.mels * model.features.frames
    how = f"importance sampling, {model.evaluation.num_samples} samples; standardised features"
    figures = {"test/nll_per_bin": Measurement.mean(nll / bins, "nats", how)}
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(model.evaluation.seed)
        trial = Trial(model, model.trainer.datamodule)  # type: ignore[attr-defined]
        figures |= trial.reconstruction()
        figures |= trial.variety()
        if trial.judges:
            figures |= trial.control()
            figures |= trial.baselines()
            figures |= trial.tempo()
            for name in trial.fields:
                figures |= trial.transfer(name)
    return figures


class Trial:
    """Real test clips, and as many generated under their conditions, each before and after the way through sound.

    Args:
        model: the model, in evaluation mode.
        data: its DataModule.
    """

    def __init__(self, model: "AudioGenreCVAE", data: Any) -> None:
        self.model, self.data, self.features = model, data, model.features
        self.batch: Batch = data.batch("test", model.evaluation.control_samples)
        judge = data.judge()
        self.judges: dict[str, Judge] = {}
        if judge is not None:
            self.judges = {"": judge, "second_judge/": SummaryJudge.of(data.whole, self.features)}
        self.fields = dict(judge.attributes) if judge is not None else {}
        self.count = len(self.batch)

    @cached_property
    def generated(self) -> Tensor:
        """Means of p(x | z, c) with z ~ p(z | c)."""
        return self._by_rows(lambda part: self.model.sample(part.condition, guidance=self.model.evaluation.guidance)[0])

    @cached_property
    def reconstructed(self) -> Tensor:
        """Clips decoded from their posterior mean."""
        return self._by_rows(self.model.reconstruct)

    @cached_property
    def generated_sound(self) -> Tensor:
        """The generated clips turned into sound and analysed anew."""
        return self._through_sound(self.generated)

    @cached_property
    def real_sound(self) -> Tensor:
        """Real clips turned into sound from their features and analysed anew: the ceiling of the vocoder."""
        return self._through_sound(self.batch.x)

    def _through_sound(self, x: Tensor) -> Tensor:
        return torch.cat([self.model.hear(self.model.sound(part)) for part in x.split(50)])

    def _by_rows(self, apply: Callable[[Batch], Tensor], batch: Batch | None = None, size: int = 50) -> Tensor:
        whole = self.batch if batch is None else batch
        parts = [whole[slice(start, start + size)] for start in range(0, len(whole), size)]
        return torch.cat([apply(part.to(self.model.device)).cpu() for part in parts])

    def control(self) -> Figures:
        """Both judges' accuracy of each condition and value, on features and after the way through sound."""
        clips = {
            "control_accuracy": (self.generated, "means of p(x|z,c) with z ~ p(z|c)"),
            "sound/control_accuracy": (self.generated_sound, "the same, turned into sound and analysed anew"),
            "judge_accuracy": (self.batch.x, "real test clips"),
            "sound/judge_accuracy": (self.real_sound, "real test clips, turned into sound from their features"),
        }
        figures: Figures = {}
        for prefix, judge in self.judges.items():
            for kind, (x, what) in clips.items():
                read = judge.read(x)
                for name, attribute in self.fields.items():
                    assert isinstance(attribute, Categorical)
                    truth = self.batch.condition[name]
                    known = truth >= 0
                    how = f"{'second' if prefix else 'frozen'} judge, {what}"
                    hits = read[name] == truth
                    # The first judge's figures on features are those of common, on its own samples.
                    if prefix or "sound" in kind:
                        figures[f"test/{prefix}{kind}/{name}"] = Measurement.accuracy(hits[known], how)
                    for number, value in enumerate(attribute.values):
                        if (truth == number).any():
                            chosen = hits[truth == number]
                            figures[f"test/{prefix}{kind}/{name}/{value}"] = Measurement.accuracy(chosen, how)
        judge = self.judges[""]
        distance = frechet_distance(judge.features(self.real_sound), judge.features(self.generated_sound))
        how = "judge features, generated and real clips after the way through sound"
        figures["test/sound/frechet_distance"] = Measurement(distance, None, self.count, "squared feature units", how)
        return figures

    def reconstruction(self) -> Figures:
        """Log-spectral distance of reconstructions and of the way through sound."""
        real = self.features.restore(self.batch.x)
        figures = {}
        for name, x, how in (
            ("log_spectral_distance", self.reconstructed, "reconstructions from the posterior mean"),
            ("sound/log_spectral_distance", self.real_sound, "real clips turned into sound from their features"),
        ):
            figures[f"test/{name}"] = Measurement.mean(log_spectral_distance(self.features.restore(x), real), "dB", how)
        return figures

    def variety(self) -> Figures:
        """Spread of samples against real clips; how near training clips are to samples and to real clips."""
        figures = {}
        how = "deviation over generated clips against that over real test clips of the same conditions, mean of bins"
        for name, x, real in (
            ("spread", self.generated, self.batch.x),
            ("sound/spread", self.generated_sound, self.real_sound),
            ("spread_reconstructed", self.reconstructed, self.batch.x),
        ):
            figures[f"test/{name}"] = Measurement(spread(x) / spread(real), None, self.count, "ratio", how)
        figures |= self._spread_by_value()
        train = self.data.table.x[self.data.table.splits["train"]]
        real, drawn = (self.features.restore(x[:NEAREST]) for x in (self.batch.x, self.generated))
        own, which = nearest(real, train)
        other, _ = nearest(drawn, train)
        value = (other.mean() / own.mean()).item()
        how = "distance of generated clips to the nearest training clip against that of real test clips"
        figures["test/nearest_training_clip"] = Measurement(value, None, len(own), "ratio", how)
        copied = log_spectral_distance(train[which].float(), real)
        how = "the nearest training clip in place of a reconstruction"
        figures["test/log_spectral_distance_nearest"] = Measurement.mean(copied, "dB", how)
        return figures

    def _spread_by_value(self) -> Figures:
        figures = {}
        for name, attribute in self.fields.items():
            assert isinstance(attribute, Categorical)
            for number, value in enumerate(attribute.values):
                rows = self.batch.condition[name] == number
                if rows.sum() < 10:
                    continue
                ratio = spread(self.generated_sound[rows]) / spread(self.real_sound[rows])
                how = "as test/sound/spread, clips of this value alone"
                count = int(rows.sum())
                figures[f"test/sound/spread/{name}/{value}"] = Measurement(ratio, None, count, "ratio", how)
        return figures

    def baselines(self) -> Figures:
        """NLL and control of a Gaussian for each condition."""
        rows = self.data.table.splits["train"]
        fields = {name: self.data.table.fields[name] for name in self.fields}
        gaussians = ClassGaussians(
            self.features.standardise(self.data.table.x[rows]), {name: field[rows] for name, field in fields.items()}
        )
        conditions = {name: self.batch.condition[name] for name in self.fields}
        nll = -gaussians.log_prob(self.batch.x, conditions)
        how = f"exact; PPCA of {COMPONENTS} components for each combination of conditions"
        figures = {"test/gaussian/nll": Measurement.mean(nll[~nll.isnan()], "nats", how)}
        drawn = gaussians.sample(conditions, tuple(self.batch.x.shape[1:]))
        read = self.judges[""].read(self._through_sound(drawn))
        for name in self.fields:
            hits = read[name] == conditions[name]
            figures[f"test/gaussian/sound/control_accuracy/{name}"] = Measurement.accuracy(
                hits,
                "frozen judge, class-conditional Gaussians, means given a random code, after the way through sound",
            )
        ratio = spread(drawn) / spread(self.batch.x)
        figures["test/gaussian/spread"] = Measurement(ratio, None, self.count, "ratio", "as test/spread")
        return figures

    def tempo(self) -> Figures:
        """Beats a minute of each genre with a customary tempo, by onset autocorrelation, generated and real."""
        customary: dict[str, float] = self.data.customary_tempo
        figures: Figures = {}
        if not customary or STRETCHED not in self.fields:
            return figures
        attribute = self.fields[STRETCHED]
        assert isinstance(attribute, Categorical)
        genre = self.batch.condition[STRETCHED]
        expected = torch.tensor([customary[value] for value in attribute.values])[genre]
        for kind, x in (("", self.generated_sound), ("_real", self.real_sound)):
            measured = tempo(self.features.restore(x), self.features)
            near = tempo_error(measured, expected) <= TEMPO_TOLERANCE
            how = f"onset autocorrelation, within {TEMPO_TOLERANCE:.0%} of the customary tempo or 2, 3, 1/2, 1/3 of it"
            figures[f"test/tempo_accuracy{kind}"] = Measurement.accuracy(near, how)
            for number, value in enumerate(attribute.values):
                if (genre == number).any():
                    bpm = measured[genre == number].median().item()
                    how = f"median by onset autocorrelation; customary {customary[value]:g}"
                    count = int((genre == number).sum())
                    figures[f"test/tempo{kind}/{value}"] = Measurement(bpm, None, count, "beats a minute", how)
        return figures

    def transfer(self, name: str) -> Figures:
        """Test clips under another value of a field: whether it is heard, and what is left of the tune.

        The tune is compared by chroma and by onsets, with the source and with another test clip of the new value.
        Where the new value may change the tempo, both take the best of many uniform stretches of time; where it does
        not, self-similarity, which does not mind the instrument, is compared as well.
        """
        attribute = self.fields[name]
        assert isinstance(attribute, Categorical)
        batch = self.batch[slice(0, self.model.transfers)]
        count = len(attribute.values)
        own = batch.condition[name]
        fields: Fields = {name: (own + torch.randint(1, count, own.shape)) % count}
        target = fields[name]
        asked = batch.replace(condition={**batch.condition, "target": target})

        def change(part: Batch) -> Tensor:
            given = {key: value for key, value in part.condition.items() if key != "target"}
            return self.model.transfer(part.replace(condition=given), {name: part.condition["target"]})

        changed = self._through_sound(self._by_rows(change, asked))
        wanted = {**batch.condition, **fields}
        figures: Figures = {}
        for prefix, judge in self.judges.items():
            read = judge.read(changed)
            for field in self.fields:
                how = f"{'second' if prefix else 'frozen'} judge, test clips with another {name}, through sound"
                hits = read[field] == wanted[field]
                figures[f"test/{prefix}transfer/{name}/accuracy/{field}"] = Measurement.accuracy(hits, how)
        stretch = name == STRETCHED
        curves: dict[str, Callable[[Tensor], Tensor]] = {
            "chroma": lambda x: chroma(x, self.features),
            "onset": lambda x: onset_strength(x).unsqueeze(1),
        }
        if not stretch:
            curves["self_similarity"] = self_similarity
        others = self._others(target, name, len(batch))
        for kind, curve in curves.items():
            outcome = curve(self.features.restore(changed))
            for suffix, x in (("", batch.x), ("_random", others)):
                how = "correlation over time of the outcome with " + ("another test clip" if suffix else "its source")
                how += ", best of 33 stretches" if stretch else ""
                value = kept(curve(self.features.restore(x)), outcome, stretch)
                figures[f"test/transfer/{name}/{kind}{suffix}"] = Measurement.mean(value, "correlation", how)
        return figures

    def _others(self, target: Tensor, name: str, count: int) -> Tensor:
        """For each target value a real test clip that has it, other than the source where there are several."""
        table = self.data.table
        rows = table.splits["test"]
        values = table.fields[name][rows]
        chosen = []
        for position, value in enumerate(target[:count].tolist()):
            pool = rows[values == value]
            pool = pool if len(pool) else rows
            chosen.append(int(pool[(position * 7919 + 13) % len(pool)]))
        return self.features.standardise(table.x[chosen])
