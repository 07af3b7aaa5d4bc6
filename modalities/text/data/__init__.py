"""Text corpora and DataModules."""

from modalities.text.data.datamodules import Bible, TextData, TextFiles, Yelp

__all__ = ["Bible", "TextData", "TextFiles", "Yelp"]
