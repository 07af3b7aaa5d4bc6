"""Baselines of rewriting, which change a style without a model."""

from collections.abc import Sequence


def copy(inputs: Sequence[str]) -> list[str]:
    """The input itself: all of its content, nothing of the target style."""
    return list(inputs)


def retrieve(inputs: Sequence[str], corpus: Sequence[str]) -> list[str]:
    """For each input the most similar training sentence of the target style: all of the style, little content.

    Similarity is the cosine of TF-IDF vectors of words (the RetrieveOnly baseline of Li et al. 2018, section 3.2).

    Args:
        inputs: N texts.
        corpus: training sentences of the target style.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(corpus)
    candidates = vectorizer.transform(corpus)
    chosen: list[str] = []
    for start in range(0, len(inputs), 100):
        similarity = vectorizer.transform(inputs[start : start + 100]) @ candidates.T
        chosen += [corpus[int(row)] for row in similarity.argmax(axis=1).A1]
    return chosen
