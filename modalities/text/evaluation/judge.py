"""The judges of text: logistic regressions on words and word pairs, and naive Bayes on letters."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from torch import Tensor

from common.conditions.attributes import Attribute, Categorical, Fields
from common.conditions.classifier import RealFigures
from common.data.examples import Examples
from common.evaluation.control import at_chance
from common.evaluation.second_judge import StatisticsJudge, second_judge
from common.results import Measurement
from modalities.text.data.segmentation import Segmentation, segmentation_of, words_of
from modalities.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from sklearn.feature_extraction.text import TfidfVectorizer

FEATURES = 64
LONGEST: dict[Segmentation, int] = {"spaces": 2, "chinese": 3, "japanese": 3, "characters": 4}  # n-grams


def can_judge(attribute: Attribute) -> bool:
    """Whether the attribute has several categories to distinguish."""
    return isinstance(attribute, Categorical) and len(attribute.values) > 1


class TextJudge:
    """Predicts every categorical label of a sentence. It is trained on the real training split alone.

    Its features, for the Frechet distance, are the first principal directions of the TF-IDF vectors (latent semantic
    analysis), at most 64. In scripts without spaces, characters stand for words, and n-grams are longer.

    Args:
        attributes: the labels.
        tokenizer: decodes tokens into the text that the judge classifies.
        segmentation: how the texts are taken apart into words; None finds it out from those that it is trained on.
    """

    real: RealFigures

    def __init__(
        self, attributes: dict[str, Attribute], tokenizer: Tokenizer, segmentation: Segmentation | None = None
    ) -> None:
        self.attributes: dict[str, Attribute] = {
            name: attribute for name, attribute in attributes.items() if can_judge(attribute)
        }
        self.tokenizer, self.segmentation = tokenizer, segmentation

    @staticmethod
    def of(table: Examples, tokenizer: Tokenizer, segmentation: Segmentation | None = None) -> "TextJudge":
        """The judge of a data set, trained on its training split and tested on its test split.

        It judges the labels of which training has several categories.
        """
        rows = table.splits["train"]
        trained = {name: field[rows] for name, field in table.fields.items() if name in table.attributes}
        several = {name for name, field in trained.items() if len(field[field >= 0].unique()) > 1}
        labels = {name: attribute for name, attribute in table.attributes.items() if name in several}
        judge = TextJudge(labels, tokenizer, segmentation)
        judge.fit(tokenizer.decode(table.x[rows]), {name: table.fields[name][rows] for name in judge.attributes})
        test = table.splits["test"]
        truth = {name: table.fields[name][test] for name in judge.attributes}
        judge.real = RealFigures.of(judge, [table.x[test]], truth)
        return judge

    def fit(self, texts: list[str], labels: Fields) -> None:
        """Trains on real sentences; the classifier of a label leaves out those without it."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.linear_model import LogisticRegression

        self.segmentation = self.segmentation or segmentation_of(texts)
        self.vectorizer = fitted_vectorizer(texts, self.segmentation)
        vectors = self.vectorizer.transform(texts)
        self.directions = None
        if vectors.shape[1] > 1:
            with np.errstate(invalid="ignore"):  # shares of the variance, of which there may be none
                count = min(FEATURES, vectors.shape[1] - 1)
                self.directions = TruncatedSVD(count, random_state=0).fit(vectors)
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
        found = vectors.toarray() if self.directions is None else self.directions.transform(vectors)
        return torch.from_numpy(found).float()


def fitted_vectorizer(texts: list[str], segmentation: Segmentation) -> "TfidfVectorizer":
    """TF-IDF of the n-grams of words that occur in two texts; of all, where no n-gram does.

    Args:
        texts: texts with a word each.
        segmentation: how they are taken apart into words.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    def fitted(least: int) -> "TfidfVectorizer":
        grams = (1, LONGEST[segmentation])
        return TfidfVectorizer(
            ngram_range=grams, min_df=least, sublinear_tf=True, tokenizer=words_of, token_pattern=None
        ).fit(texts)

    try:
        return fitted(2)
    except ValueError:  # no n-gram occurs in two texts
        return fitted(1)


def letter_judge(table: Examples, tokenizer: Tokenizer, steps: int | None = None) -> StatisticsJudge | None:
    """Naive Bayes on n-grams of letters, across words as well: of another family than the judge, on other features.

    Args:
        table: sentences and labels.
        tokenizer: decodes tokens into text.
        steps: as in `second_judge`.
    """
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.naive_bayes import ComplementNB

    letters = HashingVectorizer(analyzer="char", ngram_range=(2, 4), n_features=2**16, alternate_sign=False)
    labels = {name: attribute for name, attribute in table.attributes.items() if can_judge(attribute)}
    judge = StatisticsJudge(labels, lambda x: letters.transform(tokenizer.decode(x)), lambda attribute: ComplementNB())
    return second_judge(table, judge, lambda x: x, steps)


def warn_at_chance(judge: TextJudge, table: Examples) -> None:
    """Warns of each label that the judge reads no better than the commonest answer, on the test split of its data."""
    test = {name: table.fields[name][table.splits["test"]] for name in judge.attributes}
    figures = {
        f"test/judge_accuracy/{name}": Measurement.accuracy(values, "frozen judge, real test data")
        for name, values in judge.real.scores.items()
    }
    for warning in at_chance(figures, judge.attributes, test):
        rank_zero_warn(warning, category=UserWarning)
