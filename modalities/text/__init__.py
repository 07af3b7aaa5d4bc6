"""Text: style, tone and a source sentence as conditions."""

from modalities.text.condition import StyleEncoder
from modalities.text.model import TextStyleCVAE

__all__ = ["StyleEncoder", "TextStyleCVAE"]
