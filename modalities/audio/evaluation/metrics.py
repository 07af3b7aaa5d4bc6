"""Metrics of audio features: tempo, preservation of the melody, log-spectral distance, spread."""

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from modalities.audio.signal.features import LogMel
from modalities.audio.signal.onsets import onset_strength
from modalities.audio.signal.vocoder import GriffinLim

DECIBEL = 10 / math.log(10)  # dB for each unit of the natural logarithm of a power
CHROMA_RANGE = (180.0, 2000.0)  # Hz, where the fundamentals of the melodies lie
STRETCHES = torch.linspace(math.log(0.55), math.log(1.8), 33).exp()


def log_spectral_distance(first: Tensor, second: Tensor) -> Tensor:
    """Root mean square difference over bands, mean over frames, in dB: [B] of natural log-mel powers [B, 1, M, T]."""
    return (first - second).square().mean(dim=2).sqrt().mean(dim=(1, 2)) * DECIBEL


def spread(x: Tensor) -> float:
    """Standard deviation over clips [N, 1, M, T], averaged over bins."""
    return x.std(dim=0).mean().item()


def tempo(log_mel: Tensor, features: LogMel, slowest: float = 60.0, fastest: float = 150.0) -> Tensor:
    """Beats per minute [B] at the highest peak of the autocorrelation of the onset strength.

    A parabola through the peak refines the lag. The autocorrelation cannot distinguish a tempo from its multiples:
    compare with `tempo_error`.

    Args:
        log_mel: natural log-mel powers [B, 1, M, T].
        features: their parameters.
        slowest: lower limit of the search, beats per minute.
        fastest: upper limit of the search, beats per minute.
    """
    onset = onset_strength(log_mel)
    onset = onset - onset.mean(-1, keepdim=True)
    length = onset.shape[-1]
    spectrum = torch.fft.rfft(onset, 2 * length)
    correlation = torch.fft.irfft(spectrum.abs() ** 2)[:, :length] / torch.arange(length, 0, -1)  # unbiased
    rate = 60 * features.sample_rate / features.hop  # frames per minute
    first, last = max(1, math.floor(rate / fastest)), min(math.ceil(rate / slowest), length - 2)
    lag = correlation[:, first : last + 1].argmax(-1) + first
    before, peak, after = (correlation.gather(1, (lag + step).unsqueeze(1))[:, 0] for step in (-1, 0, 1))
    curvature = before - 2 * peak + after
    shift = torch.where(curvature < 0, 0.5 * (before - after) / curvature, torch.zeros_like(peak)).clamp(-0.5, 0.5)
    return rate / (lag + shift)


def tempo_error(measured: Tensor, expected: Tensor) -> Tensor:
    """Relative error [B] to the nearest of the expected tempo, its double, triple, half and third: exp |log ratio| - 1.

    Source of the tolerated multiples: Gouyon et al. 2006, "An Experimental Comparison of Audio Tempo Induction
    Algorithms", accuracy 2.
    """
    multiples = torch.tensor([1.0, 2.0, 3.0, 1 / 2, 1 / 3])
    return torch.log(measured.unsqueeze(1) / (expected.unsqueeze(1) * multiples)).abs().amin(1).expm1()


def chroma(log_mel: Tensor, features: LogMel) -> Tensor:
    """Share of each pitch class in each frame, [B, 12, T], of natural log-mel powers [B, 1, M, T]."""
    power = GriffinLim().invert(log_mel[:, 0].float().exp(), features)
    frequency = torch.linspace(0, features.sample_rate / 2, power.shape[1])
    inside = (frequency > CHROMA_RANGE[0]) & (frequency < CHROMA_RANGE[1])
    pitch = 12 * torch.log2(frequency[inside] / 440)
    classes = torch.arange(12)
    distance = (pitch.unsqueeze(0) - classes.unsqueeze(1) + 6) % 12 - 6
    weights = torch.exp(-0.5 * (distance / 0.5) ** 2)
    energy = weights @ power[:, inside].sqrt()
    return energy / energy.sum(1, keepdim=True).clamp_min(1e-6)


def self_similarity(log_mel: Tensor, bands: int = 40, frames: int = 4) -> Tensor:
    """Self-similarity over time of log-mel powers [B, 1, M, T], nearly independent of the instrument: [B, 1, S * S].

    Cosines between the spectra of every two time steps, without the clip's mean spectrum and the loudness: a repeated
    note has a similar spectrum. Source: Foote 1999, "Visualizing Music and Audio using Self-Similarity".

    Args:
        log_mel: natural log-mel powers.
        bands: number of bands that are compared, from the lowest on.
        frames: frames that are averaged to one of the S time steps.
    """
    spectra = log_mel[:, 0, :bands]
    spectra = spectra - spectra.mean(2, keepdim=True)
    spectra = torch.nn.functional.avg_pool1d(spectra - spectra.mean(1, keepdim=True), frames)
    spectra = torch.nn.functional.normalize(spectra, dim=1)
    return (spectra.transpose(1, 2) @ spectra).flatten(1).unsqueeze(1)


def content_correlation(first: Tensor, second: Tensor, stretch: bool = False) -> Tensor:
    """Correlation over time of two sets of curves [B, K, T], mean over K weighted by energy: [B].

    Args:
        first: curves of the source, from the same beat on.
        second: curves of the outcome.
        stretch: takes the best of many uniform stretches of time, for outcomes in another tempo. Compare the value only
            with others that are computed with stretches.
    """
    if not stretch:
        return _correlation(first, second)
    length = first.shape[-1]
    best = torch.full((len(first),), -1.0)
    for factor in STRETCHES.tolist():
        size = round(length * factor)
        warped = interpolate(first, size=size, mode="linear", align_corners=False)
        shared = min(size, length)
        best = torch.maximum(best, _correlation(warped[..., :shared], second[..., :shared]))
    return best


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    first, second = first - first.mean(-1, keepdim=True), second - second.mean(-1, keepdim=True)
    products = (first * second).sum(dim=(1, 2))
    return products / (first.square().sum(dim=(1, 2)) * second.square().sum(dim=(1, 2))).sqrt().clamp_min(1e-9)
