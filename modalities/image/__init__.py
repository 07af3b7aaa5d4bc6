"""Images: classes and attributes as conditions."""

from modalities.image.condition import AttributeEncoder, ObservedPixelsEncoder
from modalities.image.model import ImageCVAE

__all__ = ["AttributeEncoder", "ImageCVAE", "ObservedPixelsEncoder"]
