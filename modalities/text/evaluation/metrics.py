"""Metrics of generated text: content, diversity, fluency."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch

from common.results import Measurement
from modalities.text.data.segmentation import Segmentation, bleu_tokenizer, words_of


def bleu(
    outputs: Sequence[str], references: Sequence[Sequence[str]], segmentation: Segmentation = "spaces"
) -> Measurement:
    """Corpus BLEU between 0 and 100; the estimator holds sacrebleu's signature, which names the tokenizer.

    Args:
        outputs: N texts.
        references: one or more references of each output, the same number for all.
        segmentation: how texts are taken apart into words.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize=bleu_tokenizer(segmentation))
    columns = [list(column) for column in zip(*references, strict=True)]
    score = metric.corpus_score(list(outputs), columns)
    return Measurement(score.score, None, len(outputs), "BLEU", f"sacrebleu {metric.get_signature()}")


def distinct(texts: Sequence[str], n: int) -> Measurement:
    """Distinct n-grams of words as a share of all n-grams (Li et al. 2016, section 5.2)."""
    grams = [tuple(words[i : i + n]) for words in map(words_of, texts) for i in range(len(words) - n + 1)]
    share = len(set(grams)) / max(len(grams), 1)
    return Measurement(share, None, len(texts), "share", f"different {n}-grams of words among all")


def self_bleu(renderings: Sequence[Sequence[str]], segmentation: Segmentation = "spaces") -> Measurement:
    """Similarity of several renderings of one sentence: BLEU of each against the others, 100 if they are equal.

    Source: Zhu et al. 2018, "Texygen", section 2.2 (Self-BLEU), here among the renderings of each sentence.

    Args:
        renderings: two or more renderings of each of N sentences, the same number for all.
        segmentation: how texts are taken apart into words.
    """
    outputs = [text for texts in renderings for text in texts]
    others = [[*texts[:own], *texts[own + 1 :]] for texts in renderings for own in range(len(texts))]
    return bleu(outputs, others, segmentation)


class NgramModel:
    """An interpolated Kneser-Ney model of tokens; its perplexity measures fluency.

    Source: Chen and Goodman 1999, "An Empirical Study of Smoothing Techniques", equations 25 and 26 with one discount.

    Args:
        sentences: training sentences as tokens, each with its end.
        vocabulary: V; below the unigrams lies the uniform distribution over it.
        order: n.
        discount: subtracted from every count.
        source: what the sentences are, for the results.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[int]],
        vocabulary: int,
        order: int = 3,
        discount: float = 0.75,
        source: str = "the training split",
    ) -> None:
        self.vocabulary, self.order, self.discount, self.source = vocabulary, order, discount, source
        raw: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for sentence in sentences:
            padded = [-1] * (order - 1) + list(sentence)
            for end in range(order - 1, len(padded)):
                raw[tuple(padded[end - order + 1 : end])][padded[end]] += 1
        self.levels = [raw]
        # Lower orders count the contexts in which a token occurs, not its occurrences.
        for _ in range(order - 1):
            lower: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
            for context, followers in self.levels[0].items():
                for token in followers:
                    lower[context[1:]][token] += 1
            self.levels.insert(0, lower)
        self.totals = [{context: sum(rows.values()) for context, rows in level.items()} for level in self.levels]

    def probability(self, context: tuple[int, ...], token: int) -> float:
        """p(token | context), normalised over the vocabulary."""
        value = 1.0 / self.vocabulary
        for order in range(self.order):
            part = context[len(context) - order :] if order else ()
            followers = self.levels[order].get(part)
            if followers is None:
                continue
            total = self.totals[order][part]
            discounted = max(followers[token] - self.discount, 0.0) if token in followers else 0.0
            value = discounted / total + self.discount * len(followers) / total * value
        return value

    def perplexity(self, sentences: Sequence[Sequence[int]]) -> Measurement:
        """exp of the mean negative log-probability per token, ends included."""
        total, count = 0.0, 0
        for sentence in sentences:
            padded = [-1] * (self.order - 1) + list(sentence)
            for end in range(self.order - 1, len(padded)):
                total -= math.log(self.probability(tuple(padded[end - self.order + 1 : end]), padded[end]))
                count += 1
        how = f"Kneser-Ney {self.order}-grams of tokens, trained on {self.source}"
        return Measurement(math.exp(total / max(count, 1)), None, len(sentences), "perplexity", how)


def rows_of(tokens: torch.Tensor, pad: int) -> list[list[int]]:
    """Tokens [N, T] as lists without padding."""
    return [[token for token in row if token != pad] for row in tokens.tolist()]
