import io
import json
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.batch import Batch
from modalities.text import StyleEncoder, TextStyleCVAE
from modalities.text.files import TextFormat, read_texts, write_texts
from modalities.text.networks.architectures import Compact
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
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(written.encode())))
    assert torch.equal(read_texts(Path("-"), WORDS, 4), WORDS.rows(["god made", "light"], 4))


@pytest.mark.parametrize("content", ["god\u2028made\nlight\r\n", "god\x0cmade\nlight", "god\x85made\rgod\n light\n"])
def test_lines_of_the_standard_input_are_those_of_a_file(tmp_path, monkeypatch, content):
    (tmp_path / "in.txt").write_bytes(content.encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    found = read_texts(Path("-"), WORDS, 8)
    assert len(found) == 2
    assert torch.equal(found, read_texts(tmp_path / "in.txt", WORDS, 8))


def test_a_faulty_line_of_the_standard_input_is_named(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"god\nsch\xf6n\n")))
    with pytest.raises(ValueError, match="-, line 2: not UTF-8"):
        read_texts(Path("-"), WORDS, 8)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.txt, \.jsonl or \.csv, or to -"):
        write_texts(["a"], tmp_path / "texts.docx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("god\n\nlight\n", "line 2 is empty: remove it"),
        ("god\ngod made light god\n", "line 2: 5 tokens; this model reads at most 4. Shorten it, or choose --on-long"),
        ("", "holds no line"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, content, message):
    (tmp_path / "in.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_texts(tmp_path / "in.txt", WORDS, 4)


@pytest.fixture
def model(bible):
    """An untrained model of the embedded verses."""
    small = Compact(width=16, heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    condition = StyleEncoder(bible.attributes, bible.tokenizer, dim=6, length=bible.length)
    return TextStyleCVAE(condition, bible.tokenizer, bible.length, latent_dim=8, architecture=small).eval()


def test_samples_by_name_are_written_as_they_are(model, tmp_path):
    model.set_decoding(temperature=0.7)
    samples = model.sample({"style": ["kjv", "bbe"]}, num_samples=3)
    assert samples.shape == (3, 2, model.length)
    TextFormat().write(model, samples, tmp_path / "verses.jsonl")
    lines = (tmp_path / "verses.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["text"] for line in lines] == model.texts(samples.flatten(0, 1))
    assert model.best_of({"style": "web"}, count=2, num_samples=2).shape == (1, model.length)
    with pytest.raises(ValueError, match="condition style: 'latin' is not one of bbe, kjv, web"):
        model.best_of({"style": "latin"}, count=2)
    with pytest.raises(ValueError, match="unknown condition 'tone'; this model knows: style"):
        model.transfer(Batch(samples[0], {"style": torch.tensor([0, 1])}), {"tone": "dry"})


def test_scores_of_verses_name_their_lines_and_count_their_tokens(model, bible, tmp_path):
    rows = bible.examples.splits["test"][:3]
    TextFormat().write(model, bible.examples.x[rows], tmp_path / "verses.txt")
    batch = TextFormat().read_batch(model, [tmp_path / "verses.txt"], model.condition.parse({"style": "kjv"}))
    nll = torch.tensor([70.0, 90.0, 110.0])
    table = TextFormat().score_table(model, tmp_path / "verses.txt", batch, nll, {"style": "kjv"})
    lengths = bible.lengths[rows].double()
    assert table["file"] == [str(tmp_path / "verses.txt")] * 3
    assert table["line"] == [1, 2, 3]
    assert table["style"] == ["kjv"] * 3
    assert table["nll_nats"] == nll.tolist()
    assert table["tokens"] == lengths.tolist()
    assert table["nats_per_token"] == pytest.approx((nll / lengths).tolist())
    assert table["perplexity_per_token"] == pytest.approx((nll / lengths).exp().tolist())


@pytest.mark.parametrize("line", ["god made", '{"words": "god"}', '["god"]', '{"text": null}', '{"text": 3}'])
def test_a_line_of_jsonl_that_holds_no_text_is_named(tmp_path, line):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "god made light"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"texts\.jsonl, line 2"):
        read_texts(file, WORDS, 4)
