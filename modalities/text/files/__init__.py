"""Reading and writing files of sentences."""

from modalities.text.files.format import TextFormat, read_texts
from modalities.text.files.writing import one_line, write_texts

__all__ = ["TextFormat", "one_line", "read_texts", "write_texts"]
