import io
import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from modalities.text.files import read_texts, write_texts
from tests.text.models import word_tokenizer

WORDS = word_tokenizer("god", "made", "light")


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text()), suffix=st.sampled_from([".txt", ".jsonl"]))
def test_every_text_is_one_line(tmp_path_factory, texts, suffix):
    file = tmp_path_factory.mktemp("out") / f"new{suffix}"
    write_texts(texts, file)
    lines = file.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert len(lines) == len(texts)
    if suffix == ".jsonl":
        assert [json.loads(line)["text"] for line in lines] == texts


def test_a_dash_is_the_standard_output_and_input(capsys, monkeypatch):
    write_texts(["god made", "light"], Path("-"))
    written = capsys.readouterr().out
    assert written == "god made\nlight\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(written))
    assert torch.equal(read_texts(Path("-"), WORDS, 4), WORDS.rows(["god made", "light"], 4))


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.txt or \.jsonl, or to -"):
        write_texts(["a"], tmp_path / "texts.docx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("god\n\nlight\n", "line 2 is empty: remove it"),
        ("god\ngod made light god\n", "line 2: 5 tokens; this model reads at most 4. Shorten it"),
        ("", "holds no line"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "in.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_texts(tmp_path / "in.txt", WORDS, 4)


@pytest.mark.parametrize("line", ["god made", '{"words": "god"}', '["god"]', '{"text": null}', '{"text": 3}', ""])
def test_a_line_of_jsonl_that_holds_no_text_is_named(tmp_path, line):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "god made light"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"texts\.jsonl, line 2"):
        read_texts(file, WORDS, 4)
