"""The condition encoder of audio."""

from common.conditions import FieldEncoder

SOURCE = "source"  # condition field of another version of x, which z may be read from in training


class GenreEncoder(FieldEncoder):
    """Genre, instrument, artist, speaker and the like, each optional at generation time."""
