"""Report of an audio model: test figures beyond those of all modalities, spectrograms and sounds."""

from collections.abc import Callable

import torch
from torch import Tensor

from common.batch import Batch
from common.conditions.attributes import Categorical
from common.evaluation.columns import GROUP, Columns
from common.evaluation.evaluation import Evaluation
from common.evaluation.media import Media
from common.evaluation.report import Report
from common.evaluation.second_judge import StatisticsJudge
from common.results import Measurement
from common.seeding import seeded
from modalities.audio.data import AudioData
from modalities.audio.evaluation.clip_evaluation import STRETCHED, ClipEvaluation, Figures
from modalities.audio.evaluation.judge import AudioJudge
from modalities.audio.evaluation.metrics import chroma, content_correlation, self_similarity
from modalities.audio.evaluation.pictures import audio_media
from modalities.audio.evaluation.summary_judge import summary_judge
from modalities.audio.files import SoundFormat
from modalities.audio.model import AudioGenreCVAE
from modalities.audio.signal.onsets import onset_strength
from modalities.audio.signal.vocoder import ROWS


class AudioReport(Report[AudioGenreCVAE, AudioData]):
    """Control before and after the vocoder, spread, tempo and transfer; spectrograms, and clips to listen to."""

    files = SoundFormat()

    def make_judge(self, data: AudioData) -> AudioJudge | None:
        """A convolutional network; None if no field is categorical."""
        return AudioJudge.of(data.whole, data.features, data.fingerprint, self.judge_steps)

    def make_second_judge(self, data: AudioData) -> StatisticsJudge | None:
        """Support-vector machines on summary statistics."""
        return summary_judge(data.whole, data.features, self.judge_steps)

    def figures(
        self, model: AudioGenreCVAE, data: AudioData, evaluation: Evaluation, table: Columns
    ) -> dict[str, Measurement]:
        """NLL per bin, control accuracy before and after the vocoder, spread, tempo, and transfer."""
        figures: dict[str, Measurement] = {}
        if "nll" in table:  # which it lacks where every batch has failed
            known, bins = ~table["nll"].isnan(), model.features.mels * model.features.frames
            how = f"{evaluation.estimator(evaluation.num_samples)}; standardised features"
            groups = table[GROUP][known] if GROUP in table else None
            figures["test/nll_per_bin"] = Measurement.mean(table["nll"][known] / bins, "nats", how, groups)
        if evaluation.control_samples < 1:
            return figures
        batch, guidance = data.some("test", evaluation.control_samples), evaluation.guidance
        judge = self.judge(data)
        with seeded(evaluation.seed):
            at_once = evaluation.at_once(ROWS)
            generated = _by_parts(model, lambda p: model.sample(p.condition, guidance=guidance)[0], batch, at_once)
            reconstructed = _by_parts(model, model.reconstruct, batch, at_once)
            how = f"{model.sampled} with z ~ p(z|c)"
            judges = judge, self.second_judge(data)
            clips = ClipEvaluation(data, *judges, batch, generated, reconstructed, how, model.vocoder)
            figures |= clips.figures()
            for name in clips.fields:
                figures |= transfer_figures(model, clips, name)
        return figures

    def media(self, model: AudioGenreCVAE, batch: Batch) -> Media:
        """Spectrograms of reconstructions and of samples by condition, and some of them as sound."""
        return audio_media(model, batch)


def _by_parts(model: AudioGenreCVAE, apply: Callable[[Batch], Tensor], batch: Batch, at_once: int) -> Tensor:
    return torch.cat([apply(batch[rows].to(model.device)).cpu() for rows in _parts(len(batch), at_once)])


def _parts(count: int, at_once: int) -> list[slice]:
    return [slice(start, start + at_once) for start in range(0, count, at_once)]


def transfer_figures(model: AudioGenreCVAE, clips: ClipEvaluation, name: str) -> Figures:
    """Figures of transferring test clips to another value of a field: judge accuracy, and preservation of the melody.

    The melody is compared by chroma and by onsets, with the source and with another test clip of the new value.
    If the new value may change the tempo, both take the best of many uniform stretches of time; if not,
    self-similarity, which does not depend on the instrument, is compared as well. Clips without a value are left out.
    """
    attribute = clips.fields[name]
    assert isinstance(attribute, Categorical)
    batch = clips.batch[clips.batch.condition[name] >= 0][slice(0, model.transfers)]
    if len(batch) == 0:
        return {}
    count = len(attribute.values)
    own = batch.condition[name]
    target = (own + torch.randint(1, count, own.shape)) % count
    rows = _parts(len(batch), model.evaluation.at_once(ROWS))
    parts = [model.transfer(batch[part].to(model.device), {name: target[part]}).cpu() for part in rows]
    changed = clips.vocoder.round_trip(torch.cat(parts), clips.features)
    expected = {**batch.condition, name: target}
    figures: Figures = {}
    for prefix, judge in clips.judges.items():
        predicted = judge.read(changed)
        for field in judge.attributes:
            how = f"{'second' if prefix else 'frozen'} judge, test clips with another {name}, through sound"
            known = expected[field] >= 0
            if known.any():
                hits = predicted[field][known] == expected[field][known]
                figures[f"test/{prefix}transfer/{name}/accuracy/{field}"] = Measurement.accuracy(hits, how)
    stretch = name == STRETCHED
    curves: dict[str, Callable[[Tensor], Tensor]] = {
        "chroma": lambda x: chroma(x, clips.features),
        "onset": lambda x: onset_strength(x).unsqueeze(1),
    }
    if not stretch:
        curves["self_similarity"] = self_similarity
    others = _others(clips, target, name)
    for kind, curve in curves.items():
        outcome = curve(clips.features.restore(changed))
        for suffix, x in (("", batch.x), ("_random", others)):
            how = "correlation over time of the outcome with " + ("another test clip" if suffix else "its source")
            how += ", best of 33 stretches" if stretch else ""
            value = content_correlation(curve(clips.features.restore(x)), outcome, stretch)
            figures[f"test/transfer/{name}/{kind}{suffix}"] = Measurement.mean(value, "correlation", how)
    return figures


def _others(clips: ClipEvaluation, target: Tensor, name: str) -> Tensor:
    """A real test clip of each target value; any test clip if none has it."""
    table = clips.data.whole
    rows = table.splits["test"]
    values = table.fields[name][rows]
    chosen = []
    for position, value in enumerate(target.tolist()):
        pool = rows[values == value]
        pool = pool if len(pool) else rows
        chosen.append(int(pool[(position * 7919 + 13) % len(pool)]))
    return clips.features.standardise(table.x[chosen])
