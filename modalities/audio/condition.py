"""The condition encoder of audio."""

from common.conditions.encoders import FieldEncoder


class GenreEncoder(FieldEncoder):
    """Genre, instrument, artist, speaker and the like, each optional at generation time."""
