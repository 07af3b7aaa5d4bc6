"""Audio: genre, instrument, artist and the like as conditions."""

from modalities.audio.condition import GenreEncoder
from modalities.audio.model import AudioGenreCVAE

__all__ = ["AudioGenreCVAE", "GenreEncoder"]
