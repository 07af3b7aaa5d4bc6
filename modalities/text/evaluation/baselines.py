"""Baselines of rewriting, which change a style without a model."""

from collections.abc import Sequence

from modalities.text.data.segmentation import Segmentation
from modalities.text.evaluation.judge import fitted_vectorizer


def copy(inputs: Sequence[str]) -> list[str]:
    """The input itself: all of its content, nothing of the target style."""
    return list(inputs)


def retrieve(inputs: Sequence[str], corpus: Sequence[str], segmentation: Segmentation = "spaces") -> list[str]:
    """For each input the most similar training sentence of the target style: all of the style, little content.

    Similarity is the cosine of TF-IDF vectors of words (the RetrieveOnly baseline of Li et al. 2018, section 3.2).

    Args:
        inputs: N texts.
        corpus: training sentences of the target style.
        segmentation: how texts are taken apart into words.

    Raises:
        ValueError: without any training sentence.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not corpus:
        raise ValueError("no training sentence has the target style: there is nothing to retrieve")
    try:
        if segmentation != "spaces":
            raise ValueError
        vectorizer = TfidfVectorizer(sublinear_tf=True).fit(corpus)
    except ValueError:  # of scripts without spaces, or of single letters and signs
        vectorizer = fitted_vectorizer(list(corpus), segmentation)
    candidates = vectorizer.transform(corpus)
    chosen: list[str] = []
    for start in range(0, len(inputs), 100):
        similarity = vectorizer.transform(inputs[start : start + 100]) @ candidates.T
        chosen += [corpus[int(row)] for row in similarity.argmax(axis=1).A1]
    return chosen
