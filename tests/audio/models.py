"""Small models that several tests of audio share."""

from typing import Any

import torch

from common.conditions.attributes import Categorical
from modalities.audio import AudioGenreCVAE, GenreEncoder
from modalities.audio.networks.convolutions import SpectrogramConv
from modalities.audio.signal.features import LogMel

SMALL = SpectrogramConv(channels=4, width=16, depth=1)
FEATURES = LogMel(sample_rate=8000, samples=8192, n_fft=512, hop=256, mels=16, high=4000.0, mean=-2.0, std=3.0)
ATTRIBUTES = {"genre": Categorical(("reel", "jig", "clog")), "instrument": Categorical(("piano", "flute"))}


def small_model(features=FEATURES, attributes=ATTRIBUTES, **options):
    """A model of clips of about a second, 32 frames of 16 bands."""
    sizes: dict[str, Any] = {"latent_dim": 32, "architecture": SMALL}
    encoder = GenreEncoder(attributes, dim=8, field_dropout=0.1)
    return AudioGenreCVAE(encoder, features, **(sizes | options))


def perturb(model, scale=0.3):
    """Random weights everywhere, those that begin at zero included."""
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=scale)
    return model.eval()
