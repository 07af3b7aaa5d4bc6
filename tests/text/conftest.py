"""Data that is loaded once for all tests of text."""

import pytest

from modalities.text.data import Bible, corpus


@pytest.fixture(scope="session")
def verses():
    """The embedded Bible as it is."""
    return corpus.bible()


@pytest.fixture(scope="session")
def bible():
    """Its verses of at most twelve words, as data."""
    return Bible(vocabulary=1024, words=12, batch_tokens=512, hide=4.0)
