import pytest

from modalities.text.data import segmentation
from modalities.text.data.segmentation import bleu_tokenizer, segmentation_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("  In the\tbeginning, God\n", ["In", "the", "beginning,", "God"]),
        ("", []),
        ("天气很好", ["天", "气", "很", "好"]),
        ("我用 Python3 写 code", ["我", "用", "Python3", "写", "code"]),
        ("日本語のテスト", list("日本語のテスト")),
        ("น้ำดี", ["น้", "ำ", "ดี"]),
        ("안녕 세상", ["안녕", "세상"]),  # Korean has spaces
        ("שלום עולם", ["שלום", "עולם"]),
        ("😀 👍🏽", ["😀", "👍🏽"]),
    ],
)
def test_words_stand_between_spaces_and_are_characters_in_scripts_without(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["In the beginning", "God"], "spaces"),
        (["天气很好。", "我用 it"], "chinese"),
        (["これはペンです", "日本語"], "japanese"),
        (["สวัสดีครับ"], "characters"),
        (["ជំរាបសួរ"], "characters"),
        (["안녕 세상"], "spaces"),
        (["The word 道 means way"], "spaces"),
        (["123 !?"], "spaces"),
        ([], "spaces"),
    ],
)
def test_most_letters_decide_how_a_corpus_is_taken_apart(texts, kind):
    assert segmentation_of(texts) == kind


def test_bleu_takes_the_tokenizer_of_the_script_that_is_installed(monkeypatch):
    monkeypatch.setattr(segmentation.importlib.util, "find_spec", lambda name: None)
    found = [bleu_tokenizer(kind) for kind in ("spaces", "chinese", "japanese", "characters")]
    assert found == ["13a", "zh", "char", "char"]
    monkeypatch.setattr(segmentation.importlib.util, "find_spec", lambda name: object())
    assert bleu_tokenizer("japanese") == "ja-mecab"
