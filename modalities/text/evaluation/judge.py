"""The judge of text: TF-IDF of words and word pairs, and a logistic regression for each label."""

import torch
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import RealFigures, scores
from common.data.examples import Examples
from modalities.text.tokenizer import Tokenizer

FEATURES = 64


def can_judge(attribute: Attribute) -> bool:
    """Whether the attribute has several categories to distinguish."""
    return isinstance(attribute, Categorical) and len(attribute.values) > 1


class TextJudge:
    """Predicts every categorical label of a sentence. It is trained on the real training split alone.

    Its features, for the Frechet distance, are the first principal directions of the TF-IDF vectors (latent semantic
    analysis), at most 64.

    Args:
        attributes: the labels.
        tokenizer: decodes tokens into the text that the judge classifies.
    """

    real: RealFigures

    def __init__(self, attributes: dict[str, Attribute], tokenizer: Tokenizer) -> None:
        self.attributes: dict[str, Attribute] = {
            name: attribute for name, attribute in attributes.items() if can_judge(attribute)
        }
        self.tokenizer = tokenizer

    @staticmethod
    def of(table: Examples, tokenizer: Tokenizer) -> "TextJudge":
        """The judge of a data set, trained on its training split and tested on its test split."""
        judge = TextJudge(table.attributes, tokenizer)
        rows = table.splits["train"]
        judge.fit(tokenizer.decode(table.x[rows]), {name: table.fields[name][rows] for name in judge.attributes})
        test = table.splits["test"]
        truth = {name: table.fields[name][test] for name in judge.attributes}
        judge.real = RealFigures(
            scores(judge.attributes, judge.read(table.x[test]), truth), judge.features(table.x[test])
        )
        return judge

    def fit(self, texts: list[str], labels: Fields) -> None:
        """Trains on real sentences; the classifier of a label leaves out those without it."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        self.vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"(?u)\S+")
        vectors = self.vectorizer.fit_transform(texts)
        self.directions = TruncatedSVD(max(1, min(FEATURES, vectors.shape[1] - 1)), random_state=0).fit(vectors)
        self.classifiers = {}
        for name, label in labels.items():
            known = (label >= 0).numpy()
            self.classifiers[name] = LogisticRegression(C=10.0, max_iter=200).fit(vectors[known], label.numpy()[known])

    def read_texts(self, texts: list[str]) -> dict[str, Tensor]:
        """Predicted category of each label, [B]."""
        vectors = self.vectorizer.transform(texts)
        return {
            name: torch.from_numpy(classifier.predict(vectors)).long() for name, classifier in self.classifiers.items()
        }

    def read(self, x: Tensor) -> dict[str, Tensor]:
        """Predicted category of each label, [B], for tokens [B, T]."""
        return self.read_texts(self.tokenizer.decode(x))

    def features(self, x: Tensor) -> Tensor:
        """Latent semantic features [B, F] of tokens [B, T]; F is at most 64, and less for a vocabulary of few words."""
        vectors = self.vectorizer.transform(self.tokenizer.decode(x))
        return torch.from_numpy(self.directions.transform(vectors)).float()
