"""Words of texts in any script: where no spaces stand between words, characters take their place."""

import importlib.util
import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

Segmentation = Literal["spaces", "chinese", "japanese", "characters"]

HAN = "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f"
OTHERS = "\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"  # Thai, Lao, Tibetan ...
_UNSPACED = re.compile(f"[{HAN}{KANA}{OTHERS}]")
_KANA, _HAN = re.compile(f"[{KANA}]"), re.compile(f"[{HAN}]")


def words_of(text: str) -> list[str]:
    """The words of a text: what stands between spaces, and of scripts without spaces each character with its marks."""
    if _UNSPACED.search(text) is None:
        return text.split()
    words: list[str] = []
    alone = True  # whether the next character begins a word
    for character in text:
        if character.isspace():
            alone = True
        elif words and unicodedata.category(character)[0] == "M":
            words[-1] += character
        elif _UNSPACED.match(character):
            words.append(character)
            alone = True
        elif alone:
            words.append(character)
            alone = False
        else:
            words[-1] += character
    return words


def segmentation_of(texts: Iterable[str]) -> Segmentation:
    """How texts are taken apart into words: at spaces, unless most letters are of scripts without spaces.

    Args:
        texts: the training split.
    """
    letters = han = kana = unspaced = 0
    for text in texts:
        letters += sum(map(str.isalpha, text))
        if _UNSPACED.search(text) is not None:
            unspaced += sum(character.isalpha() for character in _UNSPACED.findall(text))
            han, kana = han + len(_HAN.findall(text)), kana + len(_KANA.findall(text))
    if 2 * unspaced <= letters:
        return "spaces"
    if 2 * (han + kana) <= unspaced:
        return "characters"
    return "japanese" if 10 * kana > han else "chinese"


def bleu_tokenizer(segmentation: Segmentation) -> str:
    """The tokenizer of sacrebleu; without MeCab, Japanese is compared by characters."""
    mecab = importlib.util.find_spec("MeCab") is not None
    japanese = "ja-mecab" if mecab else "char"
    return {"spaces": "13a", "chinese": "zh", "japanese": japanese, "characters": "char"}[segmentation]
